"""Where the parameters of minicam's layers are in the state dicts of torchvision and segmentation_models_pytorch.

Each function takes the name of a layer and gives that of the PyTorch module.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

State = Mapping[str, np.ndarray]
RESIDUAL = {
    **{"res2a": "conv1", "bn2a": "bn1", "res2b": "conv2", "bn2b": "bn2"},
    **{"res1": "downsample.0", "bn1": "downsample.1"},
}
FIRES = {"2": 3, "3": 4, "4": 6, "5": 7, "6": 9, "7": 10, "8": 11, "9": 12}
STEM = {"conv1-7x7_s2": "conv1", "conv1-7x7": "conv1", "conv2-3x3_reduce": "conv2", "conv2-3x3": "conv3"}
BRANCHES = {
    **{"1x1": "branch1", "3x3_reduce": "branch2.0", "3x3": "branch2.1", "5x5_reduce": "branch3.0", "5x5": "branch3.1"},
    "pool_proj": "branch4.1",
}
PROJECTION = "decoder.aspp.0.project.0"
DECODER = {
    **{"dec_bn1": "aspp.0.project.1", "dec_d2": "aspp.1.0", "dec_c2": "aspp.1.1", "dec_bn2": "aspp.2"},
    **{"dec_c3": "block1.0", "dec_bn3": "block1.1"},
    **{"dec_d4": "block2.0.0", "dec_c4": "block2.0.1", "dec_bn4": "block2.1"},
}


@dataclass(frozen=True)
class Part:
    """Input channels `start` to `stop` of the convolution `module`, whose other channels belong to another layer."""

    module: str
    start: int
    stop: int


def resnet18(layer: str, state: State) -> str:
    """res4a_branch2b -> layer3.0.conv2"""
    found = re.fullmatch(r"(res|bn)(\d)([ab])_branch(\w+)", layer)
    if found is None:
        return {"bn_conv1": "bn1", "fc1000": "fc"}.get(layer, layer)
    kind, stage, block, branch = found.groups()
    return f"layer{int(stage) - 1}.{'ab'.index(block)}.{RESIDUAL[kind + branch]}"


def squeezenet1_1(layer: str, state: State) -> str:
    """fire2-expand3x3 -> features.3.expand3x3"""
    found = re.fullmatch(r"fire(\d)-(squeeze|expand1x1|expand3x3)(1x1)?", layer)
    if found is None:
        return {"conv1": "features.0", "conv10": "classifier.1"}[layer]
    return f"features.{FIRES[found[1]]}.{found[2]}"


def googlenet(layer: str, state: State) -> str:
    """inception_3a-bn_5x5_reduce -> inception3a.branch3.0.bn"""
    if layer == "loss3-classifier":
        return "fc"
    block, _, part = layer.partition("-")
    kind, part = ("bn", part.removeprefix("bn_")) if part.startswith("bn_") else ("conv", part)
    if block.startswith("inception_"):
        return f"{block.replace('_', '')}.{BRANCHES[part]}.{kind}"
    return f"{STEM[f'{block}-{part}']}.{kind}"


def smp_unet(layer: str, state: State) -> str:
    """decoder2_bn1 -> decoder.blocks.1.conv1.1"""
    found = re.fullmatch(r"decoder(\d)_(conv|bn)(\d)", layer)
    if found is None:
        return "segmentation_head.0" if layer == "scorer" else f"encoder.{resnet18(layer, state)}"
    block, kind, number = found.groups()
    return f"decoder.blocks.{int(block) - 1}.conv{number}.{('conv', 'bn').index(kind)}"


def smp_deeplab(layer: str, state: State) -> str | Part:
    """aspp_BatchNorm_2 -> decoder.aspp.0.convs.1.1; the projection is split, see `minicam.zoo.smp`."""
    if layer in ("dec_c1", "dec_c1_5"):
        projection = state.get(f"{PROJECTION}.weight", np.zeros((1, 5)))
        total, own = projection.shape[1], projection.shape[1] * 4 // 5
        return Part(PROJECTION, 0, own) if layer == "dec_c1" else Part(PROJECTION, own, total)
    found = re.fullmatch(r"aspp_(Depth|Conv|BatchNorm)_(\d)", layer)
    if found is None:
        return f"decoder.{DECODER[layer]}" if layer in DECODER else smp_unet(layer, state)
    kind, number = found.groups()
    first = 1 if number == "5" else 0  # the fifth branch starts with a pooling
    branch = f"decoder.aspp.0.convs.{int(number) - 1}"
    if kind == "BatchNorm":
        return f"{branch}.{first + 1}"
    inside = {"Depth": ".0", "Conv": ".1"}[kind] if number in "234" and is_separable(state) else ""
    return f"{branch}.{first}{inside}"


def is_separable(state: State) -> bool:
    """Whether the dilated convolutions of a DeepLabv3+ are two: of each channel, then over the channels."""
    return "decoder.aspp.0.convs.1.0.0.weight" in state


def twin(layer: str, state: State) -> str:
    """The layers' own names, which tools/deeplab_twin.py gives to its modules."""
    return layer
