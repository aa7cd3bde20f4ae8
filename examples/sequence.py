"""Grad-CAM for sequences: at which time steps did a network recognise the speaker?

    python examples/sequence.py [RECORDING] [-o FOLDER]

The network of weights/vowels.h5 takes 12 numbers per time step, over any number of steps, and tells nine speakers
apart. RECORDING is a file written by numpy.save, an array (12, T) as in the data set Japanese Vowels.

Without RECORDING, utterances are made up: faint noise, which the network takes for speaker 7, and of which 8 steps are
changed along the gradient of its answer until it takes the whole for another. Where that happened is known, so that the
maps can be checked. The two causal convolutions see 4 steps back: what was changed counts up to 4 steps after its end.
"""

import argparse
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

import minicam as mc
from minicam import figures

WEIGHTS = Path(__file__).parents[1] / "weights" / "vowels.h5"
CHANGED, SEEN_LATER = 8, 4
NOISE, SURE, TRIES, STRIDE = 0.06, 0.9, 200, 0.05


def make_up(net: mc.Network, speaker: int, start: int, steps: int, random: np.random.Generator) -> np.ndarray:
    """A sequence (12, steps) that the network ascribes to the speaker for what is at `start` to `start` + CHANGED."""
    noise = random.standard_normal((1, 12, steps + 2))
    x = (NOISE * (noise[..., :-2] + noise[..., 1:-1] + noise[..., 2:])).astype(np.float32)
    wanted = np.eye(len(net.classes), dtype=np.float32)[[speaker]]
    for _ in range(TRIES):
        values = net.forward(x, ["fc", "softmax"])
        if values["softmax"][0, speaker] > SURE:
            break
        gradient = net.backward(values, {"fc": wanted - values["softmax"]}, ["sequenceinput"])["sequenceinput"]
        changed = gradient[..., start : start + CHANGED]
        x[..., start : start + CHANGED] += STRIDE * changed / np.abs(changed).max()
    return x[0]


def draw(sequence: np.ndarray, cam: mc.CAM, edges: tuple[int, ...] = ()) -> Figure:
    """The sequence as a picture, its map below on the same time axis, and dashed lines before the steps `edges`."""
    figure = Figure((9, 5), dpi=160, layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(2, 1))
    colors = above.imshow(sequence, aspect="auto", interpolation="nearest", cmap="PuOr")
    figure.colorbar(colors, ax=above)
    above.set_ylabel("channel")
    above.set_title(f"{cam.targets[0]}: {cam.scores[0]:.2f}")
    below.bar(np.arange(sequence.shape[1]), cam.maps[0], width=1, color="tab:red")
    below.set_xlabel("time step")
    below.set_ylabel(f"map ({cam.feature_layer})")
    for axes in (above, below):
        for edge in edges:
            axes.axvline(edge - 0.5, color="black", linestyle="--")
    return figure


def main(output_folder: Path, recording: Path | None = None, weights: Path = WEIGHTS) -> None:
    net = mc.load(weights)
    output_folder.mkdir(parents=True, exist_ok=True)
    if recording:
        sequence = np.load(recording)
        cam = mc.gradcam(net, sequence)
        print(f"{recording}: {cam.targets[0]} with a score of {cam.scores[0]:.2f}")
        figures.save_figure(draw(sequence, cam), output_folder / "sequence.png")
        return
    random = np.random.default_rng(0)
    for speaker, start, steps in ((0, 6, 24), (3, 20, 32)):
        sequence = make_up(net, speaker, start, steps, random)
        cam = mc.gradcam(net, sequence, speaker)
        inside = np.zeros(steps, bool)
        inside[start : start + CHANGED + SEEN_LATER] = True
        share = cam.maps[0][inside].sum() / cam.maps[0].sum()
        where = f"steps {start} to {start + CHANGED + SEEN_LATER - 1} of {steps}"
        print(f"{cam.targets[0]}: {share:.2f} of the map at {where}, {inside.mean():.2f} of all")
        figure = draw(sequence, cam, (start, start + CHANGED))
        figures.save_figure(figure, output_folder / f"sequence_speaker{speaker + 1}.png")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recording", type=Path, nargs="?")
    parser.add_argument("-o", "--output-folder", type=Path, default=Path("figures"))
    main(**vars(parser.parse_args()))
