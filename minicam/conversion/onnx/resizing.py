"""Resize and Upsample."""

from typing import Any

import numpy as np

from minicam import ops
from minicam.conversion.onnx.call import Call, Translate
from minicam.conversion.onnx.geometry import agreed
from minicam.conversion.onnx.values import Constant, Layer

COORDINATES = ("half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric", "half_pixel_symmetric")


def resize(call: Call) -> Layer:
    """Resize along spatial axes, by scales or to sizes."""
    source, rank = call.image()
    coordinates, method = call.get("coordinate_transformation_mode", "half_pixel"), call.get("mode", "nearest")
    if call.version < 11:
        coordinates = "asymmetric"
    if coordinates not in (*COORDINATES, "tf_half_pixel_for_nn"):
        call.refuse(f"takes coordinates by {coordinates}, which minicam's Resize does not have")
    rounding = call.get("nearest_mode", "round_prefer_floor") if call.version >= 11 else "floor"
    options: dict[str, Any] = {"rounding": rounding} if method == "nearest" else {}
    op = ops.Resize(
        **_target(call, source, rank),
        method=method,
        coordinates=coordinates,
        cubic=call.get("cubic_coeff_a", -0.75),
        exclude_outside=bool(call.get("exclude_outside", 0)),
        antialias=bool(call.get("antialias", 0)),
        **options,
    )
    return call.simple(op, source)


def upsample(call: Call) -> Layer:
    """Upsample, which opset 10 replaced: coordinates are multiples, and the nearest is the one below."""
    source, rank = call.image()
    scales = call.get("scales", None) if call.version < 9 else call.constant(1).tolist()
    method = {"nearest": "nearest", "linear": "linear", "bilinear": "linear"}[call.get("mode", "nearest")]
    op = ops.Resize(
        scales=_spatial(call, scales, [1.0] * (rank + 2), range(rank + 2)),
        method=method,
        coordinates="asymmetric",
        rounding="floor",
    )
    return call.simple(op, source)


def _target(call: Call, source: str, rank: int) -> dict[str, Any]:
    """The options scales and sizes."""
    axes = [axis % (rank + 2) for axis in call.get("axes", range(rank + 2))]
    by_scale = 1 if call.version < 11 else 2
    scales = call.inputs[by_scale] if call.has(by_scale) else None
    if scales is not None and not (isinstance(scales, Constant) and scales.arrays[0].size == 0):
        return {"scales": _spatial(call, call.constant(by_scale).tolist(), [1.0] * (rank + 2), axes)}
    sizes = call.inputs[3] if call.has(3) else None
    if not isinstance(sizes, Constant):
        call.constant(3)
        raise AssertionError
    spaces: list[Any] = [shape[1:] for shape in call.translation.shapes[source][1:]]
    found = [_sizes(call, array, space, axes) for array, space in zip(sizes.arrays, spaces, strict=True)]
    if all(one == found[0] for one in found):
        return {"sizes": found[0]}
    ratios = [tuple(n / size for n, size in zip(*pair, strict=True)) for pair in zip(found, spaces, strict=True)]
    return {"scales": agreed(call, ratios, "the scale")}


def _sizes(call: Call, given: np.ndarray, space: tuple[int, ...], axes: Any) -> tuple[int, ...]:
    """The sizes of the output; with a policy the shape of the input is kept, and they are bounds."""
    policy = call.get("keep_aspect_ratio_policy", "stretch")
    whole = [0, 0, *space]
    if policy != "stretch":
        ratios = [size / whole[axis] for axis, size in zip(axes, given.tolist(), strict=True)]
        scale = min(ratios) if policy == "not_larger" else max(ratios)
        given = np.array([int(np.floor(scale * whole[axis] + 0.5)) for axis in axes])
    for axis, size in zip(axes, given.tolist(), strict=True):
        whole[axis] = size
    return tuple(map(int, whole[2:]))


def _spatial(call: Call, given: Any, whole: list[float], axes: Any) -> tuple[float, ...]:
    """The scales of the spatial axes; those of samples and channels have to be 1."""
    for axis, scale in zip(axes, given, strict=True):
        whole[axis] = float(scale)
    if whole[:2] != [1.0, 1.0]:
        call.refuse(f"scales samples or channels, by {whole[:2]}")
    return tuple(whole[2:])


RESIZING: dict[str, Translate] = {"Resize": resize, "Upsample": upsample}
