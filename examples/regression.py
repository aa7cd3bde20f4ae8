"""Grad-CAM for regression: what in the picture of a digit makes a network answer the angle by which it is turned?

    python examples/regression.py [-o FOLDER]

A regression network has one output, so there is no class to choose: the number itself is explained. Its map shows what
turns the answer up, towards counter-clockwise. A target can also be a function of the output: minus the number gives
the map of what turns the answer down.

The network is weights/digits.h5 if that file exists: from a grey picture (28, 28), white on black, to degrees
counter-clockwise. Else it is made on the spot: random layers, and a last layer fitted to digits drawn here, see
fitting.py. That one errs by 6 degrees (root mean square). What it finds on the strokes turns its answer up, what it
finds beside them turns it down, and the balance is the angle.
"""

import argparse
from pathlib import Path

import numpy as np
from fitting import fitted, outputs, share
from matplotlib.figure import Figure
from PIL import Image, ImageDraw, ImageFont

import minicam as mc
from minicam import figures
from minicam.zoo import digits_regression

WEIGHTS = Path(__file__).parents[1] / "weights" / "digits.h5"
DIGITS = "1247"
TURNED = [("7", -35), ("2", 5), ("4", 30)]


def draw_digit(digit: str, angle: float, random: np.random.Generator) -> np.ndarray:
    """A digit turned counter-clockwise, at a random place: (28, 28) uint8."""
    picture = Image.new("L", (112, 112))
    font = ImageFont.load_default(104)
    ImageDraw.Draw(picture).text(random.uniform(51, 61, 2), digit, fill=255, font=font, anchor="mm")
    return np.asarray(picture.rotate(angle, Image.Resampling.BICUBIC).resize((28, 28), Image.Resampling.BOX))


def draw_digits(count: int, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Pictures (count, 1, 28, 28) of random digits, and their angles in degrees."""
    angles = random.uniform(-45, 45, count)
    pictures = [draw_digit(random.choice(list(DIGITS)), angle, random) for angle in angles]
    return np.stack(pictures)[:, None], angles


def clockwise(y: np.ndarray) -> tuple[float, np.ndarray]:
    """Minus the angle, and its gradient."""
    return -float(y[0, 0]), -np.ones_like(y)


def main(output_folder: Path, weights: Path = WEIGHTS) -> None:
    random = np.random.default_rng(0)
    if weights.exists():
        net = mc.load(weights)
    else:
        pictures, angles = draw_digits(2000, random)
        net = fitted(digits_regression(), pictures, angles[:, None], seed=3)
    pictures, angles = draw_digits(300, random)
    errors = outputs(net, "fc", pictures)[:, 0] - angles
    print(f"error on {len(angles)} fresh digits: {np.sqrt(np.mean(errors**2)):.1f} degrees; spread: {angles.std():.1f}")

    figure = Figure((9.5, 8.2), dpi=160)
    places = {"left": 0.02, "right": 0.93, "bottom": 0.02, "top": 0.96, "wspace": 0.3}
    rows = figure.subplots(len(TURNED), 3, gridspec_kw=places)
    for axes, (digit, angle) in zip(rows, TURNED, strict=True):
        picture = draw_digit(digit, angle, random)
        cam = mc.gradcam(net, picture, [0, clockwise])
        print(f"{digit} turned by {angle}: the network says {cam.scores[0]:.1f}, from {cam.feature_layer}")
        strokes = picture > 64
        on_strokes = share(cam.maps[0], strokes)
        print(f"  on its strokes: {on_strokes:.2f} of what turns it up; they cover {strokes.mean():.2f} of the picture")
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
