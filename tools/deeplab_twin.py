"""DeepLabv3+ on ResNet-18 in PyTorch, for training: the module names are the layer names of `minicam.zoo.deeplab`.

Its state_dict is what tools/convert_camvid.py reads. Takes pixels that are normalised already and gives logits, so
the layers "data" and "softmax-out" are missing here; the two bilinear upsamplers hold no parameters.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

CLASSES = 11
MEAN, STD = (105.0, 109.0, 110.0), 75.0  # RGB; the network sees (pixel - MEAN) / STD
PYRAMID = ((1, 1), (3, 6), (3, 12), (3, 18))  # kernel and dilation of the aspp_Conv layers
DECODER = ((1024, 256, 1), (64, 48, 1), (304, 256, 3), (256, 256, 3))  # channels in, out and kernel of dec_c1 to dec_c4


class DeepLab(nn.Module):
    """(N, 3, H, W) -> logits (N, 11, H, W); each layer with parameters is a submodule of its name."""

    def __init__(self) -> None:
        super().__init__()
        self._convolution("conv1", "bn_conv1", 3, 64, 7, stride=2)
        channels = 64
        for stage, wider in ((2, 64), (3, 128), (4, 256), (5, 512)):
            for block in "ab":
                self._block(stage, block, channels, wider)
                channels = wider
        for number, (kernel, dilation) in enumerate(PYRAMID, start=1):
            self._convolution(f"aspp_Conv_{number}", f"aspp_BatchNorm_{number}", 512, 256, kernel, dilation=dilation)
        for number, (before, after, kernel) in enumerate(DECODER, start=1):
            self._convolution(f"dec_c{number}", f"dec_bn{number}", before, after, kernel)
        self.add_module("scorer", nn.Conv2d(256, CLASSES, 1))

    def _convolution(
        self, name: str, norm: str, before: int, after: int, kernel: int, *, stride: int = 1, dilation: int = 1
    ) -> None:
        padding = dilation * (kernel // 2)
        self.add_module(name, nn.Conv2d(before, after, kernel, stride, padding, dilation))
        self.add_module(norm, nn.BatchNorm2d(after))

    def _block(self, stage: int, block: str, before: int, after: int) -> None:
        """The convolutions of a residual block; stages 3 and 4 halve the size, stage 5 widens its taps instead."""
        first = block == "a"
        stride = 2 if first and stage in (3, 4) else 1
        wide = 2 if stage == 5 else 1
        name = f"{stage}{block}_branch"
        self._convolution(f"res{name}2a", f"bn{name}2a", before, after, 3, stride=stride, dilation=1 if first else wide)
        self._convolution(f"res{name}2b", f"bn{name}2b", after, after, 3, dilation=wide)
        if before != after:
            self._convolution(f"res{name}1", f"bn{name}1", before, after, 1, stride=stride)
        if (stage, block) == (4, "a"):
            self.get_submodule("res4a_branch2a").padding = (0, 0)  # see `_residual`

    def forward(self, image: Tensor) -> Tensor:
        x = functional.max_pool2d(self._activated("conv1", "bn_conv1", image), 3, 2, 1)
        skip = x = self._residual("2b", self._residual("2a", x))
        for block in ("3a", "3b", "4a", "4b", "5a", "5b"):
            x = self._residual(block, x)
        x = torch.cat([self._activated(f"aspp_Conv_{i}", f"aspp_BatchNorm_{i}", x) for i in (1, 2, 3, 4)], dim=1)
        x = upsampled(self._activated("dec_c1", "dec_bn1", x))
        skip = self._activated("dec_c2", "dec_bn2", skip)
        x = torch.cat([skip, centre(x, skip)], dim=1)
        x = self._activated("dec_c4", "dec_bn4", self._activated("dec_c3", "dec_bn3", x))
        return centre(upsampled(self.get_submodule("scorer")(x)), image)

    def _normalised(self, name: str, norm: str, x: Tensor) -> Tensor:
        return self.get_submodule(norm)(self.get_submodule(name)(x))

    def _activated(self, name: str, norm: str, x: Tensor) -> Tensor:
        return functional.relu(self._normalised(name, norm, x))

    def _residual(self, block: str, x: Tensor) -> Tensor:
        name = f"{block}_branch"
        y = functional.pad(x, (0, 1, 0, 1)) if block == "4a" else x  # at the right and the bottom
        y = self._activated(f"res{name}2a", f"bn{name}2a", y)
        y = self._normalised(f"res{name}2b", f"bn{name}2b", y)
        projected = f"res{name}1" in self._modules
        return functional.relu(y + (self._normalised(f"res{name}1", f"bn{name}1", x) if projected else x))


def normalised(images: NDArray, device: str = "cpu") -> Tensor:
    """Pixels (N, H, W, 3), 0 to 255 -> what the network takes, (N, 3, H, W), of the same floating-point type."""
    x = (images - np.array(MEAN, images.dtype)) / STD
    return torch.from_numpy(x).to(device).movedim(3, 1)


def initialise(net: DeepLab) -> None:
    """Random weights: He's for the kernels, biases 0, and the last batch norm of each residual block at 0.

    Sources: He et al., arXiv:1502.01852, equation (14); Goyal et al., arXiv:1706.02677, section 5.1.
    """
    for name, module in net.named_modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            nn.init.zeros_(module.bias)
        elif name.startswith("bn") and name.endswith("branch2b"):
            nn.init.zeros_(module.weight)


def upsampled(x: Tensor) -> Tensor:
    """Bilinear interpolation by 4 with zeros around x, which is what the fixed transposed convolutions compute."""
    x = functional.interpolate(functional.pad(x, (1, 1, 1, 1)), scale_factor=4, mode="bilinear", align_corners=False)
    return x[:, :, 4:-4, 4:-4]


def centre(x: Tensor, like: Tensor) -> Tensor:
    """The middle of x, of the height and width of `like`."""
    height, width = like.shape[2:]
    top, left = (x.shape[2] - height) // 2, (x.shape[3] - width) // 2
    return x[:, :, top : top + height, left : left + width]
