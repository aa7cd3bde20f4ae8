"""Networks built in PyTorch, exported by PyTorch to ONNX, read here: the same values and the same Grad-CAM as autograd.

The architectures are those of `zoo_torch` and `deeplab_torch`, with random weights, at small sizes.
"""

import warnings
from dataclasses import dataclass

import deeplab_torch
import numpy as np
import pytest
import zoo_jax
import zoo_torch
from references import peak_error, require_torch
from test_zoo import unsaturated_network

import minicam as mc
from minicam import zoo
from minicam.graph import Graph

pytest.importorskip("onnx")


@dataclass(frozen=True)
class Trip:
    """A graph of the zoo, its input's sizes, and two of its layers. tolerance: of float64, relative to the peak."""

    graph: Graph
    space: tuple[int, ...]
    features: str
    scores: str
    tolerance: float = 1e-9


# GoogLeNet's response normalisation has constants that the file holds in float32.
TRIPS = {
    "resnet18": Trip(zoo.resnet18(10, (3, 64, 64)), (64, 64), "res5b_relu", "fc1000"),
    "squeezenet1_1": Trip(zoo.squeezenet1_1(10, (3, 64, 64)), (64, 64), "relu_conv10", "pool10"),
    "googlenet": Trip(zoo.googlenet(10, (3, 64, 64)), (64, 64), "inception_5b-output", "loss3-classifier", 1e-7),
    "unet": Trip(zoo.unet(3, 4, 3, (3, 32, 40)), (32, 40), "decoder1_relu2", "scorer"),
    "deeplab": Trip(zoo.deeplabv3plus_resnet18(input_shape=(3, 64, 80)), (64, 80), "dec_relu4", "dec_crop2"),
    "vowels_classifier": Trip(zoo.vowels_classifier(input_shape=(12, 20)), (20,), "layernorm_2", "fc"),
    "volume_classifier": Trip(zoo.volume_classifier(4, (1, 9, 12, 10)), (9, 12, 10), "relu_4", "fc"),
}


class Round:
    """One trip: the network with random parameters, its twin in PyTorch, and what came back from ONNX."""

    def __init__(self, name, folder):
        trip = TRIPS[name]
        torch = require_torch()
        torch.set_num_threads(1)
        self.name, self.trip, self.torch = name, trip, torch
        random = np.random.default_rng(3)
        (shape,) = trip.graph.inputs.values()
        self.x = random.integers(0, 256, (1, shape[0], *trip.space)).astype(np.float64)
        if name == "vowels_classifier":
            self.x = self.x / 256 - 0.5
        scorer = {"squeezenet1_1": "conv10", "deeplab": "scorer"}.get(name, trip.scores)
        stored = unsaturated_network(trip.graph, self.x, scorer).parameters(np.float32)
        self.parameters = {layer: {k: torch.tensor(a) for k, a in p.items()} for layer, p in stored.items()}
        self.path = folder / f"{name}.onnx"
        export(torch, twin(torch, name, self.parameters), torch.tensor(self.x, dtype=torch.float32), self.path)
        self.network = mc.convert(self.path)
        self.layers = self.run_twin()
        self.values = self.network.forward(self.x, self.network.layers)

    def run_twin(self):
        """Layer name -> tensor, float64, of which autograd knows where it comes from."""
        exact = {layer: {k: a.double() for k, a in arrays.items()} for layer, arrays in self.parameters.items()}
        return forward(self.torch, self.name, exact, self.torch.tensor(self.x, requires_grad=True))

    def name_here(self, layer):
        """The layer of the network read that computes what a layer of the twin does: the only one with its values."""
        expected = self.layers[layer].detach().numpy()
        found = [name for name, value in self.values.items() if peak_error(value, expected) < self.trip.tolerance]
        assert found, layer
        return found[0]


def forward(torch, name, parameters, x):
    if name == "deeplab":
        return deeplab_torch.forward(parameters, x)
    return zoo_jax.run(Exportable(torch, parameters), name, x)


class Exportable(zoo_torch.Layers):
    def layer_norm(self, name, source):
        """Without movedim and traced sizes, which the exporter does not know."""
        p = self.parameters[name]
        x = self.layers[source].transpose(1, 2)
        y = self.functional.layer_norm(x, tuple(p["scale"].shape), p["scale"], p["offset"], eps=1e-5)
        self.layers[name] = y.transpose(1, 2)


def twin(torch, name, parameters):
    """The twin as a module whose parameters are called as the layers are, as a user's own would be."""

    class Twin(torch.nn.Module):
        def __init__(self):
            super().__init__()
            for layer, arrays in parameters.items():
                holder = torch.nn.Module()
                for key, array in arrays.items():
                    holder.register_buffer(key, array)
                self.add_module(layer, holder)

        def forward(self, x):
            held = {layer: dict(module.named_buffers()) for layer, module in self.named_children()}
            return list(forward(torch, name, held, x).values())[-1]

    return Twin().eval()


