"""Grad-CAM for semantic segmentation: a street, its labels, and where Road and Car were decided.

    python examples/segmentation.py [IMAGE] [-o FOLDER]

Three figures, from one forward and one batched backward pass of the bundled network:

1. segmentation_labels.png: the label of each pixel in the colours of CamVid, over the image;
2. segmentation_maps.png: image, labels, and the maps of Road and Car at dec_relu4, the decoder's last features;
3. segmentation_layers.png: the same two maps at three earlier layers, which have a sixteenth of the resolution.

What is explained is the sum over all pixels of the class's softmax score. Confident pixels add almost nothing to its
gradient, so these maps speak of the uncertain ones: at res5b_relu, the map of Road in examples/street.png lies on the
trees. See seg_grad_cam.py for logits of chosen pixels instead.
"""

import argparse
from pathlib import Path

import minicam as mc
from minicam import figures

STREET = Path(__file__).with_name("street.png")
CLASSES = ("Road", "Car")
LAYERS = ("dec_relu4", "res5b_relu", "catAspp", "dec_relu1")


def main(output_folder: Path, image: Path = STREET, net: mc.Network | None = None) -> None:
    pixels = mc.read_image(image)  # of any size: resized for the network, and everything comes back at its own size
    net = net or mc.load()
    explained = mc.explain(net, pixels, CLASSES, LAYERS, reduction_layer="softmax-out")
    for index, name in enumerate(net.classes):
        print(f"{name:12} {(explained.labels == index).mean():6.1%} of the image")
    for cam in explained.cams:
        for title, values in zip(cam.titles, cam.maps, strict=True):
            print(f"{title}: the map's peak is {values.max():.3g}")  # never rescaled, so that peaks can be compared

    labels = figures.label_figure(pixels, explained.labels, net.classes, net.colors)
    maps = explained.cams[0].figure(pixels, explained.labels)
    layers = mc.Explanation(explained.labels, explained.cams[1:]).figure(pixels)
    output_folder.mkdir(parents=True, exist_ok=True)
    figures.save_figure(labels, output_folder / "segmentation_labels.png")
    figures.save_figure(maps, output_folder / "segmentation_maps.png")
    figures.save_figure(layers, output_folder / "segmentation_layers.png")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("image", type=Path, nargs="?", default=STREET)
    parser.add_argument("-o", "--output-folder", type=Path, default=Path("figures"))
    main(**vars(parser.parse_args()))
