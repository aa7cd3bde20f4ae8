"""Make weights/deeplabv3plus_resnet18_camvid.h5 from the PyTorch checkpoint of the CamVid network.

    python tools/convert_camvid.py camvid_pytorch.pt deeplabv3plus_resnet18_camvid.h5 [--twin deeplab_pytorch.py]

The checkpoint is a state_dict whose module names are the layer names of `minicam.zoo.deeplab`. Every entry is used
once and every parameter is filled, or the conversion stops and lists what is left. The file gets a small example of
its own (`/check`, see `minicam.store`). With --twin, the network as PyTorch defines it computes the same example, and
the largest difference is printed. Needs PyTorch, and minicam installed (pip install -e .).
"""

import argparse
import importlib.util
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from minicam.network import Network
from minicam.ops import BatchNorm, Conv, ConvTranspose, Normalize
from minicam.store import Example, save, verify
from minicam.zoo import CAMVID_CLASSES, CAMVID_COLORS, bilinear_kernel, deeplabv3plus_resnet18

MEAN = (105.0, 109.0, 110.0)  # of the checkpoint's training: (pixel - mean) / std, RGB 0 to 255
STD = (75.0, 75.0, 75.0)
TORCH_NAMES = {
    Conv: {"weight": "weight", "bias": "bias"},
    BatchNorm: {"scale": "weight", "offset": "bias", "mean": "running_mean", "variance": "running_var"},
}
CHECK_SHAPE = (1, 3, 48, 64)
CHECK_LAYERS = ("conv1_relu", "res2b_relu", "res4a_branch2a", "res5b_relu", "catAspp", "dec_relu4", "softmax-out")
SOURCE = (
    "Trained from scratch on the 367 CamVid training frames (G. Brostow, J. Fauqueur, R. Cipolla: Semantic object "
    "classes in video, 2009); converted by tools/convert_camvid.py"
)
LICENCE = "Weights: research use, like the CamVid frames they were trained on; see weights/README.md"


def network(state: Mapping[str, torch.Tensor]) -> Network:
    """The checkpoint as a Network with float16 parameters. ValueError lists entries that are missing or left over."""
    graph = deeplabv3plus_resnet18()
    entries = {name: value for name, value in state.items() if not name.endswith(".num_batches_tracked")}
    fixed = _fixed_parameters()
    parameters: dict[str, dict[str, np.ndarray]] = {}
    missing = []
    for layer, shapes in graph.parameter_shapes.items():
        parameters[layer] = dict(fixed.get(layer, {}))
        names = TORCH_NAMES.get(type(graph.by_name[layer].op), {})
        for name in (name for name in shapes if name not in parameters[layer]):
            entry = f"{layer}.{names.get(name, name)}"
            if entry in entries:
                parameters[layer][name] = _half(entry, entries.pop(entry))
            else:
                missing.append(entry)
    if missing or entries:
        raise ValueError(f"the checkpoint lacks {missing or 'nothing'}, and nothing reads its {list(entries)}")
    return Network(graph, parameters, CAMVID_CLASSES, CAMVID_COLORS)


def example(net: Network, seed: int = 0) -> Example:
    """Pixels of seeded noise over a gradient, and what float64 arithmetic makes of them at CHECK_LAYERS."""
    random = np.random.default_rng(seed)
    gradient = np.linspace(0, 160, CHECK_SHAPE[-1])
    pixels = np.rint(gradient + random.uniform(0, 95, CHECK_SHAPE))  # whole numbers: exact in every stored type
    values = net.forward(pixels, CHECK_LAYERS)
    return Example({"image": pixels}, dict(values), tolerance=1e-4)


def twin_difference(net: Network, path: Path, state: Mapping[str, torch.Tensor], pixels: np.ndarray) -> float:
    """The largest difference of the logits in float64 between minicam and PyTorch, relative to the largest logit."""
    specification = importlib.util.spec_from_file_location("twin", path)
    if specification is None or specification.loader is None:
        raise ValueError(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    twin = module.DeepLab()
    twin.load_state_dict(state)
    shape = (1, 3, 1, 1)
    x = (torch.tensor(pixels) - torch.tensor(MEAN).view(shape)) / torch.tensor(STD).view(shape)
    with torch.no_grad():
        expected = twin.double().eval()(x.double()).numpy()
    found = net.forward(pixels, ["dec_crop2"])["dec_crop2"]
    return float(np.abs(found - expected).max() / np.abs(expected).max())


def _fixed_parameters() -> dict[str, dict[str, np.ndarray]]:
    """What the checkpoint does not hold: the z-score of the pixels and the bilinear upsamplers. Exact in float16."""
    fixed: dict[str, dict[str, np.ndarray]] = {}
    graph = deeplabv3plus_resnet18()
    for layer, shapes in graph.parameter_shapes.items():
        op = graph.by_name[layer].op
        if isinstance(op, Normalize):
            fixed[layer] = {"mean": np.array(MEAN, np.float16), "std": np.array(STD, np.float16)}
        elif isinstance(op, ConvTranspose):
            weight = np.broadcast_to(bilinear_kernel(op.kernel, op.stride), shapes["weight"]).astype(np.float16)
            fixed[layer] = {"weight": weight, "bias": np.zeros(shapes["bias"], np.float16)}
    return fixed


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
    parser.add_argument("--twin", type=Path, help="the Python file that defines the network in PyTorch")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    state = torch.load(arguments.checkpoint, weights_only=True)
    net = network(state)
    check = example(net)
    if arguments.twin:
        difference = twin_difference(net, arguments.twin, state, check.inputs["image"])
        print(f"largest difference from PyTorch, float64, relative to the largest logit: {difference:.1e}")
    save(net, arguments.out, source=SOURCE, licence=LICENCE, dtype="float16", check=check)
    print(verify(arguments.out, device="cpu"))


if __name__ == "__main__":
    sys.exit(main())
