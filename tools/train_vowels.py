"""Make weights/vowels.h5: minicam learns to tell nine speakers apart by an utterance of two vowels.

    python tools/train_vowels.py vowels/train.npz weights/vowels.h5 [--steps N] [--folds K] [--seed S]

The data are the training part of Japanese Vowels (M. Kudo, J. Toyama, M. Shimbo, 1999; UCI Machine Learning
Repository): `values` (time steps, 12) cepstral coefficients, `lengths` (utterances,), `labels` (utterances,) 1 to 9.
The network is `minicam.zoo.vowels_classifier`. First the recipe is measured by cross-validation: each of K parts, with
as much of every speaker, is kept apart once, and the network trained on the others is asked about it. Then the network
that is written is trained with the same recipe on everything. --folds 0 leaves the measuring out.

Minutes on a CPU. The same seed gives the same bytes on the same machine; another BLAS, or another number of its
threads, may round otherwise. Needs minicam installed (pip install -e .).
"""

import argparse
import logging
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from minicam.errors import MinicamError, ModelFileError
from minicam.network import Network
from minicam.store import Example, save, verify
from minicam.training import AdamW, CrossEntropy, cosine, train, warm_up
from minicam.zoo import initial_parameters, vowels_classifier

CHANNELS, SPEAKERS = 12, 9
NAMES = tuple(f"speaker {number}" for number in range(1, SPEAKERS + 1))
STEPS, BATCH = 2000, 32
RATE, WARM_UP = 3e-3, 50
OPTIMIZER = AdamW(weight_decay=0.05)

# How utterances are varied. The coefficients' own scale is their standard deviation over all time steps.
KEPT = 0.7  # the least part of an utterance that is kept
STRETCH = 0.25  # how far its length may be from that of its batch, which it is stretched to
MIX = 0.5  # the most that is taken over, or taken away, of another utterance by the same speaker
NOISE = 0.3  # at each time step, in the coefficients' own scale
OFFSET = 0.35  # of the whole utterance; speakers differ from day to day

CHECK_LAYERS = ("layernorm_1", "layernorm_2", "fc", "softmax")
DATA = "Japanese Vowels, training part, 270 utterances (M. Kudo, J. Toyama, M. Shimbo, 1999; UCI Repository)"
LICENCE = "Weights: on the terms of the data (UCI Repository, doi:10.24432/C5NS47); see weights/README.md"


@dataclass(frozen=True)
class Utterances:
    """sequences: each (T, CHANNELS) float32. speakers: 0 to SPEAKERS - 1."""

    sequences: tuple[np.ndarray, ...]
    speakers: np.ndarray

    def only(self, chosen: np.ndarray) -> "Utterances":
        """Those with these numbers."""
        return Utterances(tuple(self.sequences[i] for i in chosen), self.speakers[chosen])


def read(path: Path) -> Utterances:
    """The utterances in a file. MinicamError, naming it, unless it holds what the head of this script says."""
    try:
        with open(path, "rb") as stream, np.load(stream, allow_pickle=False) as file:
            found = {name: file[name] for name in ("values", "lengths", "labels")}
    except (OSError, KeyError, ValueError, TypeError, EOFError, zipfile.BadZipFile) as problem:
        raise MinicamError(f"{path}: expected an .npz file with values, lengths and labels: {problem}") from problem
    values, lengths, labels = found.values()

    def require(good: object, wrong: str) -> None:
        if not good:
            raise MinicamError(f"{path}: {wrong}; nothing was trained")

    shape = f"expected (steps, {CHANNELS})"
    require(values.ndim == 2 and values.shape[1:] == (CHANNELS,), f"values has the shape {values.shape}; {shape}")
    require(values.dtype.kind == "f", f"values is of the type {values.dtype}; expected floating point")
    for name in ("lengths", "labels"):
        array = found[name]
        require(array.dtype.kind in "iu" and array.ndim == 1, f"{name} is {array.dtype} {array.shape}; expected a list")
    require(len(lengths) == len(labels), f"there are {len(lengths)} lengths and {len(labels)} labels; expected as many")
    require(len(lengths) and lengths.min() > 0, "holds no utterance, or an empty one")
    total = int(lengths.sum())
    require(total == len(values), f"the lengths add up to {total}, but there are {len(values)} time steps")
    wrong = labels[(labels < 1) | (labels > SPEAKERS)]
    require(not wrong.size, f"{wrong.size} labels are not 1 to {SPEAKERS}, the first of them is {wrong[:1]}")
    missing = sorted(set(range(1, SPEAKERS + 1)) - set(labels.tolist()))
    require(not missing, f"there is nothing from the speakers {missing}")
    bad = np.flatnonzero(~np.isfinite(values).all(axis=1))
    require(not bad.size, f"{bad.size} time steps hold NaN or infinity, the first is step {bad[:1]} of values")
    sequences = np.split(values.astype(np.float32), np.cumsum(lengths)[:-1])
    return Utterances(tuple(sequences), labels.astype(int) - 1)


