"""The command line: minicam explain | segment | layers | verify | bench."""

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from minicam import __version__
from minicam.errors import ImageError, LayerError, MinicamError, ModelFileError, TargetError, close_names

DONE, SOME_FAILED, WRONG_USAGE = 0, 1, 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. Returns 0 when done, 1 when some inputs failed, 2 for wrong usage."""
    options = _parser().parse_args(arguments)
    try:
        return options.run(options)
    except ModelFileError as error:
        return _complain(error, SOME_FAILED)
    except MinicamError as error:
        return _complain(error, WRONG_USAGE)
    except KeyboardInterrupt:
        return _complain("interrupted", 130)


def explain(options: argparse.Namespace) -> int:
    """Maps of the classes (or of a pixel) at the layers asked for, as one picture per image."""
    import minicam as mc
    from minicam import figures

    net = mc.load(options.weights, device=options.device)
    _check_names(net, options)

    def one(image: Path, output: Path) -> dict[str, Any]:
        pixels = mc.read_image(image)
        explained = mc.explain(net, pixels, _targets(options), options.layers, options.reduction)
        figures.save_figure(explained.figure(pixels), output)
        return {"output": str(output), **_shares(net, explained.labels), "maps": _maps(explained)}

    return _for_each(options, "_explained.png", one, _told_maps)


def segment(options: argparse.Namespace) -> int:
    """The labels of each image: a picture with legend, and the label map itself beside it."""
    import minicam as mc
    from minicam import figures

    net = mc.load(options.weights, device=options.device)

    def one(image: Path, output: Path) -> dict[str, Any]:
        pixels = mc.read_image(image)
        labels = mc.segment(net, pixels)
        label_map = output.with_name(f"{output.stem}_labels.png")
        figures.save_label_map(labels, label_map)
        figures.save_figure(figures.label_figure(pixels, labels, net.classes, net.colors), output)
        return {"output": str(output), "label_map": str(label_map), **_shares(net, labels)}

    return _for_each(options, "_segmented.png", one, _told_shares)


def layers(options: argparse.Namespace) -> int:
    """The table of layers."""
    import minicam as mc
    from minicam import summary

    net = mc.load(options.weights)
    print(json.dumps(summary.rows(net.graph)) if options.json else net.summary())
    return DONE


def verify(options: argparse.Namespace) -> int:
    """Check a weight file: structure, digests, and its own stored example."""
    import dataclasses

    import minicam as mc

    report = mc.verify(options.weights)
    if options.json:
        print(json.dumps(dataclasses.asdict(report)))
        return DONE
    example = "no example" if report.check is None else f"its own example agrees to {report.check:.1e} of the peak"
    size = f"{report.layers} layers, {report.parameters:,} parameters, {report.bytes / 1e6:.1f} MB"
    print(f"{report.path}: sound: {size}; {example}")
    return DONE


def bench(options: argparse.Namespace) -> int:
    """Time the example's job on this machine, beside what is installed of other libraries."""
    from minicam import bench as benchmark

    def tell(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    report = benchmark.run(
        options.weights,
        options.device,
        options.repeat,
        options.threads,
        options.rivals,
        options.layers,
        options.sizes,
        tell,
    )
    print(json.dumps(report) if options.json else benchmark.table(report))
    return DONE


def _for_each(
    options: argparse.Namespace,
    suffix: str,
    one: Callable[[Path, Path], dict[str, Any]],
    told: Callable[[dict[str, Any]], str],
) -> int:
    """Run `one` on every image; an image that fails is reported, and the others go on."""
    status = DONE
    for image, output in _progress(_outputs(options, suffix), options.json):
        try:
            result = {"image": str(image), **one(image, output)}
        except (ImageError, TargetError) as error:
            status = SOME_FAILED
            if options.json:
                print(json.dumps({"image": str(image), "error": str(error)}), flush=True)
            _complain(error, status)
        else:
            print(json.dumps(result) if options.json else told(result), flush=True)
    return status


def _outputs(options: argparse.Namespace, suffix: str) -> list[tuple[Path, Path]]:
    """Each image with the file to write for it: OUT itself for one image, a file in the folder OUT for several."""
    images = options.images or [_example()]
    if options.output and len(images) == 1 and not options.output.is_dir():
        outputs = [options.output]
    else:
        folder = options.output or Path()
        if folder.exists() and not folder.is_dir():
            raise MinicamError(f"{folder}: is a file; for several images expected a folder")
        folder.mkdir(parents=True, exist_ok=True)
        outputs = [folder / (image.stem + suffix) for image in images]
    for image, output in zip(images, outputs, strict=True):
        if outputs.count(output) > 1:
            raise MinicamError(f"{output}: several images would be written to it; rename them or run them one by one")
        if output.exists() and image.exists() and output.samefile(image):
            raise MinicamError(f"{output}: is the image itself; choose another name with -o")
    return list(zip(images, outputs, strict=True))


def _example() -> Path:
    """The street scene that comes with minicam: in an installed package inside it, in a checkout beside it."""
    package = Path(str(resources.files("minicam")))
    for folder in (package, package.parent):
        if (folder / "examples" / "street.png").is_file():
            return folder / "examples" / "street.png"
    raise ImageError("no image given, and the example street.png is not in this installation")


def _progress(items: list, quiet: bool) -> Iterable:
    """A progress bar on a terminal, for more than one image."""
    if len(items) < 2 or quiet:
        return items
    from minicam.images import optional_module

    return optional_module("tqdm").tqdm(items, unit="image", disable=None)


def _check_names(net: Any, options: argparse.Namespace) -> None:
    """What is wrong for every image is wrong usage: say it before the first one."""
    for layer in (*(options.layers or ()), *([options.reduction] if options.reduction else ())):
        net.graph.check_name(layer)
    for name in options.classes or ():
        if isinstance(name, str) and name not in net.classes:
            raise LayerError(f"there is no class {name!r}{close_names(name, net.classes)}")


def _targets(options: argparse.Namespace) -> list | None:
    from minicam import Class, Pixel

    if options.pixel:
        row, col = options.pixel
        return [Pixel(row, col, c) for c in (options.classes or [None])]
    return [Class(c) for c in options.classes] if options.classes else None


def _shares(net: Any, labels: Any) -> dict[str, Any]:
    """Which share of the pixels the network gives to each class that it finds."""
    if labels is None:
        return {}
    import numpy as np

    counts = np.bincount(labels.ravel())
    names = {c: net.classes[c] if c < len(net.classes) else f"class {c}" for c in np.flatnonzero(counts)}
    largest_first = sorted(names, key=lambda c: -counts[c])
    return {"shares": {names[c]: round(float(counts[c] / labels.size), 4) for c in largest_first}}


def _maps(explained: Any) -> list[dict[str, Any]]:
    return [
        {
            "target": target,
            "feature_layer": cam.feature_layer,
            "reduction_layer": cam.reduction_layer,
            "score": float(cam.scores[i]),
            "positions": int(cam.positions[i]),
            "map_max": float(cam.maps[i].max()),
        }
        for cam in explained.cams
        for i, target in enumerate(cam.targets)
    ]


def _told_shares(result: dict[str, Any]) -> str:
    shares = ", ".join(f"{name} {100 * share:.1f} %" for name, share in result.get("shares", {}).items())
    return f"{result['image']} -> {result['output']}" + (f": {shares}" if shares else "")


def _told_maps(result: dict[str, Any]) -> str:
    maps = ", ".join(f"{m['target']} at {m['feature_layer']}" for m in result["maps"])
    return f"{result['image']} -> {result['output']}: {maps}"


def _class(text: str) -> int | str:
    return int(text) if text.isdecimal() else text


def _complain(error: object, status: int) -> int:
    print(f"minicam: error: {error}", file=sys.stderr)
    return status


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

    sub = command(segment, "label every pixel")
    _image_arguments(sub)
    _network_options(sub)

    sub = command(layers, "show the table of layers")
    sub.add_argument("weights", nargs="?", metavar="WEIGHTS", help="default: the bundled CamVid network")

    sub = command(verify, "check a weight file: structure, digests, its own stored example")
    sub.add_argument("weights", metavar="WEIGHTS")

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


def _image_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("images", nargs="*", type=Path, metavar="IMAGE", help="default: the street that comes along")
    parser.add_argument("-o", "--output", type=Path, metavar="OUT", help="file to write; for several images a folder")


def _network_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--weights", metavar="FILE", help="default: the bundled CamVid network")
    parser.add_argument("--device", choices=("auto", "cpu", "gpu"), default="auto")


if __name__ == "__main__":
    sys.exit(main())
