"""Grad-CAM for regression: what in the picture of a digit makes a network answer the angle by which it is turned?

    python examples/regression.py [-o FOLDER]

A regression network has one output, so there is no class to choose: the number itself is explained. Its map shows what
turns the answer up, towards counter-clockwise. A target can also be a function of the output: minus the number gives
the map of what turns the answer down. The strokes of a digit turned clockwise (the 7) turn the answer down, those of
one turned counter-clockwise (the 4) turn it up; an upright digit has some of both.

The network is weights/digits.h5: from a grey picture (28, 28), white on black, to degrees counter-clockwise. It learned
from strokes drawn by tools/digits.py; the digits here are in print, in a font that it has never seen.
"""

import argparse
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from PIL import Image, ImageDraw, ImageFont

import minicam as mc
from minicam import figures

WEIGHTS = Path(__file__).parents[1] / "weights" / "digits.h5"
TURNED = [("7", -35), ("2", 5), ("4", 30)]


def draw_digit(digit: str, angle: float) -> np.ndarray:
    """A digit turned counter-clockwise: (28, 28) uint8."""
    picture = Image.new("L", (112, 112))
    font = ImageFont.load_default(104)
    ImageDraw.Draw(picture).text((56, 56), digit, fill=255, font=font, anchor="mm")
    return np.asarray(picture.rotate(angle, Image.Resampling.BICUBIC).resize((28, 28), Image.Resampling.BOX))


def clockwise(y: np.ndarray) -> tuple[float, np.ndarray]:
    """Minus the angle, and its gradient."""
    return -float(y[0, 0]), -np.ones_like(y)


def main(output_folder: Path, weights: Path = WEIGHTS) -> None:
    net = mc.load(weights)
    random = np.random.default_rng(0)
    angles = random.uniform(-45, 45, 300)
    pictures = np.stack([draw_digit(str(random.integers(10)), angle) for angle in angles])[:, None]
    errors = net.forward(pictures)["fc"][:, 0] - angles
    print(f"error on {len(angles)} printed digits: {np.sqrt(np.mean(errors**2)):.1f} degrees (root mean square)")

    figure = Figure((9.5, 8.2), dpi=160)
    places = {"left": 0.02, "right": 0.93, "bottom": 0.02, "top": 0.96, "wspace": 0.3}
    rows = figure.subplots(len(TURNED), 3, gridspec_kw=places)
    for axes, (digit, angle) in zip(rows, TURNED, strict=True):
        picture = draw_digit(digit, angle)
        cam = mc.gradcam(net, picture, [0, clockwise])
        print(f"{digit} turned by {angle}: the network says {cam.scores[0]:.1f}, from {cam.feature_layer}")
        axes[0].imshow(picture, cmap="gray")
        axes[0].set_axis_off()
        axes[0].set_title(f"turned by {angle}, found {cam.scores[0]:.0f}", fontsize=11, pad=9)
        figures.map_panel(axes[1], picture, cam.maps[0], "turns the answer up")
        figures.map_panel(axes[2], picture, cam.maps[1], "turns the answer down")
    output_folder.mkdir(parents=True, exist_ok=True)
    figures.save_figure(figure, output_folder / "regression.png")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output-folder", type=Path, default=Path("figures"))
    main(**vars(parser.parse_args()))
