"""Train the CamVid network, and write it as a weight file of minicam.

    python tools/train_camvid.py camvid/train RUN                        at a constant rate, until Ctrl-C or --steps
    python tools/train_camvid.py camvid/train RUN                        goes on from there, as often as you like
    python tools/train_camvid.py camvid/train RUN --decay-steps 1500 --export OUT.h5      finishes

camvid/train has frames in images/ and their labels in labels/ (see `minicam.evaluation.frames`); all are checked
before the first step. RUN is a folder for the checkpoint, the log, and the scenes that tools/streets.py draws to be
mixed in; nothing else need be kept. Training uses a CUDA GPU where there is one. Ctrl-C or SIGTERM ends the sitting
after the step at hand, and nothing is lost; a run that is killed loses the steps since the last checkpoint. Options
stay as they were in the sitting before, unless given anew. The decay ends a run: to train on at the constant rate some
day, keep a copy of RUN/checkpoint.pt from before it. Needs PyTorch, and minicam installed (pip install -e .).
"""

import argparse
import logging
import os
import signal
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import torch
from augmentation import VOID, Labelled, Sampler
from camvid_run import Run, Settings, read_state
from convert_camvid import write
from PIL import Image
from segmentation_loss import class_weights
from streets import draw_street
from torch import Tensor

from minicam.errors import MinicamError
from minicam.evaluation import labelled_frames
from minicam.files import replaced_when_written
from minicam.training.progress import reported

log = logging.getLogger("minicam")

STEPS = 10_000
SCENE_SIZE = (540, 720)
STATISTICS_BATCHES = 50  # of two whole frames, for the batch-norm statistics of the weights that are exported
SOURCE = (
    "Trained on the CamVid training frames (G. Brostow, J. Fauqueur, R. Cipolla: Semantic object classes in video, "
    "2009) and scenes drawn by tools/streets.py, with tools/train_camvid.py; see weights/README.md"
)


def read_frames(folder: Path) -> list[Labelled]:
    """All frames of a folder. MinicamError, naming the file, for the first that is not as it should be."""
    frames = [Labelled(*frame.read()) for frame in labelled_frames(folder, classes=VOID)]
    return [Labelled(image, np.where(labels < VOID, labels, np.uint8(VOID))) for image, labels in frames]


def drawn_scenes(folder: Path, count: int, size: tuple[int, int] = SCENE_SIZE) -> list[Labelled]:
    """The drawn scenes of the seeds 1 to `count`, kept in the folder as frames are; those that are missing are drawn.

    Seed 0 is left out: it is examples/street.png.
    """
    for seed in range(1, count + 1):
        files = [folder / kind / f"street_{seed:04d}.png" for kind in ("images", "labels")]
        if not all(file.exists() for file in files):
            log.info("drawing scene %d of %d", seed, count)
            for file, array in zip(files, draw_street(seed, size), strict=True):
                file.parent.mkdir(parents=True, exist_ok=True)
                with replaced_when_written(file) as temporary:
                    Image.fromarray(array).save(temporary, "PNG")
    return read_frames(folder) if count else []


@contextmanager
def logged(file: Path) -> Iterator[None]:
    """Messages of minicam go to the terminal and to the end of the file."""
    handlers = [logging.StreamHandler(), logging.FileHandler(file)]
    for handler in handlers:
        handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
        log.addHandler(handler)
    log.setLevel(logging.INFO)
    try:
        yield
    finally:
        for handler in handlers:
            log.removeHandler(handler)
            handler.close()


@contextmanager
def interrupts() -> Iterator[list[int]]:
    """A list that gets the number of each SIGINT and SIGTERM, which otherwise do nothing inside the block."""
    received: list[int] = []
    numbers = signal.SIGINT, signal.SIGTERM
    before = [signal.signal(number, lambda number, _: received.append(number)) for number in numbers]
    try:
        yield received
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


def train(run: Run, sampler: Sampler, weights: Tensor, last: int, checkpoint: Path, minutes: float) -> bool:
    """Steps until there are `last`, with a checkpoint every so many minutes and at the end. False if interrupted."""
    count = run.settings.batch
    saved = time.monotonic()
    with interrupts() as received, ThreadPoolExecutor(1) as pool, reported(last, run.step, show=True) as report:
        coming = pool.submit(sampler.batch, run.step, count)
        while run.step < last and not received:
            images, labels = coming.result()
            coming = pool.submit(sampler.batch, run.step + 1, count)  # drawn while the network is busy
            report(*run.train_step(images, labels, weights))
            if time.monotonic() - saved > 60 * minutes:
                run.save(checkpoint)
                saved = time.monotonic()
        run.save(checkpoint)
    return not received


