"""From an image to labels and maps: one forward, one batched backward pass."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from minicam.backend import Array, array_module, to_numpy
from minicam.errors import LayerError, MinicamError
from minicam.explanation.defaults import choose_feature_layer, choose_reduction_layer, has_extent
from minicam.explanation.inputs import Sample, is_batch, samples
from minicam.explanation.methods import grad_cam
from minicam.explanation.result import CAM, Explanation
from minicam.explanation.targets import Class, Scores, Seed, Target, as_targets
from minicam.network import Network
from minicam.resizing import imresize

UPSAMPLINGS = ("bicubic", "bilinear", "nearest", "none")
LARGEST_CLASSES = 2


def segment(net: Network, image: Any) -> np.ndarray:
    """The label of every pixel: the class with the largest score.

    image: see `inputs.samples`; a path, an array (H, W, 3) or a batch (N, H, W, 3). Returns (H, W) or (N, H, W) uint8
    at the size of the image given (nearest). Raises ImageError, or LayerError if the network labels no positions.
    """
    output = _label_layer(net)
    if output is None:
        raise LayerError(f"{net.graph.outputs[0]!r} gives one answer for the whole input, no labels to segment with")
    labels = []
    for sample in samples(net, image):
        scores = net.forward(sample.x, keep=[output])[output]
        labels.append(_labels(scores[0], sample.space))
    return np.stack(labels) if is_batch(net, image) else labels[0]


def gradcam(
    net: Network,
    image: Any,
    targets: Any = None,
    feature_layer: str | None = None,
    reduction_layer: str | None = None,
    upsampling: str = "bicubic",
    alpha: str = "mean",
    keep_gradients: bool = False,
) -> Any:
    """Grad-CAM of each target at one feature layer: a `CAM`; for a batch of inputs a list of them. See `explain`."""
    layers = None if feature_layer is None else [feature_layer]
    explained = explain(net, image, targets, layers, reduction_layer, upsampling, alpha, keep_gradients)
    return [e.cams[0] for e in explained] if isinstance(explained, list) else explained.cams[0]


def explain(
    net: Network,
    image: Any,
    targets: Any = None,
    feature_layers: Sequence[str] | None = None,
    reduction_layer: str | None = None,
    upsampling: str = "bicubic",
    alpha: str = "mean",
    keep_gradients: bool = False,
) -> Any:
    """Labels and Grad-CAM of every target at every feature layer, from one forward and one batched backward pass.

    Returns an `Explanation`; for a batch a list of them. image: see `inputs.samples`.
    targets: a class name, a 0-based index, a target, or a list of them; None: the two classes that the network
    finds most of. feature_layers: None: the one of `defaults.choose_feature_layer`. reduction_layer: None: the last.
    upsampling: "bicubic", "bilinear", "nearest" (to the size of the input given) or "none" (maps at feature size).
    alpha: "mean" or "sum" of the gradient over the feature layer's positions. keep_gradients: return them as well.

    Raises TargetError, LayerError or ImageError for what does not exist or fit.
    """
    request = _request(net, feature_layers, reduction_layer, upsampling, alpha, keep_gradients)
    explained = [_explain_sample(net, sample, targets, request) for sample in samples(net, image)]
    return explained if is_batch(net, image) else explained[0]


@dataclass(frozen=True)
class _Request:
    """The options of `explain`, checked."""

    feature_layers: list[str]
    reduction_layer: str
    upsampling: str
    alpha: str
    keep_gradients: bool


def _request(
    net: Network,
    layers: Sequence[str] | None,
    reduction_layer: str | None,
    upsampling: str,
    alpha: str,
    keep_gradients: bool,
) -> _Request:
    _check_choice("upsampling", upsampling, UPSAMPLINGS)
    _check_choice("alpha", alpha, ("mean", "sum"))
    reduction_layer = reduction_layer or choose_reduction_layer(net.graph)
    net.graph.check_name(reduction_layer)
    layers = [choose_feature_layer(net.graph, reduction_layer)] if layers is None else layers
    if isinstance(layers, str):
        raise LayerError(f"feature_layers is the string {layers!r}; expected a list of layer names: [{layers!r}]")
    if not layers:
        raise LayerError("the list of feature layers is empty")
    shapes = net.graph.shapes(net.graph.inputs)
    for layer in layers:
        net.graph.check_name(layer)
        if len(shapes[layer]) != len(net.input_shape):
            raise LayerError(f"feature layer {layer!r} has no spatial axes: its output is {shapes[layer]}")
    return _Request(list(layers), reduction_layer, upsampling, alpha, keep_gradients)


def _explain_sample(net: Network, sample: Sample, targets: Any, request: _Request) -> Explanation:
    layers, reduction_layer, output = request.feature_layers, request.reduction_layer, _label_layer(net)
    keep = {reduction_layer, *layers, *net.graph.reads([reduction_layer], layers)} | ({output} if output else set())
    values = net.forward(sample.x, keep)
    scores = Scores(values[reduction_layer][0], net.classes, sample.space)
    seeds = [target.seed(scores) for target in _targets(targets, scores)]
    seed = array_module(scores.values).stack([s.gradient for s in seeds])
    gradients = net.backward(values, {reduction_layer: seed}, layers)
    cams = [_cam(net, sample, seeds, values[layer][0], gradients[layer], layer, request) for layer in layers]
    return Explanation(_labels(values[output][0], sample.space) if output else None, cams)


def _cam(
    net: Network,
    sample: Sample,
    seeds: Sequence[Seed],
    activations: Array,
    gradients: Array,
    layer: str,
    request: _Request,
) -> CAM:
    alpha, raw = grad_cam(activations, gradients, request.alpha)
    return CAM(
        maps=to_numpy(_upsampled(raw, sample.space, request.upsampling)),
        raw=to_numpy(raw),
        alpha=to_numpy(alpha),
        activations=to_numpy(activations),
        gradients=to_numpy(gradients) if request.keep_gradients else None,
        feature_layer=layer,
        reduction_layer=request.reduction_layer,
        targets=tuple(seed.name for seed in seeds),
        scores=np.array([seed.score for seed in seeds]),
        positions=np.array([seed.positions for seed in seeds]),
        classes=net.classes,
        colors=net.colors,
    )


def _targets(wanted: Any, scores: Scores) -> list[Target]:
    """The targets asked for, or the classes with the largest summed scores."""
    if wanted is not None:
        return as_targets(wanted)
    totals = to_numpy(scores.values.reshape(len(scores.values), -1).sum(axis=1))
    return [Class(int(c)) for c in np.argsort(-totals, kind="stable")[:LARGEST_CLASSES]]


def _label_layer(net: Network) -> str | None:
    """The output whose largest channel labels every position of an image; None if the network has no such output."""
    output = net.graph.outputs[0]
    shape = net.graph.shapes(net.graph.inputs)[output]
    return output if len(shape) == len(net.input_shape) == 3 and has_extent(shape) else None


def _labels(scores: Array, space: tuple[int, ...]) -> np.ndarray:
    """scores (C, h, w) -> (H, W) uint8."""
    if len(scores) > 256:
        raise LayerError(f"the output has {len(scores)} channels; labels are uint8 and reach to 256 classes")
    return imresize(to_numpy(scores.argmax(axis=0)).astype(np.uint8), space, method="nearest")


def _upsampled(raw: Array, space: tuple[int, ...], upsampling: str) -> Array:
    """max(raw, 0) at the size of the input: (T, *feature space) -> (T, *space)."""
    rectified = array_module(raw).maximum(raw, 0)
    if upsampling == "none":
        return rectified
    return imresize(rectified, space, method=upsampling, axes=tuple(range(1, raw.ndim)))


def _check_choice(name: str, value: str, choices: Sequence[str]) -> None:
    if value not in choices:
        raise MinicamError(f"{name} is {value!r}; expected one of {', '.join(map(repr, choices))}")
