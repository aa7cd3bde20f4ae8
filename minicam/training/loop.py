"""The loop of training."""

import os
from collections.abc import Collection
from pathlib import Path

from minicam.errors import LayerError, MinicamError
from minicam.network import Network
from minicam.ops import Loss
from minicam.training.checkpoint import read_checkpoint, write_checkpoint
from minicam.training.optimizers import Optimizer
from minicam.training.progress import reported
from minicam.training.run import Batch, Run
from minicam.training.schedules import Schedule


def train(
    network: Network,
    batch: Batch,
    *,
    loss: Loss,
    scores: str,
    optimizer: Optimizer,
    schedule: Schedule,
    steps: int,
    seed: int = 0,
    fixed: Collection[str] = (),
    momentum: float = 0.1,
    checkpoint: str | os.PathLike[str] | None = None,
    checkpoint_every: int = 500,
    progress: bool = True,
) -> Network:
    """The network after so many steps of training, for inference, with the graph, classes and colours that it had.

    batch: gives the batch of a step from the generator np.random.default_rng([seed, step]); all its samples have one
    size, so sequences of one length. loss: CrossEntropy, with labels (N, 1, *space), or MeanSquaredError, with a target
    like the scores. scores: the layer that the loss reads; for CrossEntropy the input of the softmax. schedule: step,
    from 0 on -> learning rate. fixed: layers that are not changed, besides those in `trainable`. momentum: the share of
    a batch in the running statistics of the batch normalisations: running <- (1 - momentum) running + momentum batch.
    checkpoint: a file to write at the start, every `checkpoint_every` steps and at the end; if it exists, the run goes
    on from there, on a CPU with the same bits as if it had never stopped. Schedule and steps may differ then.
    progress: a bar with tqdm in a terminal, else lines in the log "minicam".

    Computed in float32 on the network's device. Raises LayerError for layers or batches that do not fit,
    ModelFileError for a checkpoint that is damaged or of another run, and MinicamError, naming step and learning rate,
    as soon as a loss is not finite; the last checkpoint is then as it was.
    """
    if isinstance(fixed, str):
        raise LayerError(f"fixed is the string {fixed!r}; expected a list of layer names: [{fixed!r}]")
    for name, value, good, expected in (
        ("steps", steps, steps >= 0, "0 or more"),
        ("checkpoint_every", checkpoint_every, checkpoint_every >= 1, "1 or more"),
        ("momentum", momentum, 0 <= momentum <= 1, "0 to 1"),
    ):
        if not good:
            raise MinicamError(f"{name} is {value}; expected {expected}")
    run = Run(network, batch, loss, scores, optimizer, schedule, seed, tuple(fixed), momentum)
    at = run.start()
    if checkpoint is not None and Path(checkpoint).exists():
        at = read_checkpoint(checkpoint, at, run.settings)
    elif checkpoint is not None:
        write_checkpoint(checkpoint, at, run.settings)
    if at.step > steps:
        raise MinicamError(f"{checkpoint}: {at.step} steps are done already, and only {steps} are asked for")
    with reported(steps, at.step, progress) as report:
        while at.step < steps:
            at, found, accuracy = run.step(at)
            report(found, accuracy)
            if checkpoint is not None and (at.step % checkpoint_every == 0 or at.step == steps):
                write_checkpoint(checkpoint, at, run.settings)
    return run.frozen(at)
