"""The network in PyTorch itself, where the package that defines it is installed, to compare with."""

import importlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from minicam.conversion.pytorch.names import State
from minicam.conversion.reading import Run
from minicam.network import Network

PACKAGES = {
    **dict.fromkeys(("resnet18", "squeezenet1_1", "googlenet"), "torchvision"),
    **dict.fromkeys(("smp_deeplabv3plus_resnet18", "smp_unet_resnet18"), "segmentation_models_pytorch"),
}


def source_run(architecture: str, state: State, network: Network) -> tuple[Run | None, str]:
    """A function that gives the scores as PyTorch computes them, and PyTorch's version; or None, and why not."""
    if architecture not in PACKAGES:
        return None, "no package defines this network in PyTorch"
    try:
        torch = importlib.import_module("torch")
        package = importlib.import_module(PACKAGES[architecture])
    except ImportError as error:
        return None, f"{error.name or 'PyTorch'} is not installed"
    scores = network.graph.nodes[-1].inputs[0]

    def run(inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        model = _model(package, architecture, state, network)
        model.load_state_dict({name: torch.tensor(np.ascontiguousarray(array)) for name, array in state.items()})
        p = network.parameters()["data"]
        (x,) = inputs.values()
        x = (x - p["mean"].reshape(1, -1, 1, 1)) / p["std"].reshape(1, -1, 1, 1)
        with torch.no_grad():
            y = model.float().eval()(torch.from_numpy(x)).numpy()
        shape = network.graph.shapes({name: array.shape[1:] for name, array in inputs.items()})[scores]
        return {scores: y.reshape(len(y), *shape)}

    return (
        run,
        f"PyTorch {torch.__version__} and {PACKAGES[architecture]} {getattr(package, '__version__', '')}".strip(),
    )


def _model(package: Any, architecture: str, state: State, network: Network) -> Any:
    """The PyTorch module, with random weights and of the network's size."""
    by_name: dict[str, Any] = network.graph.by_name
    graph = network.graph
    classes = graph.shapes(graph.inputs)[graph.nodes[-1].name][0]
    if PACKAGES[architecture] == "torchvision":
        models = importlib.import_module("torchvision.models")
        googlenet = {"aux_logits": "aux1.conv.conv.weight" in state, "init_weights": False, "transform_input": False}
        extra = googlenet if architecture == "googlenet" else {}
        return getattr(models, architecture)(weights=None, num_classes=classes, **extra)
    options: dict[str, Any] = {"encoder_weights": None, "in_channels": network.input_shape[0], "classes": classes}
    if architecture == "smp_unet_resnet18":
        blocks = [by_name[f"decoder{i}_conv1"].op.filters for i in range(1, 6)]
        return package.Unet("resnet18", decoder_channels=blocks, **options)
    options |= {"decoder_channels": by_name["dec_c1"].op.filters, "decoder_aspp_separable": "aspp_Depth_2" in by_name}
    return package.DeepLabV3Plus("resnet18", **options)
