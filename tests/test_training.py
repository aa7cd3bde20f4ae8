"""Training: gradients against JAX and PyTorch, optimisers and schedules against their formulas, and whole runs."""

import functools
import logging
import math
import re
import sys
from types import SimpleNamespace

import deeplab_jax
import deeplab_torch
import h5py
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from references import require_torch

from minicam import LayerError, MinicamError, ModelFileError, Network, store
from minicam.graph import Graph, Node
from minicam.ops import (
    Add,
    BatchNorm,
    BatchStatisticsNorm,
    Conv,
    ConvTranspose,
    CrossEntropy,
    Dense,
    Dropout,
    GlobalAveragePool,
    MeanSquaredError,
    Normalize,
    Softmax,
)
from minicam.training import (
    SGD,
    AdamW,
    constant,
    cosine,
    loss_and_gradients,
    polynomial,
    progress,
    train,
    trainable,
    training_graph,
    warm_up,
    warm_up_constant_decay,
)
from minicam.zoo import deeplabv3plus_resnet18, digits_regression, initial_parameters, unet, vowels_classifier
from minicam.zoo.builder import Builder

# The ops


def test_cross_entropy_is_pytorchs_weighted_mean_over_the_batch():
    torch = require_torch()
    rng = np.random.default_rng(0)
    weights, ignored = (0.5, 2.0, 0.0, 1.0), 255
    for shape in ((6, 4), (2, 4, 5), (3, 4, 5, 6)):
        x = rng.normal(size=shape)
        labels = rng.choice([0, 1, 2, 3, ignored], (shape[0], 1, *shape[2:]))
        op = CrossEntropy(weights, ignored)
        inputs = torch.tensor(x, requires_grad=True)
        expected = torch.nn.functional.cross_entropy(
            inputs, torch.tensor(labels[:, 0]), torch.tensor(weights, dtype=torch.float64), ignore_index=ignored
        )
        y = op.forward(x, labels.astype(float))
        assert y.shape == (len(x), 1)
        assert y.sum() == pytest.approx(expected.item(), rel=1e-13)
        expected.backward()
        dx, dlabels = op.backward(np.ones_like(y), y, x, labels.astype(float))
        np.testing.assert_allclose(dx, inputs.grad, rtol=1e-11, atol=1e-15)
        assert not dlabels.any()


def test_a_batch_without_labels_has_loss_0_and_gradient_0():
    x, labels = np.ones((2, 3, 4)), np.full((2, 1, 4), -1.0)
    for op, target in ((CrossEntropy(), labels), (CrossEntropy((0, 1, 1)), 0 * labels)):
        y = op.forward(x, target)
        assert np.array_equal(y, np.zeros((2, 1)))
        assert not op.backward(np.ones((2, 1)), y, x, target)[0].any()
        assert op.accuracy(x, labels) == 0


def test_accuracy_leaves_out_what_is_ignored():
    x = np.array([[3.0, 1, 2], [0, 5, 1], [0, 0, 9], [0, 0, 9]])
    assert CrossEntropy(ignored=7).accuracy(x, np.array([[0], [0], [2], [7]])) == pytest.approx(2 / 3)
    assert MeanSquaredError().accuracy(x, x) is None


@pytest.mark.parametrize(("label", "shown"), [(4, "4"), (-2, "-2"), (0.5, "0.5"), (math.nan, "nan"), (255, "255")])
def test_labels_that_are_no_class(label, shown):
    labels = np.array([[0], [label], [3], [-1]])
    with pytest.raises(LayerError, match=rf"1 labels are neither a class, 0 to 3, nor .* -1, the first is {shown}$"):
        CrossEntropy().forward(np.zeros((4, 4)), labels)


def test_options_and_shapes_of_losses():
    for weights in ((-1.0, 1.0), (math.nan, 1.0), (math.inf, 1.0), (0.0, 0.0)):
        with pytest.raises(LayerError, match=r"expected finite numbers of 0 or more, not all 0"):
            CrossEntropy(weights)
    with pytest.raises(LayerError, match="there are 2 weights for 3 classes"):
        CrossEntropy((1, 2)).output_shape((3, 5), (1, 5))
    with pytest.raises(LayerError, match=r"target has the shape \(3, 5\) for each sample; expected \(1, 5\)"):
        CrossEntropy().output_shape((3, 5), (3, 5))
    with pytest.raises(LayerError, match=r"target has the shape \(3,\) for each sample; expected \(3, 5\)"):
        MeanSquaredError().output_shape((3, 5), (3,))


def test_a_channel_with_one_value_has_no_batch_statistics():
    op, ones = BatchStatisticsNorm(), np.ones(2)
    with pytest.raises(LayerError, match=r"a batch of shape \(1, 2, 1\) has a single value of each channel"):
        op.forward(np.ones((1, 2, 1)), scale=ones, offset=ones)
    with pytest.raises(LayerError, match=r"epsilon is -1"):
        BatchStatisticsNorm(-1)


