"""The commands that read pictures and write pictures."""

import argparse
import json
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any

from minicam.commands.terminal import DONE, SOME_FAILED, complain, progress
from minicam.errors import ImageError, LayerError, MinicamError, TargetError, close_names


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


def _for_each(
    options: argparse.Namespace,
    suffix: str,
    one: Callable[[Path, Path], dict[str, Any]],
    told: Callable[[dict[str, Any]], str],
) -> int:
    """Run `one` on every image; an image that fails is reported, and the others go on."""
    status = DONE
    for image, output in progress(_outputs(options, suffix), options.json):
        try:
            result = {"image": str(image), **one(image, output)}
        except (ImageError, TargetError) as error:
            status = SOME_FAILED
            if options.json:
                print(json.dumps({"image": str(image), "error": str(error)}), flush=True)
            complain(error, status)
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