def plan(run: Run, steps: int | None, decay_steps: int | None) -> int:
    """The step at which the sitting ends. Sets when the rate decays: after `steps`, or at once if that is None."""
    if decay_steps:
        start = max(run.step, steps or 0)
        run.decay = start, decay_steps, run.rate() if start == run.step else run.settings.rate
    if run.decay:
        return sum(run.decay[:2])
    return STEPS if steps is None else steps


def final_state(run: Run, sampler: Sampler) -> dict[str, Tensor]:
    """The averaged weights with the statistics of whole frames, which are what the network will be used on."""
    rows = run.settings.full_height
    whole = replace(run.settings, crop=(rows, rows * 4 // 3), scale=1.0, spread=0.0)
    sampler = Sampler(sampler.frames, sampler.scenes, run.settings.seed, whole)
    return run.final_state(sampler.batch(run.step + i, 2)[0] for i in range(STATISTICS_BATCHES))


def open_run(folder: Path, start: Path | None, given: dict) -> Run:
    """The run of a folder: of its checkpoint if there is one, else a new one. `given`: settings that change."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    checkpoint = folder / "checkpoint.pt"
    if not checkpoint.exists():
        run = Run(Settings(**given), device)
        if start:
            run.start_from(start)
        return run
    if start:
        raise MinicamError(f"{checkpoint} is there, and --start is for a new run: leave it out, or take another folder")
    run = Run(Settings(**{**read_state(checkpoint)["history"][-1][1], **given}), device)
    run.load(checkpoint)
    return run


def parsed(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder of the frames")
    parser.add_argument("run", type=Path, help="folder of the run; made if it is not there")
    parser.add_argument("--start", type=Path, help="a state_dict to start a new run from (default: random weights)")
    parser.add_argument("--steps", type=int, help=f"steps at the constant rate in all (default: {STEPS})")
    parser.add_argument("--decay-steps", type=int, help="let the rate fall to 0, after --steps or else at once")
    parser.add_argument("--export", type=Path, metavar="OUT.h5", help="write the averaged weights at the end")
    parser.add_argument("--scenes", type=int, default=80, help="how many scenes to draw (default: 80)")
    parser.add_argument("--minutes", type=float, default=4, help="between two checkpoints (default: 4)")
    parser.add_argument("--threads", type=int, help="of PyTorch on the CPU (default: PyTorch's choice)")
    for option in fields(Settings):
        kind = type(option.default)
        many = {"nargs": 2, "type": type(option.default[0])} if kind is tuple else {"type": kind}
        shown = f"default of a new run: {option.default}"
        parser.add_argument(f"--{option.name.replace('_', '-')}", default=argparse.SUPPRESS, help=shown, **many)
    return parser.parse_args(arguments)


def sitting(options: argparse.Namespace, given: dict) -> None:
    """Read, train, and write what is wanted."""
    frames = read_frames(options.data)
    scenes = drawn_scenes(options.run / "drawn", options.scenes)
    run = open_run(options.run, options.start, given)
    last = plan(run, options.steps, options.decay_steps)
    log.info("process %d: %d frames, %d scenes, %s", os.getpid(), len(frames), len(scenes), run.settings)
    sampler = Sampler(frames, scenes, run.settings.seed, run.settings)
    weights = class_weights((labels for _, labels in frames), run.settings.weights).to(run.device)
    finished = train(run, sampler, weights, last, options.run / "checkpoint.pt", options.minutes)
    log.info("%s at step %d", "ended" if finished else "interrupted: the same command goes on", run.step)
    if finished and options.export:
        write(final_state(run, sampler), options.export, SOURCE)


def main(arguments: list[str] | None = None) -> int:
    options = parsed(arguments)
    names = {option.name for option in fields(Settings)}
    given = {k: tuple(v) if isinstance(v, list) else v for k, v in vars(options).items() if k in names}
    if options.threads:
        torch.set_num_threads(options.threads)
    options.run.mkdir(parents=True, exist_ok=True)
    with logged(options.run / "log.txt"):
        try:
            sitting(options, given)
        except MinicamError as error:
            log.error("%s", error)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