def test_running_statistics_are_pytorchs():
    torch = require_torch()
    rng = np.random.default_rng(0)
    reference = torch.nn.BatchNorm2d(3, momentum=0.2, dtype=torch.float64)
    running = [np.zeros(3), np.ones(3)]
    for _ in range(3):
        x = rng.normal(2, 3, (4, 3, 5, 6))
        y = BatchStatisticsNorm().forward(x, scale=np.ones(3), offset=np.zeros(3))
        np.testing.assert_allclose(y, reference(torch.tensor(x)).detach(), atol=1e-13)
        found = BatchStatisticsNorm().statistics(x)
        running = [0.8 * old + 0.2 * new for old, new in zip(running, found, strict=True)]
    np.testing.assert_allclose(running[0], reference.running_mean, rtol=1e-13)
    np.testing.assert_allclose(running[1], reference.running_var, rtol=1e-13)


# The graph


def classifier(rate=0.25):
    b = Builder("image", (2, None, None))
    b.add("data", Normalize())
    b.conv_norm(("conv1", "norm1", "relu1"), Conv(6, (3, 3), padding=1))
    b.conv_norm(("conv2", "norm2", "relu2"), Conv(6, (3, 3), stride=2, padding=1))
    b.add("drop", Dropout(rate))
    b.add("pool", GlobalAveragePool())
    b.add("fc", Dense(3))
    b.add("softmax", Softmax())
    return b.graph()


def test_the_training_graph_and_back():
    graph = classifier()
    training = training_graph(graph, loss=CrossEntropy(), scores="fc")
    ops = {node.name: type(node.op).__name__ for node in training.graph.nodes}
    assert [ops[name] for name in ("norm1", "norm2", "drop", "loss")] == [
        *("BatchStatisticsNorm", "BatchStatisticsNorm", "Multiply", "CrossEntropy")
    ]
    assert training.graph.outputs == ("loss",)
    assert dict(training.graph.inputs) == {"image": (2, None, None), "drop_mask": (6, None, None), "target": (1,)}
    assert training.inference is graph
    parameters = initial_parameters(graph, 1)
    for arrays in parameters.values():
        for name in arrays:
            arrays[name] = np.random.default_rng(0).uniform(1, 2, arrays[name].shape)
    trained, running = training.thawed(parameters)
    assert running.keys() == {"norm1", "norm2"}
    assert training.frozen(trained, running) == parameters


def test_a_frozen_network_gives_what_the_batch_gave():
    """With its own statistics, not averaged, and the biased variance that normalised it."""
    graph = classifier(rate=0.0)
    training = training_graph(graph, loss=CrossEntropy(), scores="fc")
    rng = np.random.default_rng(0)
    parameters, _ = training.thawed(initial_parameters(graph))
    x = rng.normal(size=(5, 2, 6, 7))
    feeds = {"image": x, "target": np.zeros((5, 1)), **training.masks(rng, {"image": x})}
    values = training.graph.forward(parameters, feeds, ["conv1", "conv2", "fc"])
    running = {
        norm: {"mean": values[conv].mean(axis=(0, 2, 3)), "variance": values[conv].var(axis=(0, 2, 3))}
        for norm, conv in (("norm1", "conv1"), ("norm2", "conv2"))
    }
    frozen = Network(graph, training.frozen(parameters, running)).forward(x, ["fc"])
    np.testing.assert_allclose(frozen["fc"], values["fc"], rtol=1e-5)


def test_fixed_layers_stay_as_they_are():
    training = training_graph(classifier(), loss=CrossEntropy(), scores="fc", fixed=("norm1", "drop", "conv1"))
    assert isinstance(training.graph.by_name["norm1"].op, BatchNorm)
    assert isinstance(training.graph.by_name["drop"].op, Dropout)
    assert training.normalized == ("norm2",)
    assert not training.dropped
    found = trainable(training.graph, initial_parameters(classifier()), ("norm1", "drop", "conv1"))
    assert found == {"conv2": ("weight",), "norm2": ("scale", "offset"), "fc": ("weight", "bias")}


def test_what_is_trained_of_deeplab():
    graph = deeplabv3plus_resnet18()
    training = training_graph(graph, loss=CrossEntropy(), scores="dec_crop2")
    parameters = initial_parameters(graph)
    found = trainable(training.graph, parameters)
    assert set(parameters) - set(found) == {"data", "dec_upsample1", "dec_upsample2"}
    assert found["conv1"] == found["aspp_Conv_3"] == ("weight",), "the normalisation subtracts the bias"
    assert found["scorer"] == ("weight", "bias")
    assert found["bn_conv1"] == ("scale", "offset")
    parameters["dec_upsample2"]["weight"] = parameters["dec_upsample2"]["weight"] + 1
    assert trainable(training.graph, parameters)["dec_upsample2"] == ("weight", "bias")
    net = unet(depth=1, width=2, input_shape=(3, 8, 8))
    found = trainable(training_graph(net, loss=CrossEntropy(), scores="scorer").graph, initial_parameters(net))
    assert found["decoder1_up"] == ("weight", "bias"), "a transposed convolution that mixes channels"


