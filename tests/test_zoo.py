"""The networks beside DeepLab: their published sizes, independent twins in JAX and PyTorch, and Grad-CAM on each."""

import math
from dataclasses import dataclass

import jax
import numpy as np
import pytest
import zoo_jax
import zoo_torch
from references import peak_error, require_torch
from test_deeplab import random_parameters

import minicam as mc
from minicam import zoo
from minicam.explanation.defaults import choose_feature_layer, choose_reduction_layer
from minicam.graph import Graph
from minicam.ops import Normalize, Relu


@dataclass(frozen=True)
class Published:
    """What is known of a network at its default size. learned: its parameters, statistics of data not counted."""

    layers: int
    learned: int
    reduction: tuple[str, tuple]
    feature: tuple[str, tuple]


# layers: MATLAB's count without its loss layer. learned: torchvision's 11,689,512 and a bias for each of the 4,800
# filters; torchvision's; Caffe's without the auxiliary heads; the others by hand.
PUBLISHED = {
    "resnet18": Published(70, 11_689_512 + 4_800, ("prob", (1000,)), ("res5b_relu", (512, 7, 7))),
    "squeezenet1_1": Published(67, 1_235_496, ("prob", (1000, 1, 1)), ("relu_conv10", (1000, 14, 14))),
    "googlenet": Published(143, 6_998_552, ("prob", (1000,)), ("inception_5b-output", (1024, 7, 7))),
    "unet": Published(51, 31_032_915, ("softmax-out", (19, 256, 512)), ("decoder1_relu2", (64, 256, 512))),
    "digits_regression": Published(17, 16_881, ("fc", (1,)), ("relu_4", (32, 7, 7))),
    "vowels_classifier": Published(9, 8_169, ("softmax", (9,)), ("layernorm_2", (64, None))),
    "volume_classifier": Published(18, 181_322, ("softmax", (10,)), ("relu_4", (64, 8, 8, 8))),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_size_and_default_layers_are_the_published_ones(name):
    graph, published = getattr(zoo, name)(), PUBLISHED[name]
    shapes = graph.shapes(graph.inputs)
    statistics = {"mean", "std", "variance"}
    learned = sum(
        math.prod(shape)
        for parameters in graph.parameter_shapes.values()
        for parameter, shape in parameters.items()
        if parameter not in statistics
    )
    reduction = choose_reduction_layer(graph)
    feature = choose_feature_layer(graph, reduction)
    assert len(graph.nodes) == published.layers
    assert learned == published.learned
    assert (reduction, shapes[reduction]) == published.reduction
    assert (feature, shapes[feature]) == published.feature
    assert graph.outputs == (reduction,)


@pytest.mark.parametrize(
    ("name", "layer", "shape"),
    [
        ("resnet18", "pool1", (64, 56, 56)),
        ("resnet18", "res4b_relu", (256, 14, 14)),
        ("resnet18", "pool5", (512, 1, 1)),
        ("squeezenet1_1", "conv1", (64, 113, 113)),
        ("squeezenet1_1", "pool1", (64, 56, 56)),
        ("squeezenet1_1", "fire3-concat", (128, 56, 56)),
        ("squeezenet1_1", "pool3", (128, 28, 28)),
        ("squeezenet1_1", "pool5", (256, 14, 14)),
        ("squeezenet1_1", "fire9-concat", (512, 14, 14)),
        ("googlenet", "pool1-3x3_s2", (64, 56, 56)),
        ("googlenet", "pool2-3x3_s2", (192, 28, 28)),
        ("googlenet", "inception_3b-output", (480, 28, 28)),
        ("googlenet", "inception_4a-output", (512, 14, 14)),
        ("googlenet", "inception_4e-output", (832, 14, 14)),
        ("googlenet", "pool4-3x3_s2", (832, 7, 7)),
        ("unet", "bottleneck_relu2", (1024, 16, 32)),
        ("unet", "decoder4_concat", (1024, 32, 64)),
    ],
)
def test_shapes_on_the_way_are_the_published_ones(name, layer, shape):
    graph = getattr(zoo, name)()
    assert graph.shapes(graph.inputs)[layer] == shape


@dataclass(frozen=True)
class Example:
    """graph: of full width, or a narrow one. shape: of the samples. watched: the default feature layer, another."""

    graph: Graph
    shape: tuple[int, ...]
    watched: tuple[str, str]
    scorer: str


# Sizes are odd where the network allows it, so that padding on the wrong side shows.
EXAMPLES = {
    "resnet18": Example(zoo.resnet18(), (3, 69, 91), ("res5b_relu", "pool1"), "fc1000"),
    "squeezenet1_1": Example(zoo.squeezenet1_1(), (3, 67, 91), ("relu_conv10", "fire4-concat"), "conv10"),
    "googlenet": Example(zoo.googlenet(), (3, 70, 99), ("inception_5b-output", "pool1-3x3_s2"), "loss3-classifier"),
    "unet": Example(zoo.unet(3, 4, 5, (2, 16, 24)), (2, 24, 40), ("decoder1_relu2", "bottleneck_relu2"), "scorer"),
    "digits_regression": Example(zoo.digits_regression(), (1, 28, 28), ("relu_4", "avgpool2d_1"), "fc"),
    "vowels_classifier": Example(zoo.vowels_classifier(), (12, 17), ("layernorm_2", "relu_1"), "fc"),
    "volume_classifier": Example(zoo.volume_classifier(4), (1, 9, 12, 10), ("relu_4", "maxpool3d_1"), "fc"),
}


class Case:
    """An example with random parameters: values of two samples at all layers, gradients at the watched ones and for
    the parameters, of one random direction of the output."""

    def __init__(self, name):
        example = EXAMPLES[name]
        random = np.random.default_rng(1)
        self.name, self.watched = name, example.watched
        self.x = random.integers(0, 256, (2, *example.shape)).astype(np.float64)
        if name == "vowels_classifier":
            self.x = self.x / 256 - 0.5
        self.net = unsaturated_network(example.graph, self.x, example.scorer)
        self.values = self.net.forward(self.x, self.net.layers)
        self.output = example.graph.outputs[0]
        self.seed = random.standard_normal(self.values[self.output].shape)
        self.gradients = self.net.backward(self.values, {self.output: self.seed}, self.watched)


def unsaturated_network(graph, x, scorer):
    """A network with parameters none of which is 0, 1 or shared, whose scores have a spread of 1 on x."""
    parameters = random_parameters(graph, seed=0)
    random = np.random.default_rng(2)
    for node in graph.nodes:
        if isinstance(node.op, Normalize):
            # The std is no z-score's, but leaves values at which local response normalisation makes a difference.
            channels = graph.inputs[node.inputs[0]][0]
            parameters[node.name] = {"mean": random.uniform(100, 110, channels), "std": random.uniform(1, 2, channels)}
    scores = mc.Network(graph, parameters).forward(x, [scorer])[scorer]
    parameters[scorer]["weight"] = parameters[scorer]["weight"] / scores.std()
    return mc.Network(graph, parameters)


@pytest.fixture(scope="module", params=EXAMPLES)
def case(request):
    return Case(request.param)


def test_the_examples_are_fair_ones(case):
    """Scores and ReLUs far from saturation and gradients of one size: else the comparisons would show little."""
    for node in case.net.graph.nodes:
        if isinstance(node.op, Relu):
            assert 0.05 < (case.values[node.name] > 0).mean() < 0.95, node.name
    if case.name != "digits_regression":
        assert case.values[case.output].max(axis=1).mean() < 0.8
    for gradient in case.gradients.values():
        assert (np.abs(gradient) > 1e-4 * np.abs(gradient).max()).mean() > 0.1


def by_jax(case):
    """All layers, and the gradients at the watched ones and for the parameters."""

    def run(taps, parameters):
        def output(taps, parameters):
            layers = zoo_jax.forward(case.name, parameters, case.x, taps)
            return layers[case.output], layers

        _, pull_back, layers = jax.vjp(output, taps, parameters, has_aux=True)
        return layers, *pull_back(case.seed)

    arguments = ({name: np.zeros_like(case.values[name]) for name in case.watched}, case.net.parameters(np.float64))
    # With little optimisation, since compiling is nearly all of the time.
    return jax.jit(run).lower(*arguments).compile({"xla_backend_optimization_level": 0})(*arguments)


def test_values_and_gradients_equal_jax(case):
    layers, gradients, parameter_gradients = by_jax(case)
    assert set(layers) == set(case.net.layers)
    for name, expected in layers.items():
        assert peak_error(case.values[name], np.asarray(expected)) < 1e-9, name
    for name, expected in gradients.items():
        assert peak_error(case.gradients[name], np.asarray(expected)) < 1e-9, name

    found = case.net.backward_params(case.values, {case.output: case.seed})
    assert found.keys() == parameter_gradients.keys()
    for layer, arrays in parameter_gradients.items():
        assert found[layer].keys() == arrays.keys()
        for name, expected in arrays.items():
            assert peak_error(found[layer][name], np.asarray(expected)) < 1e-9, (layer, name)


def test_values_and_gradients_equal_torch(case):
    torch = require_torch()
    torch.set_num_threads(1)  # layers this small only wait for more
    stored = case.net.parameters(np.float64)
    parameters = {layer: {k: torch.as_tensor(a) for k, a in arrays.items()} for layer, arrays in stored.items()}
    layers = zoo_torch.forward(torch, case.name, parameters, torch.tensor(case.x, requires_grad=True))
    assert set(layers) == set(case.net.layers)
    for name, expected in layers.items():
        assert peak_error(case.values[name], expected.detach().numpy()) < 1e-9, name
    watched = [layers[name] for name in case.watched]
    gradients = torch.autograd.grad(layers[case.output], watched, torch.tensor(case.seed))
    for name, expected in zip(case.watched, gradients, strict=True):
        assert peak_error(case.gradients[name], expected.numpy()) < 1e-9, name


@pytest.mark.parametrize("name", ["resnet18", "squeezenet1_1", "googlenet"])
def test_gradcam_of_a_classifier_at_its_default_size(name):
    image = np.random.default_rng(0).integers(0, 256, (150, 200, 3), dtype=np.uint8)
    graph = getattr(zoo, name)()
    cam = mc.gradcam(mc.Network(graph, random_parameters(graph, seed=0)), image, [7, 999])
    feature, (_, height, width) = PUBLISHED[name].feature
    assert (cam.feature_layer, cam.reduction_layer) == (feature, "prob")
    check(cam, targets=2, feature_space=(height, width), space=(150, 200))


def check(cam, targets, feature_space, space):
    assert cam.maps.shape == (targets, *space)
    assert cam.raw.shape == (targets, *feature_space)
    assert cam.alpha.shape == (targets, len(cam.activations))
    for array in (cam.maps, cam.raw, cam.alpha, cam.scores):
        assert np.isfinite(array).all()
    assert np.abs(cam.raw).max() > 0


def test_gradcam_and_labels_of_a_unet():
    image = np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8)
    graph = zoo.unet(depth=2, width=4, classes=3, input_shape=(3, 32, 48))
    net = mc.Network(graph, random_parameters(graph, seed=0))
    for layer, feature_space in ((None, (32, 48)), ("bottleneck_relu2", (8, 12))):
        cam = mc.gradcam(net, image, [0, 2, mc.Pixel(10, 60)], layer)
        check(cam, targets=3, feature_space=feature_space, space=(50, 70))
    assert mc.segment(net, image).shape == (50, 70)


