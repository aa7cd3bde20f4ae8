"""Grad-CAM for a classifier: which part of a picture speaks for which class?

    python examples/classification.py [-o FOLDER]

The classes are four kinds of ball. The network has learned from pictures of one ball each what kind it is. It is then
shown a picture of four balls, one of each kind, and asked about each class: each map should point at another ball.
The scores explained are those before the softmax (reduction layer fc): after it the classes compete, and the map of one
shows as well what speaks against the others.

There is no trained network here: random layers, and a last layer fitted to balls drawn here (fitting.py). Own networks
are written like `network` below; minicam.zoo has SqueezeNet, GoogLeNet and ResNet-18, minicam.load reads weight files.
"""

import argparse
from pathlib import Path

import numpy as np
from fitting import fitted, logits, outputs, share

import minicam as mc
from minicam import figures
from minicam.ops import Conv, Dense, GlobalAveragePool, Softmax
from minicam.zoo.builder import Builder

KINDS = ("plain", "upright stripes", "level stripes", "checks")
SIZE = 64
ROWS, COLUMNS = np.mgrid[:SIZE, :SIZE]


def network() -> mc.Graph:
    """From an image (3, SIZE, SIZE) to a score for each kind; features `relu3` (64, SIZE / 4, SIZE / 4)."""
    b = Builder("image", (3, SIZE, SIZE))
    b.conv_relu("conv1", "relu1", Conv(16, (3, 3), stride=2, padding=1))
    b.conv_relu("conv2", "relu2", Conv(64, (3, 3), padding=1))
    b.conv_relu("conv3", "relu3", Conv(64, (3, 3), stride=2, padding=1))
    b.add("pool", GlobalAveragePool())
    b.add("fc", Dense(len(KINDS)))
    b.add("softmax", Softmax())
    return b.graph()


def place_ball(picture: np.ndarray, kind: str, centre: tuple[float, float], random: np.random.Generator) -> np.ndarray:
    """Draw a ball of random size and colour into a picture (SIZE, SIZE, 3); returns where it is, bool (SIZE, SIZE)."""
    inside = (ROWS - centre[0]) ** 2 + (COLUMNS - centre[1]) ** 2 < random.uniform(9, 13) ** 2
    upright, level = ((COLUMNS + random.integers(6)) // 3) % 2, ((ROWS + random.integers(6)) // 3) % 2
    dark = {"plain": 0 * level, "upright stripes": upright, "level stripes": level, "checks": upright ^ level}[kind]
    picture[inside] = random.uniform(100, 255, 3) * (1 - 0.9 * dark[inside][:, None])
    return inside


def draw_balls(count: int, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Pictures (count, 3, SIZE, SIZE) of one ball each, and its kind."""
    kinds = random.integers(len(KINDS), size=count)
    pictures = random.uniform(0, 10, (count, SIZE, SIZE, 3))
    for picture, kind in zip(pictures, kinds, strict=True):
        place_ball(picture, KINDS[kind], random.uniform(14, SIZE - 14, 2), random)
    return pictures.transpose(0, 3, 1, 2), kinds


def main(output_folder: Path) -> None:
    random = np.random.default_rng(0)
    pictures, kinds = draw_balls(400, random)
    net = fitted(network(), pictures.astype(np.float32), logits(len(KINDS), kinds), KINDS, seed=3)
    pictures, kinds = draw_balls(100, random)
    accuracy = np.mean(outputs(net, "softmax", pictures.astype(np.float32)).argmax(axis=1) == kinds)
    print(f"accuracy on {len(kinds)} fresh balls: {accuracy:.3f}")

    random = np.random.default_rng(2)
    picture = random.uniform(0, 10, (SIZE, SIZE, 3))
    balls = [
        place_ball(picture, kind, centre, random)
        for kind, centre in zip(KINDS, [(16, 16), (16, 48), (48, 16), (48, 48)], strict=True)
    ]
    cam = mc.gradcam(net, picture, list(KINDS), reduction_layer="fc")
    for kind, values, score, own in zip(KINDS, cam.maps, cam.scores, balls, strict=True):
        next_best = max(share(values, ball) for ball in balls if ball is not own)
        print(f"{kind}: {score:.2f}; of the map {share(values, own):.2f} on its ball, {next_best:.2f} on the next")
    output_folder.mkdir(parents=True, exist_ok=True)
    figures.save_figure(cam.figure(picture), output_folder / "classification.png")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output-folder", type=Path, default=Path("figures"))
    main(**vars(parser.parse_args()))