def test_a_layer_beside_the_loss_is_not_trained():
    nodes = (Node("a", Dense(2), ("x",)), Node("b", Dense(2), ("x",)), Node("norm", BatchNorm(), ("b",)))
    training = training_graph(Graph({"x": (3,)}, nodes, ("a", "norm")), loss=MeanSquaredError(), scores="a")
    assert trainable(training.graph, initial_parameters(training.inference)) == {"a": ("weight", "bias")}
    assert training.normalized == ()


def test_graphs_that_cannot_be_trained():
    with pytest.raises(LayerError, match=r"'softmax' is a softmax, and CrossEntropy takes .* before it: scores='fc'"):
        training_graph(classifier(), loss=CrossEntropy(), scores="softmax")
    with pytest.raises(LayerError, match=r"there is no layer 'fcc'; did you mean 'fc'"):
        training_graph(classifier(), loss=CrossEntropy(), scores="fcc")
    with pytest.raises(LayerError, match=r"there is no layer 'conv3'; did you mean"):
        training_graph(classifier(), loss=CrossEntropy(), scores="fc", fixed=["conv3"])
    with pytest.raises(LayerError, match=r"layer 'fc', of which CrossEntropy is taken: there are 2 weights for 3"):
        training_graph(classifier(), loss=CrossEntropy((1, 1)), scores="fc")
    with pytest.raises(LayerError, match=r"layer 'drop' \(Dropout\): the rate is 1.0; expected less than 1"):
        training_graph(classifier(1.0), loss=CrossEntropy(), scores="fc")
    graph = Graph({"target": (3,)}, (Node("fc", Dense(2), ("target",)),), ("fc",))
    with pytest.raises(LayerError, match=r"has an input 'target', a name that training needs"):
        training_graph(graph, loss=CrossEntropy(), scores="fc")
    training = training_graph(classifier(), loss=CrossEntropy(), scores="data")
    with pytest.raises(LayerError, match="there is nothing to train"):
        trainable(training.graph, initial_parameters(classifier()))


def test_masks_drop_their_fraction_and_keep_the_mean():
    training = training_graph(classifier(0.25), loss=CrossEntropy(), scores="fc")
    x = np.zeros((8, 2, 40, 40))
    (mask,) = training.masks(np.random.default_rng(0), {"image": x}).values()
    assert mask.shape == (8, 6, 20, 20)
    assert mask.dtype == np.float32
    assert np.unique(mask) == pytest.approx([0, 4 / 3])
    assert (mask == 0).mean() == pytest.approx(0.25, abs=0.01)
    again = training.masks(np.random.default_rng(0), {"image": x})["drop_mask"]
    assert np.array_equal(mask, again)


# Gradients of every parameter of DeepLab in training


@pytest.fixture(scope="module")
def deeplab():
    """Loss and gradients in float64, with batch statistics, class weights and an ignored label."""
    graph = deeplabv3plus_resnet18(input_shape=(3, 32, 48))
    rng = np.random.default_rng(0)
    parameters = {
        layer: {name: random_parameter(name, array, rng) for name, array in arrays.items()}
        for layer, arrays in initial_parameters(graph).items()
    }
    image = rng.uniform(0, 255, (2, 3, 32, 48))
    labels = rng.choice([255, *range(11)], (2, 1, 32, 48))
    weights = tuple(rng.uniform(0.5, 2, 11))
    training = training_graph(graph, loss=CrossEntropy(weights, 255), scores="dec_crop2")
    trained = {layer: tuple(names) for layer, names in training.graph.parameter_shapes.items()}
    feeds = {"image": image, "target": labels.astype(float)}
    kept, _ = training.thawed(parameters)
    values, gradients = loss_and_gradients(training.graph, kept, feeds, trained)
    assert len(gradients) == 60
    return SimpleNamespace(
        parameters=kept, image=image, labels=labels, weights=weights, loss=values["loss"].sum(), gradients=gradients
    )


def random_parameter(name, array, rng):
    if name in ("scale", "std"):
        return rng.uniform(0.5, 1.5, array.shape) * (60 if name == "std" else 1)
    return array.astype(float) + (0 if name == "weight" else 0.2 * rng.normal(size=array.shape))


def check_gradients(found, expected):
    """Within 1e-9 of the largest of the layer: a bias before a normalisation has a gradient of 0, up to rounding."""
    assert found.keys() == expected.keys()
    for layer, arrays in found.items():
        peak = max(float(np.abs(np.asarray(array)).max()) for array in expected[layer].values())
        assert peak > 0
        assert arrays.keys() == expected[layer].keys()
        for name, array in arrays.items():
            assert np.abs(array - np.asarray(expected[layer][name])).max() < 1e-9 * peak, (layer, name)