class Varied:
    """The batches of a training: utterances of about one length, cut, stretched to the same length, and disturbed."""

    def __init__(self, utterances: Utterances):
        self.speakers = utterances.speakers
        self.lengths = np.array([len(sequence) for sequence in utterances.sequences])
        deviation = np.concatenate(utterances.sequences).std(axis=0)
        self.scale = np.where(deviation > 0, deviation, 1)
        self.steps = np.zeros((len(self.lengths), self.lengths.max() + 1, CHANNELS))  # one more than is read
        for row, sequence in zip(self.steps, utterances.sequences, strict=True):
            row[: len(sequence)] = sequence / self.scale

    def __call__(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """x (BATCH, CHANNELS, T) in the coefficients' own scale, and the speakers (BATCH, 1)."""
        kept = np.maximum(self.lengths * rng.uniform(KEPT, 1, len(self.lengths)), 1)
        count = round(kept[rng.integers(len(kept))])
        near = np.flatnonzero(abs(kept - count) <= max(STRETCH * count, 1))
        chosen = rng.choice(near, BATCH)
        of_the_same = self.speakers[chosen][:, None] == self.speakers[near]
        others = near[np.where(of_the_same, rng.random(of_the_same.shape), -1).argmax(axis=1)]
        x, other = (self._parts(which, kept[which], count, rng) for which in (chosen, others))
        x += rng.uniform(-MIX, MIX, (BATCH, 1, 1)) * (other - x)
        x += OFFSET * rng.standard_normal((BATCH, 1, CHANNELS)) + NOISE * rng.standard_normal(x.shape)
        return x.swapaxes(1, 2), self.speakers[chosen][:, None]

    def _parts(self, which: np.ndarray, kept: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
        """Of each utterance as many time steps as `kept` says, from anywhere in it, stretched: (N, count, CHANNELS)."""
        first = rng.uniform(0, self.lengths[which] - kept)
        at = first[:, None] + (kept - 1)[:, None] * np.linspace(0, 1, count)
        before = at.astype(int)
        share = (at - before)[..., None]
        return (1 - share) * self.steps[which[:, None], before] + share * self.steps[which[:, None], before + 1]


def trained(utterances: Utterances, steps: int, seed: int, progress: bool = True) -> Network:
    """The network for raw coefficients. It learns from scaled ones; the scale then goes into the first layer."""
    batch = Varied(utterances)
    graph = vowels_classifier(SPEAKERS)
    net = train(
        Network(graph, initial_parameters(graph, seed), NAMES),
        batch,
        loss=CrossEntropy(),
        scores="fc",
        optimizer=OPTIMIZER,
        schedule=warm_up(cosine(RATE, steps), WARM_UP),
        steps=steps,
        seed=seed,
        progress=progress,
    )
    parameters = {layer: dict(arrays) for layer, arrays in net.parameters().items()}
    weight = parameters["conv1d_1"]["weight"]
    parameters["conv1d_1"]["weight"] = (weight / batch.scale[:, None]).astype(np.float32)
    return Network(graph, parameters, NAMES)


def hits(net: Network, utterances: Utterances) -> np.ndarray:
    """Which utterances the network ascribes to their speakers, bool (utterances,)."""
    answers = [net.forward(sequence.T[None])["softmax"][0].argmax() for sequence in utterances.sequences]
    return np.array(answers) == utterances.speakers


def parts(speakers: np.ndarray, folds: int, seed: int) -> np.ndarray:
    """The part, 0 to folds - 1, that each utterance is in: at random, with as many of every speaker as can be."""
    random = np.random.default_rng(seed)
    found = np.empty(len(speakers), int)
    for speaker in np.unique(speakers):
        (own,) = np.nonzero(speakers == speaker)
        found[random.permutation(own)] = np.arange(len(own)) % folds
    return found


def cross_validated(utterances: Utterances, folds: int, steps: int, seed: int) -> np.ndarray:
    """The accuracy on each part by a network trained on the others."""
    part = parts(utterances.speakers, folds, seed)
    accuracies = []
    for fold in range(folds):
        learned, asked = (utterances.only(np.flatnonzero(chosen)) for chosen in (part != fold, part == fold))
        accuracies.append(hits(trained(learned, steps, seed, progress=False), asked).mean())
        print(f"part {fold + 1} of {folds}: {accuracies[-1]:.3f} of {len(asked.speakers)}", flush=True)
    return np.array(accuracies)


def example(net: Network, seed: int) -> Example:
    """A made-up sequence, smooth noise that nobody has spoken, and what float64 arithmetic makes of it."""
    noise = np.random.default_rng(seed).standard_normal((1, CHANNELS, 22))
    sequence = (noise[..., :-2] + noise[..., 1:-1] + noise[..., 2:]).astype(np.float32).astype(np.float64) / 4
    return Example({"sequenceinput": sequence}, dict(net.forward(sequence, CHECK_LAYERS)))


def main(data: Path, output: Path, steps: int = STEPS, folds: int = 10, seed: int = 0) -> None:
    utterances = read(data)
    if not output.parent.is_dir():
        raise ModelFileError(f"{output}: there is no folder {output.parent}; nothing was trained")
    source = f"Trained by tools/train_vowels.py, {steps} steps, seed {seed}, on {DATA}"
    if folds:
        accuracies = cross_validated(utterances, folds, steps, seed)
        text = f"accuracy {accuracies.mean():.3f} by {folds}-fold cross-validation"
        print(f"{text}, stratified; from {accuracies.min():.3f} to {accuracies.max():.3f}")
        source += f"; {text}"
    net = trained(utterances, steps, seed)
    print(f"on what it was trained on: {hits(net, utterances).mean():.3f}")
    save(net, output, source=source, licence=LICENCE, check=example(net, seed))
    print(f"{output}: {verify(output).bytes:,} bytes, checked")


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--folds", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    main(**vars(parser.parse_args()))
