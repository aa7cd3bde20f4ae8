"""Checkpoints: all that a training run is, in one HDF5 file, so that it goes on with the same bits.

    /                                     attributes format = "minicam-checkpoint", version = 1, step, updates
    /settings                             uint8[n]: UTF-8 JSON, name -> text: what a run that goes on must share
    /parameters/<layer>/<name>            float32 or float64, of the graph for training
    /running/<layer>/<mean or variance>   the running statistics of the batch normalisations
    /optimizer/<kind>/<layer>/<name>      what the optimiser remembers

As in every file of minicam, each array has the attribute sha256, and what is not plain is refused.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from minicam.backend import Array, array_module, to_numpy
from minicam.graph import Parameters
from minicam.hdf5 import Attributes, check_name, naming, open_file, read_attribute, read_tree, require, write_tree
from minicam.training.optimizers import State, Tree

FORMAT, VERSION = "minicam-checkpoint", 1
MAX_BYTES = 2**36


class Progressed(NamedTuple):
    """Where a training run is: the steps done, and what they made of the parameters, statistics and optimiser."""

    step: int
    parameters: Tree
    running: Tree
    optimizer: State


def write_checkpoint(path: str | os.PathLike[str], at: Progressed, settings: Mapping[str, str]) -> None:
    """Replace the file as a whole or not at all. ModelFileError where it cannot be written, or for values that are not
    finite."""
    text = json.dumps(dict(settings), sort_keys=True).encode()
    arrays = {"/settings": np.frombuffer(text, np.uint8)}
    path = Path(path)
    with naming(path, "written"):
        for name, array in _flat(at).items():
            arrays[name] = to_numpy(array)
            require(np.isfinite(arrays[name]).all(), f"{name}: holds NaN or infinity after step {at.step}; not written")
    root: Attributes = {"format": FORMAT, "version": VERSION, "step": at.step, "updates": at.optimizer.updates}
    groups: dict[str, Attributes] = {"/": root, "/parameters": {}, "/running": {}, "/optimizer": {}}
    write_tree(path, groups, arrays)


def read_checkpoint(path: str | os.PathLike[str], like: Progressed, settings: Mapping[str, str]) -> Progressed:
    """What is in the file, as arrays like those in `like`.

    Raises ModelFileError, naming the file, where it is damaged, no checkpoint, or of a run with another network or with
    other settings.
    """
    expected = _flat(like)
    with open_file(Path(path), MAX_BYTES) as file:
        step, updates = _root(file)
        tree = read_tree(file)
        require("/settings" in tree.arrays, "has no /settings; expected the JSON of the run's settings there")
        _check_settings(tree.arrays["/settings"].read().tobytes(), settings)
        names = tree.arrays.keys() - {"/settings"}
        missing, extra = sorted(expected.keys() - names), sorted(names - expected.keys())
        require(not missing, f"{''.join(missing[:1])}: is missing; expected the arrays of this network and optimiser")
        require(not extra, f"{''.join(extra[:1])}: is too much; expected the arrays of this network and optimiser")
        found = {}
        for name, array in expected.items():
            stored = tree.arrays[name]
            fits = (stored.shape, stored.dtype) == (array.shape, array.dtype)
            require(fits, f"{name}: is {stored.dtype} {stored.shape}; this run has {array.dtype} {array.shape}")
            found[name] = array_module(array).asarray(stored.read())
    return _filled(like, found, step, updates)


def _root(file: object) -> tuple[int, int]:
    found = read_attribute(file, "format")
    require(found == FORMAT, f"is HDF5, but its attribute format is {found!r}; expected {FORMAT!r}")
    version = read_attribute(file, "version")
    require(version == VERSION, f"is a checkpoint of version {version!r}; expected {VERSION}")
    counts = [read_attribute(file, name) for name in ("step", "updates")]
    require(
        all(isinstance(n, int) and n >= 0 for n in counts), f"has step and updates {counts}; expected whole numbers"
    )
    return counts[0], counts[1]  # type: ignore[return-value]


def _check_settings(text: bytes, settings: Mapping[str, str]) -> None:
    found = json.loads(text)
    require(isinstance(found, dict), "/settings: is no JSON object")
    for name in sorted(found.keys() | settings.keys()):
        there, here = found.get(name), settings.get(name)
        require(
            there == here,
            f"is a checkpoint of a run with {name} {there}, and this run has {here}; "
            "go on with the same, or name another file to start anew",
        )


def _flat(at: Progressed) -> dict[str, Array]:
    """Full name -> array. ModelFileError for a layer's name that a file cannot hold."""
    groups: dict[str, Parameters] = {"/parameters": at.parameters, "/running": at.running}
    groups.update({f"/optimizer/{kind}": tree for kind, tree in at.optimizer.kinds.items()})
    return {
        f"{group}/{check_name(layer, group)}/{name}": array
        for group, tree in groups.items()
        for layer, arrays in tree.items()
        for name, array in arrays.items()
    }


def _filled(like: Progressed, found: Mapping[str, Array], step: int, updates: int) -> Progressed:
    def tree(group: str, layers: Parameters) -> Tree:
        return {layer: {name: found[f"{group}/{layer}/{name}"] for name in names} for layer, names in layers.items()}

    kinds = {kind: tree(f"/optimizer/{kind}", layers) for kind, layers in like.optimizer.kinds.items()}
    parameters, running = tree("/parameters", like.parameters), tree("/running", like.running)
    return Progressed(step, parameters, running, State(updates, kinds))