def test_gradients_of_deeplab_equal_jax(deeplab, monkeypatch):
    def norm(net, name, source):
        x, p = net.layers[source], net.parameters[name]
        z = (x - x.mean((0, 2, 3), keepdims=True)) / jnp.sqrt(x.var((0, 2, 3), keepdims=True) + 1e-5)
        net._put(name, z * p["scale"][:, None, None] + p["offset"][:, None, None])

    monkeypatch.setattr(deeplab_jax._Layers, "norm", norm)

    def loss(parameters):
        logits = deeplab_jax.forward(parameters, deeplab.image)["dec_crop2"]
        logs = jnp.moveaxis(jax.nn.log_softmax(logits, axis=1), 1, -1)
        labels = deeplab.labels[:, 0]
        total = terms = 0.0
        for c, weight in enumerate(deeplab.weights):
            total = total + weight * (labels == c).sum()
            terms = terms - weight * jnp.where(labels == c, logs[..., c], 0).sum()
        return terms / total

    run = jax.jit(jax.value_and_grad(loss)).lower(deeplab.parameters)
    value, gradients = run.compile({"xla_backend_optimization_level": 0})(deeplab.parameters)
    assert deeplab.loss == pytest.approx(float(value), rel=1e-12)
    check_gradients(deeplab.gradients, gradients)


def test_gradients_of_deeplab_equal_torch(deeplab, monkeypatch):
    torch = require_torch()
    functional = torch.nn.functional
    by_batch = functools.partial(functional.batch_norm, running_mean=None, running_var=None, training=True)
    monkeypatch.setattr(functional, "batch_norm", lambda x, _m, _v, w, b, eps: by_batch(x, weight=w, bias=b, eps=eps))
    leaves = {
        layer: {name: torch.tensor(array, requires_grad=True) for name, array in arrays.items()}
        for layer, arrays in deeplab.parameters.items()
    }
    unused = {"mean": torch.zeros(()), "variance": torch.zeros(())}
    given = {layer: {**unused, **arrays} for layer, arrays in leaves.items()}
    logits = deeplab_torch.forward(given, torch.tensor(deeplab.image))["dec_crop2"]
    loss = functional.cross_entropy(
        logits, torch.tensor(deeplab.labels[:, 0]), torch.tensor(deeplab.weights), ignore_index=255
    )
    loss.backward()
    assert deeplab.loss == pytest.approx(loss.item(), rel=1e-12)
    check_gradients(deeplab.gradients, {k: {name: t.grad for name, t in v.items()} for k, v in leaves.items()})


def test_gradients_only_of_what_is_trained_and_only_what_they_read_is_kept():
    graph = digits_regression()
    training = training_graph(graph, loss=MeanSquaredError(), scores="fc")
    parameters, _ = training.thawed(initial_parameters(graph))
    rng = np.random.default_rng(0)
    x = rng.normal(size=(3, 1, 28, 28))
    feeds = {"image": x, "target": rng.normal(size=(3, 1)), **training.masks(rng, {"image": x})}
    everything = {layer: tuple(names) for layer, names in training.graph.parameter_shapes.items()}
    _, full = loss_and_gradients(training.graph, parameters, feeds, everything)
    some = {"fc": ("bias",), "conv_3": ("weight",), "batchnorm_4": ("scale",)}
    values, part = loss_and_gradients(training.graph, parameters, feeds, some)
    assert {layer: tuple(arrays) for layer, arrays in part.items()} == some
    for layer, (name,) in some.items():
        assert np.array_equal(part[layer][name], full[layer][name])
    assert "conv_1" not in values
    assert "batchnorm_4" not in values, "ReLU reads its own output"


# Optimisers and schedules

OPTIMIZERS = [
    SGD(),
    SGD(momentum=0.0, weight_decay=0.1),
    SGD(momentum=0.8, nesterov=True, weight_decay=0.01),
    AdamW(),
    AdamW(beta1=0.8, beta2=0.9, epsilon=1e-3, weight_decay=0.3),
]


def by_loops(optimizer, p, gradients, rates, decay):
    """One number after each of some updates."""
    v = m = s = 0.0
    for t, (g, rate) in enumerate(zip(gradients, rates, strict=True), start=1):
        if isinstance(optimizer, SGD):
            g = g + decay * p
            v = optimizer.momentum * v + g
            p -= rate * (g + optimizer.momentum * v if optimizer.nesterov else v)
        else:
            m = optimizer.beta1 * m + (1 - optimizer.beta1) * g
            s = optimizer.beta2 * s + (1 - optimizer.beta2) * g * g
            mean, square = m / (1 - optimizer.beta1**t), s / (1 - optimizer.beta2**t)
            p -= rate * (mean / (math.sqrt(square) + optimizer.epsilon) + decay * p)
    return p


def updated(optimizer, start, gradients, rates):
    parameters, state = start, optimizer.start(start)
    for gradient, rate in zip(gradients, rates, strict=True):
        parameters, state = optimizer.update(parameters, gradient, state, rate)
    assert state.updates == len(rates)
    return parameters