def test_gradcam_of_an_angle():
    graph = zoo.digits_regression()
    net = mc.Network(graph, random_parameters(graph, seed=0))
    digit = np.random.default_rng(0).integers(0, 256, (28, 28), dtype=np.uint8)
    cam = mc.gradcam(net, digit, 0)
    assert (cam.feature_layer, cam.reduction_layer) == ("relu_4", "fc")
    check(cam, targets=1, feature_space=(7, 7), space=(28, 28))


@pytest.mark.parametrize("length", [1, 2, 7, 26])
def test_gradcam_of_sequences_of_several_lengths(length):
    graph = zoo.vowels_classifier()
    net = mc.Network(graph, random_parameters(graph, seed=0))
    sequence = np.random.default_rng(0).standard_normal((12, length))
    cam = mc.gradcam(net, sequence, [0, 8])
    assert (cam.feature_layer, cam.reduction_layer) == ("layernorm_2", "softmax")
    check(cam, targets=2, feature_space=(length,), space=(length,))


def test_the_vowels_network_does_not_look_ahead():
    graph = zoo.vowels_classifier()
    net = mc.Network(graph, random_parameters(graph, seed=0))
    x = np.random.default_rng(0).standard_normal((1, 12, 20))
    changed = x.copy()
    changed[:, :, 8] += 1
    before, after = (net.forward(sequence, ["layernorm_2"])["layernorm_2"] for sequence in (x, changed))
    moved = np.flatnonzero(np.abs(after - before).max(axis=(0, 1)))
    assert moved.tolist() == [8, 9, 10, 11, 12], "two causal convolutions of width 3 reach four steps on"


