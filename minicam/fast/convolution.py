"""Which way to compute a convolution, and its input gradient, on channels-last images.

| kernel, stride | way | reason |
|---|---|---|
| 1 x 1 | columns | it is one matrix product |
| 3 x 3, stride 1, any dilation | Winograd, columns or taps, whichever costs less by `costs` | Winograd has a quarter of the multiplications, but its sums cost as much as ADDITIONS multiplications per channel and tile: with few channels, or with tiles that stick out of the small images of a large dilation, a plain product wins |
| others | columns, or taps by `costs` | with padding that is wide against the image, taps leave out the zeros |
"""  # noqa: E501 (a table)

import math
from collections.abc import Sequence

import numpy as np

from minicam.fast import products, winograd
from minicam.fast.epilogue import Epilogue
from minicam.fast.threads import Workers
from minicam.fast.windows2d import Source
from minicam.windows import Window

ADDITIONS = 1300
"""What the sums around a 4 x 4 tile cost, per channel in and per channel out, in multiplications (measured)."""
PRODUCT = 1.6
"""What a multiplication of Winograd's 36 products costs: they are small, and read four times the weight (measured)."""
TRANSFORM = 25
"""What transforming one number of the weight costs, in multiplications (measured)."""
COPY = 7
"""What copying one number costs, in multiplications."""


def choose(window: Window, space: tuple[int, int], out_space: tuple[int, int], channels: int, filters: int) -> str:
    """ "winograd", "columns" or "taps": the cheapest of those that can be used."""
    if math.prod(window.kernel) == 1:
        return "columns"
    prices = costs(window, space, out_space, channels, filters)
    return min(prices, key=lambda way: prices[way])


def costs(
    window: Window, space: tuple[int, int], out_space: tuple[int, int], channels: int, filters: int
) -> dict[str, float]:
    """Way -> multiplications, other work counted as so many of them."""
    taps = math.prod(window.kernel)
    positions = math.prod(out_space)
    seen = _positions_seen(window, space, out_space)
    prices = {
        "columns": float(positions * taps * channels * (filters + COPY)),
        "taps": float(seen * (channels * (filters + COPY) + 2 * COPY * filters)),
    }
    if is_winograd(window):
        dilation = window.dilation[0]
        images = math.prod(min(dilation, size) for size in out_space)
        tiles = images * math.prod(winograd.tiles_per_axis(out_space, dilation))
        products_of_tiles = (PRODUCT * tiles + TRANSFORM) * 36 * channels * filters
        prices["winograd"] = products_of_tiles + tiles * ADDITIONS * (channels + filters)
    return prices


def is_winograd(window: Window) -> bool:
    return window.kernel == (3, 3) and window.stride == (1, 1) and window.dilation[0] == window.dilation[1]


def _positions_seen(window: Window, space: tuple[int, int], out_space: tuple[int, int]) -> int:
    """Pairs of a tap and an output whose input is not padding."""
    per_axis = []
    for size, out, kernel, stride, dilation, (low, _) in zip(space, out_space, *window, strict=True):
        positions = (stride * np.arange(out)[:, None] + dilation * np.arange(kernel) - low).ravel()
        per_axis.append(int(((positions >= 0) & (positions < size)).sum()))
    return math.prod(per_axis)


def convolve(
    sources: Sequence[Source], weight: np.ndarray, window: Window, out: np.ndarray, epilogue: Epilogue, workers: Workers
) -> None:
    """out (N, Ho, Wo, K) = epilogue of the convolution of the sources' channels (N, H, W, C); weight: from
    `products.weight_matrices`."""
    way = choose(window, sources[0].space, out.shape[1:3], *weight.shape[2:])
    if way == "winograd":
        padding = (window.padding[0][0], window.padding[1][0])
        winograd.convolve(sources, weight, padding, window.dilation[0], out, epilogue, workers)
    elif way == "taps":
        products.convolve_by_taps(sources, weight, window, out, epilogue, workers)
    else:
        products.convolve_by_columns(sources, weight, window, out, epilogue, workers)


def turned(weight: np.ndarray, window: Window) -> np.ndarray:
    """What `adjoint` takes the matrices of, for a weight (K, C, kernel rows, kernel columns): K and C exchanged and,
    at stride 1, turned round."""
    return (weight[:, :, ::-1, ::-1] if window.stride == (1, 1) else weight).swapaxes(0, 1)


def adjoint(dy: Source, weight: np.ndarray, window: Window, out: np.ndarray, workers: Workers) -> None:
    """out (N, H, W, C) = the gradient at the input of a convolution, for dy (N, Ho, Wo, K); weight: matrices of
    `turned`.

    At stride 1 it is a convolution again, with padding d (kernel - 1) - p.
    """
    if window.stride != (1, 1):
        products.adjoint_by_taps(dy, weight, window, out, workers)
        return
    low = [d * (k - 1) - p for k, d, (p, _) in zip(window.kernel, window.dilation, window.padding, strict=True)]
    back = window._replace(padding=tuple((p, p) for p in low))
    convolve([dy], weight, back, out, Epilogue(), workers)