@pytest.fixture
def descent():
    """Parameters that decay and that do not, five gradients and learning rates."""
    rng = np.random.default_rng(0)
    shapes = {"a": {"weight": (2, 3), "bias": (2,)}, "b": {"scale": (3,), "slope": (1,)}}

    def draw():
        return {k: {name: rng.normal(size=shape) for name, shape in v.items()} for k, v in shapes.items()}

    return draw(), [draw() for _ in range(5)], [0.1, 0.2, 0.05, 0.0, 0.1]


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=str)
def test_optimizers_equal_their_formula(optimizer, descent):
    start, gradients, rates = descent
    before = {k: {name: a.copy() for name, a in v.items()} for k, v in start.items()}
    found = updated(optimizer, start, gradients, rates)
    for layer, arrays in before.items():
        for name, array in arrays.items():
            decay = optimizer.weight_decay if name == "weight" else 0.0
            for i in np.ndindex(array.shape):
                expected = by_loops(optimizer, array[i], [g[layer][name][i] for g in gradients], rates, decay)
                assert found[layer][name][i] == pytest.approx(expected, rel=1e-13)
            assert np.array_equal(start[layer][name], array), "nothing is written to"


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=str)
def test_optimizers_equal_torch(optimizer, descent):
    torch = require_torch()
    start, gradients, rates = descent
    leaves = {(k, name): torch.tensor(a, requires_grad=True) for k, v in start.items() for name, a in v.items()}
    groups = [
        {"params": [t for (_, name), t in leaves.items() if name == "weight"], "weight_decay": optimizer.weight_decay},
        {"params": [t for (_, name), t in leaves.items() if name != "weight"], "weight_decay": 0.0},
    ]
    if isinstance(optimizer, SGD):
        twin = torch.optim.SGD(groups, lr=1, momentum=optimizer.momentum, nesterov=optimizer.nesterov)
    else:
        betas = (optimizer.beta1, optimizer.beta2)
        twin = torch.optim.AdamW(groups, lr=1, betas=betas, eps=optimizer.epsilon)
    for gradient, rate in zip(gradients, rates, strict=True):
        for group in twin.param_groups:
            group["lr"] = rate
        for (layer, name), leaf in leaves.items():
            leaf.grad = torch.tensor(gradient[layer][name])
        twin.step()
    found = updated(optimizer, start, gradients, rates)
    for (layer, name), leaf in leaves.items():
        np.testing.assert_allclose(found[layer][name], leaf.detach(), rtol=1e-12)


def test_optimizers_keep_the_type(descent):
    start, gradients, rates = descent
    single = [{k: {n: a.astype(np.float32) for n, a in v.items()} for k, v in t.items()} for t in (start, *gradients)]
    for optimizer in OPTIMIZERS:
        found = updated(optimizer, single[0], single[1:], rates)
        assert {array.dtype for arrays in found.values() for array in arrays.values()} == {np.dtype(np.float32)}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SGD(momentum=1.0), r"SGD: momentum is 1.0; expected 0 or more, less than 1"),
        (lambda: SGD(weight_decay=-1), r"SGD: weight_decay is -1; expected 0 or more$"),
        (lambda: AdamW(beta2=math.nan), r"AdamW: beta2 is nan; expected 0 or more, less than 1"),
        (lambda: AdamW(epsilon=-1e-8), r"AdamW: epsilon is -1e-08"),
    ],
)
def test_settings_of_optimizers(make, message):
    with pytest.raises(MinicamError, match=message):
        make()


def test_schedules():
    assert [constant(0.5)(step) for step in (0, 7)] == [0.5, 0.5]
    assert polynomial(2.0, 10)(5) == pytest.approx(2 * 0.5**0.9)
    assert polynomial(2.0, 10, power=2, final=1)(5) == pytest.approx(1.25)
    assert cosine(3.0, 8, final=1)(4) == pytest.approx(2)
    assert cosine(3.0, 8, final=1)(100) == pytest.approx(1)
    assert [warm_up(constant(4.0), 0)(step) for step in (0, 1)] == [4, 4]
    assert [warm_up(polynomial(1.0, 4, power=1), 2)(step) for step in range(4)] == [0.5, 0.75, 0.5, 0.25]
    assert [warm_up_constant_decay(3.0, 10, warm=3, decay=2)(step) for step in range(11)] == pytest.approx(
        [1, 2, 3, 3, 3, 3, 3, 3, 3, 1.5, 0]
    )


# Whole runs

FINE = 8


def stripes(rng, samples=24):
    """Images (N, 2, 8, 8) of noise, on which stripes go across, down, or nowhere; labels (N, 1)."""
    x = rng.normal(100, 10, (samples, 2, FINE, FINE))
    labels = rng.integers(0, 3, (samples, 1))
    wave = 10 * np.cos(np.pi * np.arange(FINE))
    for image, (label,) in zip(x, labels, strict=True):
        image += {0: wave[:, None], 1: wave, 2: 0}[label]
    return x, labels


def fresh():
    graph = classifier()
    parameters = initial_parameters(graph, seed=3)
    parameters["data"] = {"mean": np.full(2, 100.0), "std": np.full(2, 10.0)}
    return Network(graph, parameters, ("across", "down", "none"), ((1, 2, 3), (4, 5, 6), (7, 8, 9)))


