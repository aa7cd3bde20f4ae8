"""A training run of the CamVid network in PyTorch: its settings, one step, the checkpoint, the weights it ends with."""

import copy
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from textwrap import shorten
from typing import Any

import numpy as np
import torch
from augmentation import VOID, Augmentation
from deeplab_twin import DeepLab, initialise, normalised
from numpy.typing import NDArray
from segmentation_loss import segmentation_loss
from torch import Tensor

from minicam.errors import MinicamError
from minicam.files import replaced_when_written


@dataclass(frozen=True)
class Settings(Augmentation):
    """What a sitting trains with; the names are the options of the command line."""

    seed: int = 1
    batch: int = 8
    rate: float = 0.02
    momentum: float = 0.9  # Nesterov's
    weight_decay: float = 5e-4  # of convolution kernels only
    warmup: int = 100  # steps until the full rate
    average: float = 0.998  # decay of the exponential average of the weights
    jaccard: float = 1.0  # share of the Lovász-softmax loss beside the cross-entropy
    weights: tuple[float, float] = (0.5, 2.0)  # limits of the class weights

    def __post_init__(self) -> None:
        if any(side % 16 or side < 16 for side in self.crop):
            raise MinicamError(f"crop {self.crop}: expected multiples of 16, by which the network shrinks a picture")


class Run:
    """The network, the average of its weights, the optimiser, and the number of steps they have seen."""

    def __init__(self, settings: Settings, device: str):
        torch.manual_seed(settings.seed)
        self.settings, self.device, self.step = settings, device, 0
        self.decay: tuple[int, int, float] | None = None  # step at which it starts, number of steps, rate at its start
        self.history: list[tuple[int, dict]] = [(0, asdict(settings))]  # the settings since a step
        self.net = DeepLab()
        initialise(self.net)
        self.net.to(device, memory_format=torch.channels_last).train()
        self.average = copy.deepcopy(self.net)
        kernels, others = ([p for p in self.net.parameters() if (p.ndim > 1) == wide] for wide in (True, False))
        self.optimizer = torch.optim.SGD(
            [{"params": kernels, "weight_decay": settings.weight_decay}, {"params": others}],
            lr=settings.rate,
            momentum=settings.momentum,
            nesterov=True,
        )

    def start_from(self, path: Path) -> None:
        """Take weights from a state_dict. MinicamError if it is none of this network."""
        state = read_state(path, self.device)
        try:
            self.net.load_state_dict(state)
            self.average.load_state_dict(state)
        except RuntimeError as error:
            raise MinicamError(f"{path}: not a state_dict of this network: {shorten(str(error), 300)}") from error

    def rate(self) -> float:
        """The learning rate of the next step: warm-up, constant, and straight down to 0 once it decays.

        Source of the shape: Hu et al., MiniCPM, arXiv:2404.06395, section 4.2.
        """
        if self.decay and self.step >= self.decay[0]:
            start, steps, rate = self.decay
            return rate * max(0.0, 1 - (self.step - start) / steps)
        return self.settings.rate * min(1.0, (self.step + 1) / max(self.settings.warmup, 1))

    def train_step(
        self, images: NDArray[np.float32], labels: NDArray[np.uint8], weights: Tensor
    ) -> tuple[float, Callable[[], float]]:
        """One step on pixels (N, H, W, 3) and labels (N, H, W): the loss, and what finds the pixel accuracy."""
        target = torch.from_numpy(labels).to(self.device).long()
        with torch.autocast(self.device, torch.bfloat16):
            logits = self.net(normalised(images, self.device))
        loss = segmentation_loss(logits, target, weights, self.settings.jaccard)
        value = loss.item()
        if not np.isfinite(value):
            raise MinicamError(f"the loss of step {self.step} is {value}; take a lower --rate and the last checkpoint")
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate()
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        self.step += 1
        keep = min(self.settings.average, (1 + self.step) / (10 + self.step))  # the first steps are soon forgotten
        with torch.no_grad():
            torch._foreach_lerp_(list(self.average.parameters()), list(self.net.parameters()), 1 - keep)
        known = target != VOID
        return value, lambda: (logits.argmax(1) == target)[known].float().mean().item()

    def final_state(self, batches: Iterable[NDArray[np.float32]]) -> dict[str, Tensor]:
        """The averaged weights, and batch-norm statistics of their own: means over the batches. float16, on the CPU.

        The running statistics of the training belong to other weights, those it has gone through. Source: Wu and
        Johnson, Rethinking "Batch" in BatchNorm, arXiv:2105.07576, section 3.
        """
        net = copy.deepcopy(self.average).train()
        for norm in (module for module in net.modules() if isinstance(module, torch.nn.BatchNorm2d)):
            norm.reset_running_stats()
            norm.momentum = None  # the mean over all batches
        with torch.no_grad(), torch.autocast(self.device, torch.bfloat16):
            for images in batches:
                net(normalised(images, self.device))
        return {name: value.half().cpu() for name, value in net.state_dict().items() if value.is_floating_point()}

    def save(self, path: Path) -> None:
        """Write the checkpoint; the file is always a whole one."""
        state: dict[str, Any] = {name: getattr(self, name) for name in ("step", "decay", "history")}
        state |= {name: getattr(self, name).state_dict() for name in ("net", "average", "optimizer")}
        with replaced_when_written(path) as temporary:
            torch.save(state, temporary)

    def load(self, path: Path) -> None:
        """Go on where the checkpoint was written, with the settings given to this run."""
        state = read_state(path, self.device)
        self.step, self.decay, self.history = state["step"], state["decay"], list(state["history"])
        for name in ("net", "average", "optimizer"):
            getattr(self, name).load_state_dict(state[name])
        kernels, _ = self.optimizer.param_groups
        kernels["weight_decay"] = self.settings.weight_decay
        for group in self.optimizer.param_groups:
            group["momentum"] = self.settings.momentum
        if asdict(self.settings) != self.history[-1][1]:
            self.history.append((self.step, asdict(self.settings)))


def read_state(path: Path, device: str = "cpu") -> dict[str, Any]:
    """What torch.save wrote. MinicamError naming the file if it cannot be read."""
    try:
        return torch.load(path, weights_only=True, map_location=device)
    except Exception as error:  # the reader raises nearly every class there is on damaged data
        raise MinicamError(f"{path}: cannot be read as a PyTorch file ({type(error).__name__}: {error})") from error
