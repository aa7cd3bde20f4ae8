"""Grad-CAM for sequences: at which time steps did a network recognise the speaker?

    python examples/sequence.py [RECORDING] [-o FOLDER]

The network takes 12 numbers per time step, over any number of steps, and tells nine speakers apart. RECORDING is a file
written by numpy.save, an array (12, T) as in the data set Japanese Vowels; it is explained with weights/vowels.h5.

Without RECORDING, speakers are made up: all hum the same tone, and each has a habit of 6 steps, a mixture of the 12
channels of its own, that occurs once. Where it occurs is known, so the maps can be checked. The network for them is
made on the spot: random layers, and a last layer fitted to such sequences (fitting.py). Its two causal convolutions see
4 steps back, so that they can tell the habit apart up to 4 steps after its end. At the first steps they see zeros from
before the beginning, which no speaker utters: a map may stand out there, too.
"""

import argparse
from pathlib import Path

import numpy as np
from fitting import fitted, logits, outputs, share
from matplotlib.figure import Figure

import minicam as mc
from minicam import figures
from minicam.zoo import vowels_classifier

WEIGHTS = Path(__file__).parents[1] / "weights" / "vowels.h5"
SPEAKERS, CHANNELS, HABIT, SEEN_LATER = 9, 12, 6, 4
HUM, *MIXTURES = np.random.default_rng(0).choice([-1, 1], (1 + SPEAKERS, CHANNELS, 1))


def speak(speaker: int, start: int, steps: int, random: np.random.Generator) -> np.ndarray:
    """A sequence (CHANNELS, steps) of humming, with the speaker's habit from step `start` on."""
    noise = random.standard_normal((CHANNELS, steps + 2))
    sequence = HUM + 0.1 * (noise[:, :-2] + noise[:, 1:-1] + noise[:, 2:])
    sequence[:, start : start + HABIT] += 2 * MIXTURES[speaker] * np.hanning(HABIT + 2)[1:-1]
    return sequence.astype(np.float32)


def speak_often(count: int, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Sequences (count, CHANNELS, 30), and their speakers."""
    speakers = random.integers(SPEAKERS, size=count)
    starts = random.integers(2, 30 - HABIT - SEEN_LATER, size=count)
    return np.stack([speak(*known, 30, random) for known in zip(speakers, starts, strict=True)]), speakers


def draw(sequence: np.ndarray, cam: mc.CAM, habit: tuple[int, int] | None = None) -> Figure:
    """The sequence as a picture, its map below on the same time axis, and dashed lines around the habit if known."""
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
        for edge in habit or ():
            axes.axvline(edge - 0.5, color="black", linestyle="--")
    return figure


def main(output_folder: Path, recording: Path | None = None, weights: Path = WEIGHTS) -> None:
    output_folder.mkdir(parents=True, exist_ok=True)
    if recording:
        sequence = np.load(recording)
        cam = mc.gradcam(mc.load(weights), sequence)
        print(f"{recording}: {cam.targets[0]} with a score of {cam.scores[0]:.2f}")
        figures.save_figure(draw(sequence, cam), output_folder / "sequence.png")
        return
    random = np.random.default_rng(0)
    sequences, speakers = speak_often(1000, random)
    names = [f"speaker {number}" for number in range(1, SPEAKERS + 1)]
    net = fitted(vowels_classifier(), sequences, logits(SPEAKERS, speakers), names, seed=4)
    sequences, speakers = speak_often(300, random)
    accuracy = np.mean(outputs(net, "softmax", sequences).argmax(axis=1) == speakers)
    print(f"accuracy on {len(speakers)} fresh sequences: {accuracy:.3f}")
    for speaker, start, steps in ((2, 8, 30), (6, 30, 50)):
        sequence = speak(speaker, start, steps, random)
        cam = mc.gradcam(net, sequence, speaker)
        inside = np.zeros(steps, bool)
        inside[start : start + HABIT + SEEN_LATER] = True
        where = f"steps {start} to {start + HABIT + SEEN_LATER - 1} of {steps}"
        print(f"{names[speaker]}: {share(cam.maps[0], inside):.2f} of the map at {where}, {inside.mean():.2f} of all")
        figure = draw(sequence, cam, (start, start + HABIT))
        figures.save_figure(figure, output_folder / f"sequence_speaker{speaker + 1}.png")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recording", type=Path, nargs="?")
    parser.add_argument("-o", "--output-folder", type=Path, default=Path("figures"))
    main(**vars(parser.parse_args()))
