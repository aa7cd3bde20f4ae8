"""Names for layers: those of the nodes, without what exporters put around them."""

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from minicam.conversion.reading import layer_name

WEIGHT = re.compile(r"(.+?)[._/](weight|bias|kernel|scale|slope|gamma|W|w|B|b|Mean|Weights?)(:0|/ReadVariableOp.*)?")
"""How exporters call the first parameter of a layer: `conv1.weight` (PyTorch), `conv1_W` (MATLAB)."""


def layer_names(nodes: Sequence[Any], constants: Collection[str], inputs: Collection[str]) -> list[str]:
    """A name for each node: its own; else, or where an exporter just counted, that of its weights; else of its kind and
    output. All differ, from each other and from those of the inputs, and all may stand in minicam's files.

    PyTorch's `/layer1/layer1.0/conv1/Conv` becomes `layer1.0.conv1`, TensorFlow's `model/conv2d/Conv2D` `conv2d`.
    """
    origins = _origins(nodes, constants)
    added = _added(nodes, origins)
    paths = [_path(node, origins, added) for node in nodes]
    common = _common([path for path in paths if len(path) > 1])
    paths = [path[common:] if len(path) > common else path for path in paths]
    aside = _aside(nodes, constants)
    parents = Counter(
        tuple(path[:i]) for path, other in zip(paths, aside, strict=True) if not other for i in range(1, len(path) + 1)
    )
    taken, names = set(inputs), [""] * len(nodes)
    for index in sorted(range(len(nodes)), key=lambda i: aside[i]):  # the layers have the first choice
        path = paths[index]
        alone = len(path) > 1 and parents[tuple(path[:-1])] == 1
        names[index] = layer_name(".".join(path[:-1] if alone else path), taken)
        taken.add(names[index])
    return names


def _origins(nodes: Sequence[Any], constants: Collection[str]) -> dict[str, str]:
    """The constant that a tensor is, or is another arrangement of."""
    found = {name: name for name in constants}
    for node in nodes:
        if (
            node.op_type in ("Transpose", "Reshape", "Cast", "Identity", "Squeeze", "Unsqueeze")
            and node.input[0] in found
        ):
            found[node.output[0]] = found[node.input[0]]
    return found


def _added(nodes: Sequence[Any], origins: Mapping[str, str]) -> dict[str, str]:
    """The constant that is added to a tensor."""
    pairs = [(node.input[i], node.input[1 - i]) for node in nodes if node.op_type == "Add" for i in (0, 1)]
    return {tensor: origins[other] for tensor, other in pairs if other in origins}


def _path(node: Any, origins: Mapping[str, str], added: Mapping[str, str]) -> list[str]:
    """The parts of a name, from the outermost on."""
    name = re.sub(r"__\d+$", "", node.name[:200])
    if not name or name.startswith("node_") or re.fullmatch(rf"{re.escape(node.op_type)}(_?\d+)?", name, re.IGNORECASE):
        given = [origins[source] for source in node.input[1:2] if source in origins]
        given += [added[result] for result in node.output[:1] if result in added and given]
        matches = [match for match in map(WEIGHT.fullmatch, given) if match]
        if matches:
            name = matches[0][1]
        elif not name:
            name = f"{node.op_type}_{node.output[0]}"
    parts: list[str] = []
    for part in filter(None, re.split(r"[/\\]", name.removeprefix("node_"))):
        if parts and part.startswith(parts[-1] + "."):
            parts[-1] = part
        else:
            parts.append(part)
    return parts[-20:] or [node.op_type]


def _aside(nodes: Sequence[Any], constants: Collection[str]) -> list[bool]:
    """Whether each node will give no layer: it reckons with constants and shapes, transposes, or adds a bias."""
    tensors, found = {"", *constants}, []
    for node in nodes:
        known = node.op_type in ("Shape", "Size") or tensors.issuperset(node.input)
        found.append(known or node.op_type == "Transpose" or node.name.endswith("BiasAdd"))
        if known:
            tensors.update(node.output)
    return found


def _common(paths: Sequence[list[str]]) -> int:
    """How many parts at the start all of the paths share, without the last two of any."""
    if len(paths) < 2:
        return 0
    shortest = min(map(len, paths)) - 2
    count = 0
    while count < shortest and len({path[count] for path in paths}) == 1:
        count += 1
    return count