def settings(**changed):
    given = {"loss": CrossEntropy(), "scores": "fc", "optimizer": AdamW(), "schedule": cosine(0.02, 60), "steps": 60}
    return {**given, "progress": False, **changed}


def same(one, other):
    a, b = one.parameters(np.float64), other.parameters(np.float64)
    return all(np.array_equal(array, b[layer][name]) for layer in a for name, array in a[layer].items())


@pytest.mark.parametrize(
    ("optimizer", "rate"), [(AdamW(), 0.02), (SGD(nesterov=True, weight_decay=1e-4), 0.05)], ids=["AdamW", "SGD"]
)
def test_a_network_learns(optimizer, rate, tmp_path):
    start = fresh()
    net = train(start, stripes, **settings(optimizer=optimizer, schedule=warm_up(cosine(rate, 60), 5)))
    assert net.graph is start.graph
    assert (net.classes, net.colors, net.precision) == (start.classes, start.colors, start.precision)
    x, labels = stripes(np.random.default_rng(1234), 500)
    accuracy = (net.forward(x)["softmax"].argmax(axis=1) == labels[:, 0]).mean()
    assert accuracy > 0.98
    assert (start.forward(x)["softmax"].argmax(axis=1) == labels[:, 0]).mean() < 0.5
    for name in ("mean", "std"):
        assert np.array_equal(net.parameters()["data"][name], start.parameters()["data"][name])
    assert np.array_equal(net.parameters()["conv1"]["bias"], start.parameters()["conv1"]["bias"])
    store.save(net, tmp_path / "net.h5")
    assert same(store.load(tmp_path / "net.h5", device="cpu"), net)


def test_a_segmentation_learns():
    """Every pixel's label is whether it is bright; the upsampler is fixed, and the frame is ignored."""
    b = Builder("image", (1, None, None))
    b.conv_norm(("conv", "norm", "relu"), Conv(4, (2, 2), stride=2))
    b.add("scorer", Conv(2, (1, 1)))
    b.add("up", ConvTranspose(2, (2, 2), stride=2, groups=2))
    graph = b.graph()
    parameters = initial_parameters(graph)
    parameters["up"]["weight"][:] = 1
    network = Network(graph, parameters)

    def batch(rng):
        small = rng.integers(0, 2, (8, 1, 6, 6))
        large = small.repeat(2, axis=2).repeat(2, axis=3)
        labels = large.copy()
        labels[:, :, 0] = labels[:, :, -1] = 255
        return 50 * large + rng.normal(size=large.shape), labels

    loss = CrossEntropy((1.0, 2.0), ignored=255)
    net = train(network, batch, **settings(loss=loss, scores="up", schedule=constant(0.05), fixed=["up"]))
    x, labels = batch(np.random.default_rng(99))
    assert loss.accuracy(net.forward(x)["up"], labels) > 0.98
    assert np.array_equal(net.parameters()["up"]["weight"], np.ones((2, 1, 2, 2)))


def test_a_regression_learns_and_sequences_of_any_length_train():
    graph = vowels_classifier(classes=1)

    def batch(rng, samples=16):
        x, target = rng.normal(size=(samples, 12, rng.integers(5, 9))), rng.uniform(-1, 1, (samples, 1))
        x[:, 3] += 3 * target
        return x, target

    network = Network(graph, initial_parameters(graph))
    net = train(network, batch, **settings(loss=MeanSquaredError(), schedule=cosine(0.01, 300), steps=300))
    x, target = batch(np.random.default_rng(99), 200)
    error = net.forward(x, ["fc"])["fc"] - target
    assert np.mean(error**2) < 0.1 * target.var()


def test_running_statistics_follow_the_batches():
    seen = []

    def batch(rng):
        seen.append(stripes(rng)[0].astype(np.float32))
        return seen[-1], np.zeros((24, 1))

    start = fresh()
    net = train(start, batch, **settings(steps=3, schedule=constant(0.0), momentum=0.3))
    mean, variance = np.zeros(6), np.ones(6)
    for x in seen:
        conv1 = start.forward(x, ["conv1"])["conv1"].astype(np.float64)
        mean = 0.7 * mean + 0.3 * conv1.mean(axis=(0, 2, 3))
        variance = 0.7 * variance + 0.3 * conv1.var(axis=(0, 2, 3), ddof=1)
    np.testing.assert_allclose(net.parameters()["norm1"]["mean"], mean, atol=1e-5)
    np.testing.assert_allclose(net.parameters()["norm1"]["variance"], variance, rtol=1e-5)
    assert np.array_equal(net.parameters()["conv1"]["weight"], start.parameters()["conv1"]["weight"])


# Checkpoints


class Killed(Exception):
    pass


def killed_at(step):
    """The batches, until the one of that step is asked for."""
    count = iter(range(step))

    def batch(rng):
        if next(count, None) is None:
            raise Killed
        return stripes(rng)

    return batch


