"""From an image to labels and maps: one forward pass, and the backward passes that the targets take."""

import logging
import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from minicam.backend import Array, array_module, to_numpy
from minicam.errors import LayerError
from minicam.explanation import passes
from minicam.explanation.at_once import Found, explained, over_all_positions
from minicam.explanation.batches import Batches, Fetch
from minicam.explanation.defaults import choose_feature_layer, choose_reduction_layer
from minicam.explanation.inputs import Sample, is_batch, samples
from minicam.explanation.kept import Kept
from minicam.explanation.linear import linear_head
from minicam.explanation.maps import Maps
from minicam.explanation.options import Options
from minicam.explanation.result import CAM, Explanation
from minicam.explanation.scores import LOGITS, Scores, score_kind
from minicam.explanation.segmentation import label_layer, labels
from minicam.explanation.targets import Class, Seed, Target, as_targets
from minicam.network import Network
from minicam.patches import Patch, whole
from minicam.resizing import imresize

log = logging.getLogger("minicam")

LARGEST_CLASSES = 2


def gradcam(
    net: Network,
    image: Any,
    targets: Any = None,
    feature_layer: str | None = None,
    reduction_layer: str | None = None,
    **options: Any,
) -> Any:
    """Grad-CAM (or another method) of each target at one feature layer: a `CAM`; for a batch of inputs a list of them.

    feature_layer: None: the one of `defaults.choose_feature_layer`. The rest is as in `explain`.
    """
    layers = None if feature_layer is None else [feature_layer]
    explained = explain(net, image, targets, layers, reduction_layer, **options)
    return [e.cams[0] for e in explained] if isinstance(explained, list) else explained.cams[0]


def explain(
    net: Network,
    image: Any,
    targets: Any = None,
    feature_layers: Sequence[str] | None = None,
    reduction_layer: str | None = None,
    batch: int | None = None,
    **options: Any,
) -> Any:
    """Labels and maps of every target at every feature layer, from one forward pass: an `Explanation`; for a batch of
    inputs a list of them.

    image: see `inputs.samples`. targets: a class name, a 0-based index, a target, a function of the reduction layer's
    output, or a list of them; None: the two channels with the largest sum. feature_layers: None: the one of
    `defaults.choose_feature_layer`. reduction_layer: None: the last. options: upsampling, edges, alpha, method,
    truncate, keep_gradients, progress; see `Options`.

    For any number of targets, what is held beyond the result is the values of the forward pass and the arrays of one
    backward pass: of a small target for each thread inside its box, or of as many large ones together as take
    `passes.CHUNK_BYTES`.

    batch: how many inputs of one size go together; None: as many as suits the device, see `Batches`.

    Raises TargetError, LayerError or ImageError for what does not exist or fit, and DeviceMemoryError where the memory
    of the GPU does not hold a single input's arrays and the CPU was not allowed (device="auto").
    """
    work = Explaining(net, targets, feature_layers, reduction_layer, **options)
    explained = [outcome.result() for outcome in Batches(net, work, batch).outcomes(samples(net, image))]
    return explained if is_batch(net, image) else explained[0]


