"""The command line: minicam explain | segment | evaluate | layers | convert | verify | bench."""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from minicam import __version__
from minicam.commands import bench, convert, evaluate, explain, layers, segment, verify
from minicam.commands.terminal import SOME_FAILED, WRONG_USAGE, complain
from minicam.errors import MinicamError, ModelFileError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. Returns 0 when done, 1 when some inputs failed, 2 for wrong usage."""
    options = _parser().parse_args(arguments)
    try:
        return options.run(options)
    except ModelFileError as error:
        return complain(error, SOME_FAILED)
    except MinicamError as error:
        return complain(error, WRONG_USAGE)
    except KeyboardInterrupt:
        return complain("interrupted", 130)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="minicam", description="Segment images and explain why, by Grad-CAM.")
    parser.add_argument("--version", action="version", version=f"minicam {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(run: Callable[[argparse.Namespace], int], help: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(run.__name__, help=help, description=help)
        sub.set_defaults(run=run)
        sub.add_argument("--json", action="store_true", help="print results as JSON, one object a line")
        return sub

    sub = command(explain, "show by Grad-CAM which regions made the network decide")
    _image_arguments(sub)
    sub.add_argument("--classes", nargs="+", type=_class, metavar="CLASS", help="names or 0-based indices")
    sub.add_argument("--pixel", nargs=2, type=int, metavar=("ROW", "COLUMN"), help="explain one pixel of the image")
    sub.add_argument("--layers", nargs="+", metavar="LAYER", help="feature layers; several give a grid of maps")
    sub.add_argument("--reduction", metavar="LAYER", help="the layer whose output is explained (default: the last)")
    _network_options(sub)
    _speed_options(sub)

    sub = command(segment, "label every pixel")
    _image_arguments(sub)
    _network_options(sub)
    _speed_options(sub)

    sub = command(evaluate, "compare the network's labels with those of a folder of labelled frames")
    sub.add_argument("folder", metavar="FOLDER", help="with images/NAME.jpg or .png and labels/NAME.png")
    sub.add_argument("--ignored", type=int, metavar="N", help="label to leave out (default: the number of classes)")
    sub.add_argument("--at", choices=("network", "frame"), default="network", help="the size to compare at")
    _network_options(sub)
    _speed_options(sub)

    sub = command(layers, "show the table of layers")
    sub.add_argument("weights", nargs="?", metavar="WEIGHTS", help="default: the bundled CamVid network")

    sub = command(convert, "read another framework's file, compare with that framework, and write a weight file")
    _conversion_arguments(sub)

    sub = command(verify, "check a weight file: structure, digests, its own stored example")
    sub.add_argument("weights", metavar="WEIGHTS")
    _device_option(sub)

    sub = command(bench, "time the example's job on this machine, beside what is installed of other libraries")
    sub.add_argument("--repeat", type=int, default=5, help="runs to take the median of (default: 5)")
    sub.add_argument("--threads", type=int, help="for everybody (default: MINICAM_THREADS, or the machine's cores)")
    sub.add_argument(
        "--rivals", nargs="*", metavar="NAME", help="whom to compare with (default: all that is installed)"
    )
    sub.add_argument("--layers", action="store_true", help="also time each layer of the forward pass")
    sub.add_argument("--sizes", action="store_true", help="also time other image and batch sizes")
    _network_options(sub)
    return parser


def _conversion_arguments(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("source", metavar="SOURCE", help="the file, or for some kinds the folder, of another framework")
    sub.add_argument("output", metavar="OUT.h5", help="the weight file to write")
    sub.add_argument("--force", action="store_true", help="replace OUT.h5 where it exists")
    sub.add_argument("--kind", metavar="KIND", help="of SOURCE (default: found by its content and name)")
    sub.add_argument("--architecture", metavar="NAME", help="the network, where SOURCE holds its weights alone")
    sub.add_argument(
        "--input-shape", nargs="+", type=_size, metavar="N", help='of the input, channels first; "any" leaves it open'
    )
    sub.add_argument("--classes", nargs="+", metavar="CLASS", help="names of the output channels")
    for name in ("mean", "std"):
        sub.add_argument(
            f"--{name}", nargs="+", type=float, metavar="X", help=f"{name} of the input, where SOURCE is weights alone"
        )
    sub.add_argument("--no-check", action="store_true", help="do not compare the result with the framework's")


def _class(text: str) -> int | str:
    return int(text) if text.isdecimal() else text


def _size(text: str) -> int | None:
    return None if text == "any" else int(text)


def _image_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "images",
        nargs="*",
        type=Path,
        metavar="IMAGE",
        help="or a folder of images; default: the street that comes along",
    )
    parser.add_argument("-o", "--output", type=Path, metavar="OUT", help="file to write; for several images a folder")


def _network_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--weights", metavar="FILE", help="default: the bundled CamVid network")
    _device_option(parser)


def _device_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", choices=("auto", "cpu", "gpu"), default="auto")


def _speed_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--precision",
        choices=("exact", "fast", "tf32", "fp16"),
        default="fast",
        help="fast: float32; exact: by the plain definitions; tf32, fp16: faster and coarser, on a GPU",
    )
    parser.add_argument(
        "--batch",
        type=int,
        metavar="N",
        help="images of one size to compute together (default: 1 on a CPU, 8 on a GPU)",
    )


if __name__ == "__main__":
    sys.exit(main())