@pytest.mark.parametrize("optimizer", [AdamW(), SGD()], ids=["AdamW", "SGD"])
def test_a_run_that_was_killed_goes_on_with_the_same_bits(optimizer, tmp_path):
    path = tmp_path / "run.h5"
    given = settings(optimizer=optimizer, steps=11)
    whole = train(fresh(), stripes, **given)
    given |= {"checkpoint": path, "checkpoint_every": 4}
    with pytest.raises(Killed):
        train(fresh(), killed_at(6), **given)
    with h5py.File(path) as file:
        assert (file.attrs["step"], file.attrs["updates"]) == (4, 4)
    with pytest.raises(Killed):
        train(fresh(), killed_at(5), **given)  # steps 4 to 8
    with h5py.File(path) as file:
        assert file.attrs["step"] == 8
    assert same(train(fresh(), stripes, **given), whole)
    assert same(train(fresh(), killed_at(0), **given), whole), "all steps are done"
    assert [p.name for p in tmp_path.iterdir()] == ["run.h5"]
    assert not same(train(fresh(), stripes, **settings(optimizer=optimizer, steps=11, seed=1)), whole)
    with pytest.raises(MinicamError, match=r"run.h5: 11 steps are done already, and only 10 are asked for"):
        train(fresh(), stripes, **{**given, "steps": 10})


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    path = tmp_path_factory.mktemp("checkpoint") / "run.h5"
    train(fresh(), stripes, **settings(steps=2, checkpoint=path))
    return path


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"seed": 1},
            r"of a run with seed 0, and this run has 1; go on with the same, or name another file",
        ),
        ({"optimizer": AdamW(0.8)}, r"with optimizer AdamW\(beta1=0.9, .*this run has AdamW\(beta1=0.8"),
        ({"loss": CrossEntropy(ignored=2)}, r"with loss CrossEntropy\(.*ignored=-1\), and this run has .*ignored=2\)"),
        ({"momentum": 0.2}, r"with momentum 0.1, and this run has 0.2"),
        ({"fixed": ["conv2", "conv1"]}, r"with fixed none, and this run has conv1, conv2"),
    ],
)
def test_a_checkpoint_of_other_settings(changed, message, checkpoint):
    names = {"fixed": {}} if "fixed" in changed else {}
    with pytest.raises(ModelFileError, match=rf"run.h5: .*{message}"):
        train(fresh(), stripes, **settings(steps=3, checkpoint=checkpoint, **{**names, **changed}))


def test_a_checkpoint_of_another_network(checkpoint):
    """Another rate of dropout, or another start."""
    same_parameters = fresh().parameters()
    for network in (Network(classifier(0.5), same_parameters), Network(classifier(), initial_parameters(classifier()))):
        with pytest.raises(ModelFileError, match=r"run.h5: .* a run with network of the digest \w{16}, and this run"):
            train(network, stripes, **settings(checkpoint=checkpoint))


def flipped(data):
    place = data.index(b"minicam-checkpoint") + 3
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


def spoiled_values(path, good):
    """One bit of the weights of conv2 flipped."""
    with h5py.File(good) as file:
        offset = file["parameters/conv2/weight"].id.get_offset()
    data = bytearray(good.read_bytes())
    data[offset] ^= 1
    path.write_bytes(data)


def without_step(path, good):
    path.write_bytes(good.read_bytes())
    with h5py.File(path, "r+") as file:
        del file.attrs["step"]


def without_an_array(path, good):
    path.write_bytes(good.read_bytes())
    with h5py.File(path, "r+", libver=("v108", "v108")) as file:
        del file["optimizer/mean/conv2/weight"]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda path, good: path.write_bytes(good.read_bytes()[:-100]), "it is truncated"),
        (lambda path, good: path.write_bytes(b""), r"is empty \(0 bytes\)"),
        (lambda path, good: path.write_bytes(b"PK\x03\x04" + bytes(100)), "a ZIP archive"),
        (lambda path, good: store.save(fresh(), path), "its attribute format is 'minicam'; expected 'minicam-check"),
        (spoiled_values, r"/parameters/conv2/weight: the values have the SHA-256 digest"),
        (without_step, r"has step and updates \[None, 2\]; expected whole numbers"),
        (without_an_array, r"/optimizer/mean/conv2/weight: is missing; expected the arrays of this"),
        (lambda path, good: path.mkdir(), "is a folder"),
    ],
)
def test_a_spoiled_checkpoint(spoil, message, checkpoint, tmp_path):
    path = tmp_path / "other.h5"
    spoil(path, checkpoint)
    with pytest.raises(ModelFileError, match=rf"other.h5: .*{message}"):
        train(fresh(), stripes, **settings(checkpoint=path))


def test_a_checkpoint_that_cannot_be_written_stops_before_the_first_step(tmp_path):
    with pytest.raises(ModelFileError, match=r"run.h5: there is no folder .*missing; create it first"):
        train(fresh(), killed_at(0), **settings(checkpoint=tmp_path / "missing" / "run.h5"))


# What stops a run


