"""The commands that read pictures and write pictures."""

import argparse
import json
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Any

from minicam.commands.terminal import DONE, SOME_FAILED, complain, loaded, progress
from minicam.errors import DeviceMemoryError, ImageError, LayerError, MinicamError, TargetError, close_names
from minicam.images import images_in


def explain(options: argparse.Namespace) -> int:
    """Maps of the classes (or of a pixel) at the layers asked for, as one picture per image."""
    from minicam import figures
    from minicam.explanation.pipeline import Explaining

    net = loaded(options)
    _check_names(net, options)

    def one(pixels: Any, explained: Any, output: Path) -> dict[str, Any]:
        figures.save_figure(explained.figure(pixels), output)
        return {"output": str(output), **_shares(net, explained.labels), "maps": _maps(explained)}

    work = Explaining(net, _targets(options), options.layers, options.reduction)
    return _for_each(net, work, options, "_explained.png", one, _told_maps)


def segment(options: argparse.Namespace) -> int:
    """The labels of each image: a picture with legend, and the label map itself beside it."""
    from minicam import figures
    from minicam.explanation.segmentation import Segmenting

    net = loaded(options)

    def one(pixels: Any, labels: Any, output: Path) -> dict[str, Any]:
        label_map = output.with_name(f"{output.stem}_labels.png")
        figures.save_label_map(labels, label_map)
        figures.save_figure(figures.label_figure(pixels, labels, net.classes, net.colors), output)
        return {"output": str(output), "label_map": str(label_map), **_shares(net, labels)}

    return _for_each(net, Segmenting(net), options, "_segmented.png", one, _told_shares)


def _for_each(
    net: Any,
    work: Any,
    options: argparse.Namespace,
    suffix: str,
    one: Callable[[Any, Any, Path], dict[str, Any]],
    told: Callable[[dict[str, Any]], str],
) -> int:
    """`work` for every image, and `one` with its pixels, what came of it, and the file to write. An image that fails is
    reported, and the others go on."""
    from minicam.streaming import outcomes

    status, pairs = DONE, _outputs(options, suffix)
    with closing(outcomes(net, [image for image, _ in pairs], work, options.batch, _read)) as found:
        for (image, output), outcome in zip(progress(pairs, options.json), found, strict=True):
            try:
                result = {"image": str(image), "device": outcome.device}
                result |= one(outcome.given, outcome.result(), output)
            except (ImageError, TargetError, DeviceMemoryError) as error:
                status = SOME_FAILED
                if options.json:
                    print(json.dumps({"image": str(image), "error": str(error)}), flush=True)
                complain(error, status)
            else:
                print(json.dumps(result) if options.json else told(result), flush=True)
    return status


def _read(net: Any, image: Path) -> Any:
    """The sample of an image, which brings the pixels along."""
    from minicam.explanation.inputs import single_sample
    from minicam.images import read_image

    pixels = read_image(image)
    return replace(single_sample(net, pixels), given=pixels)


def _outputs(options: argparse.Namespace, suffix: str) -> list[tuple[Path, Path]]:
    """Each image with the file to write for it: OUT itself for one image, a file in the folder OUT for several. Of a
    folder these are all the images in it."""
    given = options.images or [_example()]
    images = [image for path in given for image in (images_in(path) if path.is_dir() else [path])]
    if options.output and given == images and len(images) == 1 and not options.output.is_dir():
        outputs = [options.output]
    else:
        folder = options.output or Path()
        if folder.exists() and not folder.is_dir():
            raise MinicamError(f"{folder}: is a file; for several images expected a folder")
        folder.mkdir(parents=True, exist_ok=True)
        outputs = [folder / (image.stem + suffix) for image in images]
    times, read = Counter(outputs), {image.resolve() for image in images}
    for image, output in zip(images, outputs, strict=True):
        if times[output] > 1:
            raise MinicamError(f"{output}: several images would be written to it; rename them or run them one by one")
        if output.resolve() in read:
            what = "the image itself" if output.resolve() == image.resolve() else "another of the images"
            raise MinicamError(f"{output}: is {what}; choose another name with -o")
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
