"""The tables of kernels in docs/gpu.md: what each computes, and what it takes of a processor when compiled for sm_90.

    python tools/kernel_table.py [--write]

Needs no GPU, only the extra test-cuda. --write: into the document, else onto the screen.
"""

import argparse
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.append(str(ROOT))  # last, so that an installed minicam comes first

from nvrtc import Function, all_kernels, compile_units, compiled, unit_of  # noqa: E402

from minicam.cuda import layout, sums, tiles  # noqa: E402
from minicam.cuda.buffers import Buffer, Kernel, Launch, feature_maps  # noqa: E402

DOCUMENT, MARKS = ROOT / "docs" / "gpu.md", ("<!-- kernels -->", "<!-- end of kernels -->")
ARCHITECTURE = 90
PURPOSES = {
    "correlate": "convolution of any stride, dilation and padding, or its adjoint; bias, skip, ReLU or mask",
    "add_parts": "adds the parts of sums that several blocks worked out, in a fixed order; then the same",
    "to_channels_last": "an image, normalised, into channels-last order",
    "combine": "scales, adds, rectifies, masks up to three feature maps",
    "max_pool": "max pooling",
    "max_pool_adjoint": "its adjoint, by looking up where each maximum came from",
    "upsample": "transposed convolution of each channel alone",
    "upsample_adjoint": "its adjoint",
    "softmax": "softmax over channels, and labels",
    "upsample_softmax": "both at once: the upsampled scores are not stored",
    "softmax_adjoint": "its adjoint",
    "softmax_many": "the same for more than 32 channels, a warp for each position",
    "softmax_adjoint_many": "its adjoint",
    "partial_sums": "sums of pieces of rows, each with one rounding",
    "rectangle_sums": "sums over rectangles from these: Grad-CAM's means without the last gradient",
    "product": "rectangle sums times weights",
    "weighted_sum": "channel weights times activations: the signed map",
    "resize": "ReLU and bicubic (or other separable) resizing",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true", help=f"into {DOCUMENT.relative_to(ROOT)}")
    write = parser.parse_args().write
    compile_units({unit_of(kernel) for kernel, _ in all_kernels()}, ARCHITECTURE)
    tables = "\n".join((*kernel_table(), "", *tile_table()))
    if not write:
        print(tables)
        return
    text = DOCUMENT.read_text()
    before, after = (re.escape(mark) for mark in MARKS)
    DOCUMENT.write_text(re.sub(f"({before}\n).*?({after})", lambda m: f"{m[1]}{tables}\n{m[2]}", text, flags=re.DOTALL))


def kernel_table() -> Iterator[str]:
    """All but the convolutions of single tiles."""
    yield "| file | kernel | computes | variants | registers | shared memory, KiB |"
    yield "|---|---|---|---|---|---|"
    variants: dict[tuple[str, str], list[Kernel]] = {}
    for kernel, _ in all_kernels():
        variants.setdefault((kernel.source, kernel.name), []).append(kernel)
    shared = {launch.kernel.name: launch.shared for launch in shared_launches()}
    for (source, name), kernels in variants.items():
        registers = span(function.registers for function in map(function_of, kernels))
        taken = "see below" if name == "correlate" else f"{shared[name] / 1024:.0f}" if name in shared else ""
        yield f"| {source}.cu | `{name}` | {PURPOSES[name]} | {len(kernels)} | {registers} | {taken} |"


def tile_table() -> Iterator[str]:
    """The tiles of convolutions."""
    yield "| products | tile (positions x filters) | threads | registers | shared memory, KiB |"
    yield "|---|---|---|---|---|"
    for arithmetic, some in tiles.TILES.items():
        for tile in some:
            function = function_of(tiles.kernel("correlate", tile, arithmetic))
            shared = tiles.shared_bytes(tile, arithmetic) / 1024
            size = f"{tile.rows} x {tile.columns}"
            yield f"| {arithmetic} | {size} | {function.threads} | {function.registers} | {shared:.1f} |"


def shared_launches() -> Iterable[Launch]:
    """Launches of the other kernels that have shared memory, with as much as they ever take."""
    maps = feature_maps(1, 1, 1, 4)
    yield from layout.to_channels_last(Buffer((1, 4, 1, 1)), maps, None, None)
    yield from sums.rectangle_sums(maps, [(0, 1, 0, 1)], Buffer((1, 1, 4)))
    yield from sums.product(Buffer((1, 1, 4)), Buffer((1, 4, 4)), Buffer((1, 4)))


def function_of(kernel: Kernel) -> Function:
    return compiled(unit_of(kernel), ARCHITECTURE).functions[kernel.name]


def span(numbers: Iterable[int]) -> str:
    """The least and the largest."""
    least, *_, largest = sorted([*numbers] * 2)
    return f"{least}" if least == largest else f"{least} to {largest}"


if __name__ == "__main__":
    main()
