"""From an image to labels and maps: one forward pass, and the backward passes that the targets take."""

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np

from minicam.backend import Array, array_module, to_numpy
from minicam.errors import LayerError
from minicam.explanation import passes
from minicam.explanation.defaults import choose_feature_layer, choose_reduction_layer
from minicam.explanation.inputs import Sample, is_batch, samples
from minicam.explanation.linear import linear_head
from minicam.explanation.methods import LOCAL, WEIGHTED, channel_sums, channel_weights, support
from minicam.explanation.options import Options
from minicam.explanation.result import CAM, Explanation
from minicam.explanation.scores import LOGITS, Scores, score_kind
from minicam.explanation.segmentation import label_layer, labels
from minicam.explanation.targets import Class, Seed, Target, as_targets
from minicam.network import Network
from minicam.patches import Patch
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

    Raises TargetError, LayerError or ImageError for what does not exist or fit.
    """
    chosen = Options(**options)
    reduction_layer = reduction_layer or choose_reduction_layer(net.graph)
    layers = _checked_layers(net, feature_layers, reduction_layer)
    explained = [
        _explain_sample(net, sample, targets, layers, reduction_layer, chosen) for sample in samples(net, image)
    ]
    return explained if is_batch(net, image) else explained[0]


def _explain_sample(
    net: Network, sample: Sample, targets: Any, layers: list[str], reduction_layer: str, options: Options
) -> Explanation:
    output = label_layer(net)
    keep = {reduction_layer, *layers, *net.graph.reads([reduction_layer], layers)} | ({output} if output else set())
    values = net.forward(sample.x, keep)
    scores = Scores(values[reduction_layer][0], score_kind(net.graph, reduction_layer), net.classes, sample.space)
    seeds = [target.seed(scores) for target in _targets(targets, scores)]
    maps = {layer: _Maps(values[layer][0], len(seeds), options) for layer in layers}
    plan = passes.planned(net.graph, values, seeds, reduction_layer, layers, options.sums_will_do)
    for one in options.progress(plan) if options.progress else plan:
        passes.run(net, values, seeds, one, reduction_layer, layers, lambda i, layer, found: maps[layer].add(i, found))
    cams = [_cam(net, sample, scores, seeds, maps[layer], layer, reduction_layer, options) for layer in layers]
    return Explanation(labels(net, values[output][0], sample.space) if output else None, cams)


class _Maps:
    """What is kept of each target's gradient at one layer."""

    def __init__(self, activations: Array, count: int, options: Options):
        xp, (channels, *space) = array_module(activations), activations.shape
        self.activations, self.options = activations, options
        self.alpha = xp.zeros((count, channels), activations.dtype)
        self.raw = xp.zeros((count, *space), activations.dtype)
        self.support = xp.ones((count, *space), bool)
        self.gradients = xp.zeros((count, channels, *space), activations.dtype) if options.keep_gradients else None

    def add(self, i: int, gradient: Patch | Array) -> None:
        """The i-th target's gradient (K, *space) at the layer; or, of a target over all positions, its sums (K,)."""
        sums = channel_sums(gradient) if isinstance(gradient, Patch) else gradient
        self.alpha[i] = channel_weights(sums, self.raw.shape[1:], self.options.alpha)
        if isinstance(gradient, Patch):
            self.support[i] = support(gradient)
            if self.options.method in LOCAL:
                self.raw[i] = LOCAL[self.options.method](self.activations, gradient)
            if self.gradients is not None:
                self.gradients[i] = gradient.full()

    def finish(self, net: Network) -> np.ndarray:
        """Complete `raw` once all targets are in, and return the fraction of each map's mass outside its support."""
        if self.options.method in WEIGHTED:
            self.raw = net.weighted_sum(self.alpha, self.activations)
        mass = to_numpy(self.raw.clip(min=0).reshape(len(self.raw), -1)).astype(np.float64)
        inside = to_numpy(self.support.reshape(mass.shape))
        outside = (mass * ~inside).sum(axis=1) / np.maximum(mass.sum(axis=1), np.finfo(np.float64).tiny)
        if self.options.truncate:
            self.raw = self.raw * self.support
        return outside


def _cam(
    net: Network,
    sample: Sample,
    scores: Scores,
    seeds: Sequence[Seed],
    maps: _Maps,
    layer: str,
    reduction_layer: str,
    options: Options,
) -> CAM:
    outside = maps.finish(net)
    return CAM(
        maps=to_numpy(_upsampled(net, maps.raw, sample.space, options)),
        raw=to_numpy(maps.raw),
        alpha=to_numpy(maps.alpha),
        activations=to_numpy(maps.activations),
        gradients=None if maps.gradients is None else to_numpy(maps.gradients),
        feature_layer=layer,
        reduction_layer=reduction_layer,
        targets=tuple(seed.name for seed in seeds),
        scores=np.array([seed.score for seed in seeds]),
        positions=np.array([seed.positions for seed in seeds]),
        score_kind=scores.kind,
        method=options.method,
        truncated=options.truncate,
        outside=outside,
        notes=_notes(net, scores, seeds, layer, reduction_layer, options),
        marks=tuple(seed.mark for seed in seeds),
        classes=net.classes,
        colors=net.colors,
    )


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


def _targets(wanted: Any, scores: Scores) -> list[Target]:
    """The targets asked for, or the channels with the largest sum."""
    if wanted is not None:
        return as_targets(wanted)
    totals = to_numpy(scores.values.reshape(len(scores.values), -1).sum(axis=1))
    return [Class(int(c)) for c in np.argsort(-totals, kind="stable")[:LARGEST_CLASSES]]


def _upsampled(net: Network, raw: Array, space: tuple[int, ...], options: Options) -> Array:
    """max(raw, 0) at the size of the input: (T, *feature space) -> (T, *space)."""
    rectified = raw.clip(min=0)
    if options.upsampling == "none":
        return rectified
    rank = raw.ndim - 1
    methods = [options.upsampling] * rank if isinstance(options.upsampling, str) else list(options.upsampling)
    if len(methods) != rank:
        raise LayerError(f"upsampling names {len(methods)} axes; the maps have {rank}")
    if len(set(methods)) == 1 and options.edges == "mirror":
        return net.resize(rectified, space, methods[0])
    for axis, (size, method) in enumerate(zip(space, methods, strict=True), start=1):
        rectified = imresize(rectified, (size,), method, options.edges, axes=(axis,))
    return rectified


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