@pytest.mark.parametrize("space", [(8, 12, 16), (5, 4, 7)])
def test_gradcam_of_volumes(space):
    graph = zoo.volume_classifier(classes=4, input_shape=(2, None, None, None))
    net = mc.Network(graph, random_parameters(graph, seed=0))
    volume = np.random.default_rng(0).standard_normal((2, *space))
    cam = mc.gradcam(net, volume, [1, 3])
    assert (cam.feature_layer, cam.reduction_layer) == ("relu_4", "softmax")
    check(cam, targets=2, feature_space=tuple(size // 4 for size in space), space=space)
    batch = mc.gradcam(net, np.stack([volume, volume]), [1, 3])
    for one in batch:
        np.testing.assert_array_equal(one.maps, cam.maps)


def test_a_unet_refuses_sizes_that_it_cannot_halve():
    with pytest.raises(mc.LayerError, match=r"depth 4 halves .* multiples of 16, not \(256, 250\)"):
        zoo.unet(input_shape=(3, 256, 250))
    graph = zoo.unet(depth=2, width=2, classes=3, input_shape=(3, None, None))
    net = mc.Network(graph, zoo.initial_parameters(graph))
    assert net.forward(np.zeros((1, 3, 8, 12)))["softmax-out"].shape == (1, 3, 8, 12)
    with pytest.raises(mc.LayerError, match=r"layer 'decoder2_concat' \(Concat\): the inputs .* do not fit together"):
        net.forward(np.zeros((1, 3, 8, 14)))


@pytest.mark.parametrize("shape", [(3, 96, 64), (3, 45, 77)])
@pytest.mark.parametrize("name", ["resnet18", "squeezenet1_1", "googlenet"])
def test_classifiers_take_images_of_any_size(name, shape):
    graph = getattr(zoo, name)(classes=10, input_shape=(3, None, None))
    assert graph.shapes({"image": shape})["prob"][0] == 10
