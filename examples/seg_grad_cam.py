"""SEG-GRAD-CAM: why did a network label this pixel, or all these pixels, as cars?

    python examples/seg_grad_cam.py [IMAGE] [-o FOLDER]

The questions of Vinogradova, Dibrov and Myers (arXiv:2002.11434), and those that they leave for later, on one image.
The score explained is the sum of the logits of Car (layer dec_crop2, before the softmax), either at one pixel, the one
deepest inside what was labelled Car, or over all pixels labelled Car.

1. seg_grad_cam.png: both at the bottleneck catAspp. The pixel is a white dot, the region has a white outline.
2. seg_grad_cam_layers.png: both at an early layer (res2b_relu: edges and colours), at the bottleneck (whole things and
   their surroundings) and at a late layer (dec_relu4). From there to the logits everything is linear, so that the two
   maps are alike up to a factor; minicam logs a note that says so.
3. seg_grad_cam_methods.png: Grad-CAM averages the gradient over the layer, so that its map for one pixel lies mostly
   where nothing can reach that pixel. truncate=True cuts that off; HiResCAM does not average in the first place.
4. seg_grad_cam_alpha.png: how alike the channel weights alpha are, for the pixel and for others on a coarse grid.

At the end a class that the network found nowhere, if there is one: its map is empty, and minicam.why_empty says why.
"""

import argparse
from pathlib import Path

import numpy as np
from scipy.ndimage import distance_transform_edt

import minicam as mc
from minicam import figures

STREET = Path(__file__).with_name("street.png")
CLASS = "Car"
EARLY, BOTTLENECK, LATE = "res2b_relu", "catAspp", "dec_relu4"
LOGITS = "dec_crop2"


def main(output_folder: Path, image: Path = STREET, net: mc.Network | None = None) -> None:
    pixels = mc.read_image(image)
    net = net or mc.load()
    labels = mc.segment(net, pixels)
    inside = labels == net.classes.index(CLASS)
    if not inside.any():
        raise mc.TargetError(f"{image}: the network found no {CLASS} in it; expected an image with one")
    depth = distance_transform_edt(inside)
    row, column = (int(i) for i in np.unravel_index(depth.argmax(), depth.shape))
    targets = [mc.Pixel(row, column, CLASS), mc.Predicted(CLASS)]

    explained = mc.explain(net, pixels, targets, [EARLY, BOTTLENECK, LATE], LOGITS)
    for cam in explained.cams:
        for title, outside in zip(cam.titles, cam.outside, strict=True):
            print(f"{title}: {outside:.1%} of the map lies where the gradient is 0")
    bottleneck = explained.cams[1]

    truncated = mc.gradcam(net, pixels, targets, BOTTLENECK, LOGITS, truncate=True)
    hires = mc.gradcam(net, pixels, targets, BOTTLENECK, LOGITS, method="hirescam")
    methods = {"Grad-CAM": bottleneck, "truncated": truncated, "HiResCAM": hires}
    titles = [[f"{target}, {name}" for target in cam.targets] for name, cam in methods.items()]
    maps, marks = zip(*((cam.maps, cam.marks) for cam in methods.values()), strict=True)
    comparison = figures.grid_figure(pixels, maps, titles, marks=marks)

    field = mc.alpha_field(net, pixels, CLASS, BOTTLENECK, step=80, reduction_layer=LOGITS)
    similarity = field.similarity_to(row, column)
    print(f"alpha on a grid of {similarity.shape}: similarity to ({row}, {column}) from {similarity.min():.2f} to 1")

    output_folder.mkdir(parents=True, exist_ok=True)
    figures.save_figure(bottleneck.figure(pixels, labels), output_folder / "seg_grad_cam.png")
    figures.save_figure(explained.figure(pixels), output_folder / "seg_grad_cam_layers.png")
    figures.save_figure(comparison, output_folder / "seg_grad_cam_methods.png")
    figures.save_figure(field.figure(pixels, (row, column)), output_folder / "seg_grad_cam_alpha.png")

    absent = next((index for index in range(len(net.classes)) if index not in labels), None)
    if absent is None:
        print("every class was found, so no map is empty")
    else:
        print(mc.why_empty(mc.gradcam(net, pixels, mc.Predicted(absent), BOTTLENECK, LOGITS)))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("image", type=Path, nargs="?", default=STREET)
    parser.add_argument("-o", "--output-folder", type=Path, default=Path("figures"))
    main(**vars(parser.parse_args()))