@pytest.mark.filterwarnings("error")
def test_a_loss_that_is_not_finite_stops_and_leaves_the_last_checkpoint(tmp_path):
    path = tmp_path / "run.h5"

    def rate(step):
        return 1e300 if step == 5 else 0.01

    given = settings(optimizer=SGD(), schedule=rate, checkpoint=path, checkpoint_every=2)
    with pytest.raises(MinicamError, match=r"loss is (nan|inf) at step 6 with learning rate 0.01; try a"):
        train(fresh(), stripes, **{**given, "checkpoint_every": 4})
    with h5py.File(path) as file:
        assert file.attrs["step"] == 4
    path.unlink()
    with pytest.raises(ModelFileError, match=r"run.h5: /\S+: holds NaN or infinity after step 6; not written"):
        train(fresh(), stripes, **given)
    with h5py.File(path) as file:
        assert file.attrs["step"] == 4
    with pytest.raises(MinicamError, match=r"of layer '\w+' is not finite after 6 steps; try a lower"):
        train(fresh(), stripes, **settings(optimizer=SGD(), schedule=rate, steps=6))


def spoiled(x):
    x[0, 0, 0, 0] = math.nan
    return x


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        (lambda rng: (spoiled(np.ones((2, 2, 8, 8))), np.zeros((2, 1))), r"at step 0 .*NaN or infinity in image"),
        (lambda rng: (np.ones((2, 2, 8, 8)), np.zeros((1, 1))), r"of step 0 has 2 samples and 1 targets"),
        (lambda rng: (np.ones((0, 2, 8, 8)), np.zeros((0, 1))), r"of step 0 has 0 samples and 0 targets"),
        (lambda rng: (np.ones((2, 3, 8, 8)), np.zeros((2, 1))), r"'image' was given an array of shape \(2, 3, 8, 8\)"),
        (lambda rng: (np.ones((2, 2, 8, 8)), np.zeros(2)), r"'target' was given an array of shape \(2,\); expected"),
        (lambda rng: (np.ones((2, 2, 8, 8)), np.full((2, 1), 3)), r"2 labels are neither a class, 0 to 2, nor"),
        (lambda rng: (np.ones((1, 2, 1, 1)), np.zeros((1, 1))), r"layer 'norm1' \(BatchStatisticsNorm\): a batch of"),
        (lambda rng: np.ones((2, 2, 8, 8)), r"of step 0 is a ndarray; expected \(x, target\)"),
    ],
)
def test_batches_that_do_not_fit(batch, message):
    with pytest.raises(MinicamError, match=message):
        train(fresh(), batch, **settings())


def test_a_network_with_two_inputs_is_not_trained():
    nodes = (Node("a", Dense(2), ("x",)), Node("b", Dense(2), ("y",)), Node("sum", Add(), ("a", "b")))
    graph = Graph({"x": (3,), "y": (3,)}, nodes, ("sum",))
    with pytest.raises(LayerError, match=r"has the inputs x, y; expected a single one"):
        train(Network(graph, initial_parameters(graph)), stripes, **settings(scores="sum"))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"steps": -1}, "steps is -1; expected 0 or more"),
        ({"checkpoint_every": 0}, "checkpoint_every is 0; expected 1 or more"),
        ({"momentum": 1.5}, "momentum is 1.5; expected 0 to 1"),
        ({"fixed": "conv1"}, r"fixed is the string 'conv1'; expected a list of layer names: \['conv1'\]"),
        ({"schedule": constant(-1.0)}, "gives the learning rate -1.0 at step 0; expected 0 or more"),
        ({"schedule": constant(math.nan)}, "gives the learning rate nan at step 0"),
    ],
)
def test_arguments_of_train(changed, message):
    with pytest.raises(MinicamError, match=message):
        train(fresh(), stripes, **settings(**changed))


# Progress


def test_progress_in_the_log(caplog, monkeypatch):
    monkeypatch.setattr(progress, "LINE_EVERY", 0.0)
    with caplog.at_level(logging.INFO, "minicam"):
        train(fresh(), stripes, **settings(steps=3, progress=True))
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 3
    number = r"[\d.e+-]+"
    assert all(
        re.fullmatch(rf"step \d of 3: loss {number}, accuracy {number} %, {number} steps/s, \d+:\d\d:\d\d left", line)
        for line in lines
    )


def test_progress_as_a_bar(capsys, monkeypatch):
    pytest.importorskip("tqdm")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setattr(progress, "BAR_EVERY", 0.0)
    train(fresh(), stripes, **settings(steps=3, progress=True))
    shown = capsys.readouterr().err
    assert "3/3" in shown
    assert "accuracy" in shown


def test_progress_without_tqdm(caplog, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setitem(sys.modules, "tqdm", None)
    with caplog.at_level(logging.INFO, "minicam"):
        train(fresh(), stripes, **settings(steps=2, progress=True))
    assert "step 2 of 2: loss" in caplog.text


def test_without_progress_nothing_is_written(caplog, capsys):
    with caplog.at_level(logging.INFO, "minicam"):
        train(fresh(), stripes, **settings(steps=2))
    assert not caplog.records
    assert capsys.readouterr() == ("", "")