def export(torch, module, x, path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own deprecations
        torch.onnx.export(
            module,
            (x,),
            path,
            dynamo=False,
            input_names=["image"],
            output_names=["scores"],
            dynamic_axes={"image": {0: "N"}},
            training=torch.onnx.TrainingMode.PRESERVE,
            do_constant_folding=False,
        )


@pytest.fixture(scope="module", params=TRIPS)
def trip(request, tmp_path_factory):
    return Round(request.param, tmp_path_factory.mktemp("onnx"))


def test_values_equal(trip):
    (output,) = trip.network.graph.outputs
    assert peak_error(trip.values[output], list(trip.layers.values())[-1].detach().numpy()) < trip.trip.tolerance


def test_gradcam_equals_autograd(trip):
    """Of two classes, summed over space: float64 to 1e-9 of the peak, and in float32 as `mc.gradcam` gives it."""
    features, scores = trip.layers[trip.trip.features], trip.layers[trip.trip.scores]
    names = trip.name_here(trip.trip.features), trip.name_here(trip.trip.scores)
    space = tuple(range(2, features.ndim))
    for c in (0, 2):
        (gradient,) = trip.torch.autograd.grad(scores[0, c].sum(), features, retain_graph=True)
        alpha = gradient.mean(dim=space, keepdim=True)
        expected = (alpha * features).sum(dim=1)[0].detach().numpy()
        seed = np.zeros(tuple(scores.shape))
        seed[0, c] = 1
        found = trip.network.backward(trip.values, {names[1]: seed}, [names[0]])[names[0]]
        raw = (found.mean(axis=space, keepdims=True) * trip.values[names[0]]).sum(axis=1)[0]
        assert peak_error(raw, expected) < trip.trip.tolerance
        image = trip.x[0] if len(space) != 2 else np.moveaxis(trip.x[0], 0, -1).astype(np.uint8)
        cam = mc.gradcam(trip.network, image, c, *names)
        assert peak_error(cam.raw[0], expected) < 1e-3


def newer_export(torch, net, image, path):
    pytest.importorskip("onnxscript")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            net.eval(), (image,), path, dynamo=True, dynamic_shapes=({0: torch.export.Dim("N")},), verbose=False
        )
    return mc.convert(path)


def check_gradcam(torch, net, network, x, feature_layer):
    """Of class 1 at net's last module but one, which the network calls `feature_layer`; its outputs are the scores."""
    features = net[:-1](x)
    scores = net[-1](features)
    (gradient,) = torch.autograd.grad(scores[0, 1].sum(), features)
    expected = (gradient.mean(dim=(2, 3), keepdim=True) * features).sum(dim=1)[0].detach().numpy()
    (output,) = network.graph.outputs
    values = network.forward(x.detach().numpy(), [feature_layer, output])
    assert peak_error(values[output], scores.detach().numpy()) < 1e-6
    seed = np.zeros(tuple(scores.shape))
    seed[0, 1] = 1
    found = network.backward(values, {output: seed}, [feature_layer])[feature_layer]
    raw = (found.mean(axis=(2, 3), keepdims=True) * values[feature_layer]).sum(axis=1)[0]
    assert peak_error(raw, expected) < 1e-6


def test_the_newer_exporter_too(tmp_path):
    """torch.export names nodes by function and weights by module; channels last inside, as in ConvNeXt."""
    torch = require_torch()
    torch.manual_seed(0)

    class Block(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.depthwise = torch.nn.Conv2d(6, 6, 5, padding=2, groups=6)
            self.norm = torch.nn.LayerNorm(6)
            self.wide, self.narrow = torch.nn.Linear(6, 12), torch.nn.Linear(12, 6)

        def forward(self, x):
            y = self.norm(self.depthwise(x).permute(0, 2, 3, 1))
            return x + self.narrow(torch.nn.functional.gelu(self.wide(y))).permute(0, 3, 1, 2)

    net = torch.nn.Sequential(torch.nn.Conv2d(3, 6, 4, stride=4), Block(), torch.nn.ReLU(), torch.nn.Conv2d(6, 4, 1))
    image = torch.rand(1, 3, 20, 24)
    network = newer_export(torch, net, image, tmp_path / "net.onnx")
    assert {"0", "1.depthwise", "1.norm", "1.wide", "1.narrow", "3"} <= set(network.layers)
    relu = next(name for name in network.layers if "relu" in name)
    check_gradcam(torch, net.double(), network, image.double(), relu)


@pytest.mark.parametrize("kind", ["ELU", "SELU", "Softshrink", "Hardshrink", "Softplus"])
def test_activations_of_the_newer_exporter(kind, tmp_path):
    """Some of which it writes with comparisons; the features lie before the activation, the scores after it."""
    torch = require_torch()
    torch.manual_seed(0)
    activation = getattr(torch.nn, kind)()
    after = torch.nn.Sequential(activation, torch.nn.Conv2d(6, 4, 1))
    net = torch.nn.Sequential(
        torch.nn.Conv2d(3, 6, 3), torch.nn.Sequential(activation, torch.nn.Conv2d(6, 6, 3)), after
    )
    with torch.no_grad():
        net[0].weight *= 4
    image = torch.rand(1, 3, 9, 8)
    network = newer_export(torch, net, image, tmp_path / "net.onnx")
    check_gradcam(torch, net.double(), network, image.double(), "1.1")
