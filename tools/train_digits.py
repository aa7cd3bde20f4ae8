"""Make weights/digits.h5: minicam learns how far a digit is turned, from digits drawn by tools/digits.py.

    python tools/train_digits.py weights/digits.h5 [--steps N] [--seed S]

The network is `minicam.zoo.digits_regression`; every step draws new digits, so that none is seen twice. At the end the
error on digits that training did not see is printed, and written into the file. Minutes on a CPU. The same seed gives
the same bytes on the same machine; another BLAS, or another number of its threads, may round otherwise. Needs minicam
with its extra `images` (pip install -e ".[images]").
"""

import argparse
import logging
from pathlib import Path

import digits
import numpy as np

from minicam.errors import ModelFileError
from minicam.network import Network
from minicam.store import Example, save, verify
from minicam.training import AdamW, MeanSquaredError, cosine, train, warm_up
from minicam.zoo import digits_regression, initial_parameters

BATCH = 64
STEPS = 8000
RATE, WARM_UP = 3e-3, 200
OPTIMIZER = AdamW(weight_decay=0.01)
NOT_DROPPED = ("dropout",)  # the digits do not run out, so there is nothing to learn by heart
UNSEEN = 10**9  # the generator of step s is that of [seed, s]; no training has so many steps
ASKED = 10_000  # unseen digits that the error is measured on
CHECK_LAYERS = ("relu_1", "relu_4", "fc")
LICENCE = "MIT, like the code: trained on digits drawn by the code itself"


def start(seed: int) -> Network:
    """Random parameters, and an input centred on the mean pixel of drawn digits."""
    graph = digits_regression()
    parameters = initial_parameters(graph, seed)
    pictures, _ = unseen(1000, seed)
    parameters["imageinput"]["mean"][:] = pictures.mean()
    return Network(graph, parameters)


def batch(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Pictures (BATCH, 1, 28, 28) and their angles (BATCH, 1)."""
    return sample(BATCH, rng)


def sample(count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    angles = digits.random_angles(count, rng)
    return digits.draw(angles, rng), angles[:, None]


def unseen(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Digits that no step of a training with this seed sees."""
    return sample(count, np.random.default_rng([seed, UNSEEN]))


def errors(net: Network, pictures: np.ndarray, angles: np.ndarray) -> np.ndarray:
    """Degrees (N,): the answers less the angles."""
    parts = range(0, len(pictures), 500)
    answers = [net.forward(pictures[first : first + 500], ["fc"])["fc"] for first in parts]
    return (np.concatenate(answers) - angles)[:, 0]


def root_mean_square(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(values**2)))


def example(net: Network, seed: int) -> Example:
    """Four digits, and what float64 arithmetic makes of them at CHECK_LAYERS."""
    pictures = unseen(4, seed)[0].astype(np.float64)
    return Example({"image": pictures}, dict(net.forward(pictures, CHECK_LAYERS)))


def main(output: Path, steps: int = STEPS, seed: int = 0) -> None:
    if not output.parent.is_dir():
        raise ModelFileError(f"{output}: there is no folder {output.parent}; nothing was trained")
    schedule = warm_up(cosine(RATE, steps), WARM_UP)
    net = train(
        start(seed),
        batch,
        loss=MeanSquaredError(),
        scores="fc",
        optimizer=OPTIMIZER,
        schedule=schedule,
        steps=steps,
        seed=seed,
        fixed=NOT_DROPPED,
    )
    found = errors(net, *unseen(ASKED, seed))
    text = f"error on {ASKED:,} unseen digits: {root_mean_square(found):.2f} degrees (root mean square)"
    print(f"{text}; mean {found.mean():.2f}, half below {np.median(abs(found)):.2f}")
    source = f"Trained by tools/train_digits.py, {steps} steps, seed {seed}, on digits drawn by tools/digits.py; {text}"
    save(net, output, source=source, licence=LICENCE, check=example(net, seed))
    print(f"{output}: {verify(output).bytes:,} bytes, checked")


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--seed", type=int, default=0)
    main(**vars(parser.parse_args()))
