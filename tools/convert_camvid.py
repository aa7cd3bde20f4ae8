"""Make a weight file of minicam from a state_dict of the CamVid network in PyTorch (tools/deeplab_twin.py).

    python tools/convert_camvid.py camvid_pytorch.pt OUT.h5

Every entry of the state_dict is used once and every parameter is filled, or the conversion stops and lists what is
left. The file gets a small example of its own (`/check`, see `minicam.store`); the network in PyTorch computes the same
example, and the largest difference is printed. Needs PyTorch, and minicam installed (pip install -e .).
"""

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from deeplab_twin import DeepLab, normalised

from minicam.conversion.pytorch.reader import from_state
from minicam.conversion.reading import Options
from minicam.network import Network
from minicam.store import Example, save, verify

CHECK_SHAPE = (1, 3, 48, 64)
CHECK_LAYERS = ("conv1_relu", "res2b_relu", "res4a_branch2a", "res5b_relu", "catAspp", "dec_relu4", "softmax-out")
SOURCE = (
    "Trained from scratch on the 367 CamVid training frames (G. Brostow, J. Fauqueur, R. Cipolla: Semantic object "
    "classes in video, 2009); converted by tools/convert_camvid.py"
)
LICENCE = "Weights: research use, like the CamVid frames they were trained on; see weights/README.md"


def network(state: Mapping[str, torch.Tensor]) -> Network:
    """The checkpoint as a Network with float16 parameters. ConversionError lists entries that are missing or left over,
    ValueError names one that float16 would round."""
    halves = {name: _half(name, value) for name, value in state.items() if value.is_floating_point()}
    return from_state(halves, Options(architecture="deeplabv3plus_resnet18")).network


def example(net: Network, seed: int = 0) -> Example:
    """Pixels of seeded noise over a gradient, and what float64 arithmetic makes of them at CHECK_LAYERS."""
    random = np.random.default_rng(seed)
    gradient = np.linspace(0, 160, CHECK_SHAPE[-1])
    pixels = np.rint(gradient + random.uniform(0, 95, CHECK_SHAPE))  # whole numbers: exact in every stored type
    values = net.forward(pixels, CHECK_LAYERS)
    return Example({"image": pixels}, dict(values), tolerance=1e-4)


def twin_difference(net: Network, state: Mapping[str, torch.Tensor], pixels: np.ndarray) -> float:
    """The largest difference of the logits in float64 between minicam and PyTorch, relative to the largest logit."""
    twin = DeepLab()
    twin.load_state_dict(state, strict=False)  # `network` has checked what matters
    with torch.no_grad():
        expected = twin.double().eval()(normalised(np.moveaxis(pixels, 1, 3))).numpy()
    found = net.forward(pixels, ["dec_crop2"])["dec_crop2"]
    return float(np.abs(found - expected).max() / np.abs(expected).max())


def write(state: Mapping[str, torch.Tensor], out: Path, source: str) -> None:
    """The state_dict as a weight file, which then is verified; prints the difference between minicam and PyTorch."""
    net = network(state)
    check = example(net)
    difference = twin_difference(net, state, check.inputs["image"])
    print(f"largest difference from PyTorch, float64, relative to the largest logit: {difference:.1e}")
    save(net, out, source=source, licence=LICENCE, dtype="float16", check=check)
    print(verify(out, device="cpu"))


def _half(name: str, value: torch.Tensor) -> np.ndarray:
    """The values as float16; ValueError if that would round any of them."""
    half = value.to(torch.float16)
    if not torch.equal(half.to(value.dtype), value):
        raise ValueError(f"{name} ({value.dtype}) does not fit float16 without rounding")
    return half.numpy()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    write(torch.load(arguments.checkpoint, weights_only=True), arguments.out, SOURCE)


if __name__ == "__main__":
    sys.exit(main())