class Explaining:
    """The work of `explain`, for `Batches`. Raises LayerError for layers, and MinicamError for options, that do not
    exist or fit."""

    def __init__(
        self,
        net: Network,
        targets: Any = None,
        feature_layers: Sequence[str] | None = None,
        reduction_layer: str | None = None,
        **options: Any,
    ):
        self._options = Options(**options)
        self._targets = targets if targets is None else as_targets(targets)
        self._reduction_layer = reduction_layer or choose_reduction_layer(net.graph)
        self._layers = _checked_layers(net, feature_layers, self._reduction_layer)

    def __call__(
        self, net: Network, group: Sequence[Sample], x: Array, fetch: Fetch
    ) -> list[Callable[[], Explanation]]:
        """For each sample what gives its explanation."""
        return self._at_once(net, group, x, fetch) or self._in_parts(net, group, x, fetch)

    def _at_once(
        self, net: Network, group: Sequence[Sample], x: Array, fetch: Fetch
    ) -> list[Callable[[], Explanation]] | None:
        """By one pass that does everything, where there is one for these targets and this network."""
        last, space, output = self._reduction_layer, group[0].space, label_layer(net)
        shape = net.graph.shapes_of({next(iter(net.graph.inputs)): x})[last]
        unknown = np.broadcast_to(np.float32(np.nan), tuple(size or 1 for size in shape))
        scores = Scores(unknown, score_kind(net.graph, last), net.classes, space)
        targets = over_all_positions(self._targets, scores)
        if targets is None:
            return None
        ways = explained(net, x, fetch, targets, self._layers, last, output, space, self._options)

        def finish(way: Callable[[], Found]) -> Explanation:
            found, positions, nowhere = way(), math.prod(scores.space), whole(unknown, len(scores.space))
            seeds = [Seed(target.name, np.nan, positions, nowhere, everywhere=True) for target in targets]
            cams = [
                self._cam(net, scores, seeds, layer, found.arrays[layer], Kept(found.activations[layer]), None)
                for layer in self._layers
            ]
            labels = found.labels
            return Explanation(None if labels is None else imresize(labels, space, "nearest"), cams)

        return None if ways is None else [partial(finish, way) for way in ways]

    def _in_parts(
        self, net: Network, group: Sequence[Sample], x: Array, fetch: Fetch
    ) -> list[Callable[[], Explanation]]:
        """A forward pass, then the backward passes that the targets take."""
        layers, last, output = self._layers, self._reduction_layer, label_layer(net)
        keep = {last, *layers, *net.graph.reads([last], layers)} | ({output} if output else set())
        values = net.forward(x, keep)
        kind, space = score_kind(net.graph, last), group[0].space
        scores = [Scores(values[last][n], kind, net.classes, space) for n in range(len(group))]
        seeds = [[target.seed(own) for target in self._targets or _largest(own)] for own in scores]
        maps = {layer: Maps(values[layer], len(seeds[0]), self._options) for layer in layers}

        def add(n: int, i: int, layer: str, gradient: Patch | Array) -> None:
            maps[layer].add(n, i, gradient)

        plan = passes.planned(net.graph, values, seeds, last, layers, self._options.sums_will_do)
        for one in self._options.progress(plan) if self._options.progress else plan:
            passes.run(net, values, seeds, one, last, layers, add)
        arrays = {layer: maps[layer].finished(net, space) | {"scores": _numbers(seeds)} for layer in layers}
        coming = {layer: {name: fetch(array) for name, array in found.items()} for layer, found in arrays.items()}
        found = fetch(labels(net, values[output], space)) if output else None

        def finish(n: int) -> Explanation:
            own = {layer: {name: array(n) for name, array in coming[layer].items()} for layer in coming}
            cams = []
            for layer in layers:
                kept = Kept(maps[layer].activations[n])
                gradients = maps[layer].gradients
                left = None if gradients is None else Kept(gradients[n])
                cams.append(self._cam(net, scores[n], seeds[n], layer, own[layer], kept, left))
            return Explanation(None if found is None else found(n), cams)

        return [partial(finish, n) for n in range(len(group))]

    def _cam(
        self,
        net: Network,
        scores: Scores,
        seeds: Sequence[Seed],
        layer: str,
        arrays: dict[str, np.ndarray],
        activations: Kept,
        gradients: Kept | None,
    ) -> CAM:
        """Of one sample. arrays: what `Maps` came to, and the scores."""
        options = self._options
        return CAM(
            **arrays,
            feature_layer=layer,
            reduction_layer=self._reduction_layer,
            targets=tuple(seed.name for seed in seeds),
            positions=np.array([seed.positions for seed in seeds]),
            score_kind=scores.kind,
            method=options.method,
            truncated=options.truncate,
            notes=_notes(net, scores, seeds, layer, self._reduction_layer, options),
            marks=tuple(seed.mark for seed in seeds),
            classes=net.classes,
            colors=net.colors,
            device=net.device_name,
            _activations=activations,
            _gradients=gradients,
        )


def _numbers(seeds: Sequence[Sequence[Seed]]) -> Array:
    """What is explained, (N, T) float64, where it was computed."""
    xp = array_module(seeds[0][0].gradient.values)
    numbers = [xp.asarray(seed.score, np.float64) for own in seeds for seed in own]
    return xp.stack(numbers).reshape(len(seeds), -1)


def _notes(
    net: Network, scores: Scores, seeds: Sequence[Seed], layer: str, reduction_layer: str, options: Options
) -> tuple[str, ...]:
    """What a reader should know about these maps; also logged."""
    notes = [f"{seed.name} covers no position, so its map is 0" for seed in seeds if not seed.positions]
    local = [seed.name for seed in seeds if seed.mark is not None]
    applies = local and scores.kind == LOGITS and options.method == "gradcam"
    if applies and linear_head(net, layer, reduction_layer) is not None:
        notes.append(
            f"{layer} reaches {reduction_layer} by 1x1 convolution and per-channel upsampling only, so alpha is a row "
            f"of minicam.linear_head(net, {layer!r}, {reduction_layer!r}) times a factor, and the maps of {local[0]} "
            "and of the whole class differ by that factor only: choose an earlier layer, or method='hirescam'"
        )
    for note in notes:
        log.warning("%s", note)
    return tuple(notes)


def _largest(scores: Scores) -> list[Target]:
    """The channels with the largest sum."""
    totals = to_numpy(scores.values.reshape(len(scores.values), -1).sum(axis=1))
    return [Class(int(c)) for c in np.argsort(-totals, kind="stable")[:LARGEST_CLASSES]]


def _checked_layers(net: Network, layers: Sequence[str] | None, reduction_layer: str) -> list[str]:
    net.graph.check_name(reduction_layer)
    if layers is None:
        return [choose_feature_layer(net.graph, reduction_layer)]
    if isinstance(layers, str):
        raise LayerError(f"feature_layers is the string {layers!r}; expected a list of layer names: [{layers!r}]")
    if not layers:
        raise LayerError("the list of feature layers is empty")
    shapes = net.graph.shapes(net.graph.inputs)
    for layer in layers:
        net.graph.check_name(layer)
        if len(shapes[layer]) != len(net.input_shape):
            raise LayerError(f"feature layer {layer!r} has no spatial axes: its output is {shapes[layer]}")
    return list(layers)
