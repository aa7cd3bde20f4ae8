"""The graph: its checks, what forward computes and keeps, and where backward goes."""

import weakref
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import pytest

from minicam import Graph, LayerError, Node
from minicam.ops import (
    Add,
    AveragePool,
    BatchNorm,
    Concat,
    Conv,
    ConvTranspose,
    Crop,
    Dense,
    Flatten,
    GlobalAveragePool,
    GlobalMaxPool,
    LayerNorm,
    MaxPool,
    Normalize,
    Op,
    Relu,
    Softmax,
)


@dataclass(frozen=True)
class Square(Op):
    """y = x^2; notes down what is asked of it."""

    log: list = field(default_factory=list)
    reads: ClassVar[frozenset[str]] = frozenset({"x"})

    def forward(self, x):
        self.log.append("forward")
        return x * x

    def backward(self, dy, y, x):
        self.log.append("backward")
        return (2 * x * dy,)


@dataclass(frozen=True)
class Increment(Op):
    """y = x + 1; notes down how many of all the arrays that it made are still there."""

    made: list
    alive: list

    def forward(self, x):
        y = x + 1
        self.made.append(weakref.ref(y))
        self.alive.append(sum(made() is not None for made in self.made))
        return y

    def backward(self, dy, y, x):
        return (dy,)


@dataclass(frozen=True)
class Forbidden(Op):
    """The identity, which must not be walked backward."""

    def forward(self, x):
        return x

    def backward(self, dy, y, x):
        raise AssertionError("backward left the path")


def graph(*nodes, shape=(1, 4)):
    """Nodes as (name, op, *inputs) on the input x; the last one is the output."""
    listed = tuple(Node(name, op, tuple(inputs)) for name, op, *inputs in nodes)
    return Graph({"x": shape}, listed, (listed[-1].name,))


SIZES = (7, 6, 5)


def rich(rank, sizes=None):
    """Branches that join, an input read twice, a layer read twice by one node, a crop, and ops that read x or y."""

    def all_axes(size):
        return (size,) * rank

    return graph(
        ("data", Normalize(), "x"),
        ("conv", Conv(4, all_axes(3), padding=1), "data"),
        ("relu", Relu(), "conv"),
        ("pool", MaxPool(all_axes(2), stride=2), "relu"),
        ("norm", BatchNorm(), "pool"),
        ("mean", AveragePool(all_axes(3), padding=1), "pool"),
        ("sum", Add(), "norm", "mean", "norm"),
        ("up", ConvTranspose(4, all_axes(6), stride=2, cropping=1, groups=4), "sum"),
        ("crop", Crop(), "up", "relu"),
        ("cat", Concat(), "relu", "crop"),
        ("layernorm", LayerNorm(), "cat"),
        ("scorer", Conv(3, all_axes(1)), "layernorm"),
        ("softmax", Softmax(), "scorer"),
        shape=(2, *(SIZES[:rank] if sizes is None else sizes)),
    )


def random_parameters(graph, seed=0):
    random = np.random.default_rng(seed)
    return {
        layer: {
            name: random.uniform(0.5, 1.5, shape) * random.choice((-1, 1), shape) ** (name == "weight")
            for name, shape in shapes.items()
        }
        for layer, shapes in graph.parameter_shapes.items()
    }


def random_input(graph, samples=1, seed=1):
    return np.random.default_rng(seed).standard_normal((samples, *graph.inputs["x"]))


def random_seed(graph, layer, samples=1, seed=2):
    shape = graph.shapes(graph.inputs)[layer]
    return np.random.default_rng(seed).standard_normal((samples, *shape))


def gradients_of(graph, x, seeds, wrt, keep=()):
    parameters = random_parameters(graph)
    return graph.backward(parameters, graph.forward(parameters, {"x": x}, keep), seeds, wrt)


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    for name in expected:
        if isinstance(expected[name], dict):
            assert_same(found[name], expected[name])
        else:
            np.testing.assert_allclose(found[name], expected[name], rtol=1e-12, atol=1e-12, err_msg=name)


# Construction


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        ([("a", Relu(), "x"), ("a", Relu(), "x")], "layer 'a' exists twice"),
        ([("x", Relu(), "x")], "layer 'x' exists twice"),
        ([("a", Relu(), "b")], "layer 'a' reads 'b', which no earlier layer or input provides"),
        ([("a", Relu(), "b"), ("b", Relu(), "x")], "layer 'a' reads 'b', which no earlier"),
        ([("a", Relu(), "a")], "layer 'a' reads 'a', which no earlier"),
        ([("a", Relu(), "x", "x")], "layer 'a': Relu takes 1 inputs, not 2"),
        ([("a", Relu())], "layer 'a': Relu takes 1 inputs, not 0"),
        ([("a", Crop(), "x")], "layer 'a': Crop takes 2 inputs, not 1"),
        ([("a", Add())], "layer 'a': Add takes one or more inputs, not 0"),
        ([("a", Conv(2, (1, 1)), "x")], r"layer 'a' \(Conv\): the input \(1, 4\) has 1 spatial axes; the kernel has 2"),
        ([("a", Conv(2, (5,)), "x")], r"layer 'a' \(Conv\): .*\(2, 0\); the input is too small"),
        ([("a", Conv(1, (2,)), "x"), ("b", Add(), "a", "x")], r"layer 'b' \(Add\): .*do not fit together"),
    ],
)
def test_a_graph_that_cannot_run_is_refused(nodes, message):
    with pytest.raises(LayerError, match=message):
        graph(*nodes)


def test_an_output_must_exist():
    with pytest.raises(LayerError, match="there is no layer 'relu'; did you mean 'relu1'"):
        Graph({"x": (1, 4)}, (Node("relu1", Relu(), ("x",)),), ("relu",))


# Forward


CHAIN = (("first", Relu(), "x"), ("second", Relu(), "first"), ("other", Relu(), "x"))


def test_forward_names_the_layer_that_is_not_there():
    x = np.ones((1, 1, 4))
    with pytest.raises(LayerError, match="there is no layer 'secnd'; did you mean 'second'"):
        graph(*CHAIN).forward({}, {"x": x}, ["secnd"])
    with pytest.raises(LayerError, match="there is no layer 'zz'; there are first, second, other"):
        graph(*CHAIN).forward({}, {"x": x, "zz": x}, ["second"])


def test_forward_names_the_input_that_was_not_fed():
    with pytest.raises(LayerError, match="input x is needed, but was not fed"):
        graph(*CHAIN).forward({}, {}, ["second"])
    with pytest.raises(LayerError, match="input x is needed, but was not fed"):
        graph(*CHAIN).forward({}, {"first": np.ones((1, 1, 4))}, ["second", "x"])


@pytest.mark.parametrize(
    ("fed", "shape", "message"),
    [
        ("x", (1, 1, 2), r"layer 'conv' \(Conv\): .*too small"),
        ("x", (1, 2, 9), "'x'"),
        ("x", (1, 1, 9, 9), "'x'"),
        ("conv", (1, 2, 9), "'conv'"),
        ("conv", (1, 1, 9, 9), "'conv'"),
    ],
)
def test_forward_names_the_layer_that_a_fed_shape_does_not_fit(fed, shape, message):
    g = graph(("conv", Conv(1, (3,)), "x"), ("sum", Add(), "conv"), shape=(1, None))
    with pytest.raises(LayerError, match=message):
        g.forward(random_parameters(g), {fed: np.ones(shape)}, ["sum"])


def test_forward_computes_only_what_is_needed():
    ops = {name: Square() for name in ("a", "b", "c", "aside")}
    g = graph(("a", ops["a"], "x"), ("b", ops["b"], "a"), ("aside", ops["aside"], "a"), ("c", ops["c"], "b"))
    values = g.forward({}, {"x": np.full((1, 1, 4), 2.0)}, ["b"])
    assert {name: op.log for name, op in ops.items()} == {"a": ["forward"], "b": ["forward"], "c": [], "aside": []}
    assert values.keys() == {"b"}
    assert np.all(values["b"] == 16)


def test_a_fed_layer_is_taken_as_it_is_and_nothing_before_it_runs():
    first, second = Square(), Square()
    g = graph(("a", first, "x"), ("b", second, "a"))
    values = g.forward({}, {"a": np.full((1, 1, 4), 3.0)}, ["a", "b"])
    assert np.all(values["a"] == 3)
    assert np.all(values["b"] == 9)
    assert first.log == []


def test_an_input_can_be_kept():
    x = np.ones((1, 1, 4))
    values = graph(*CHAIN).forward({}, {"x": x}, ["x", "second", "second"])
    assert values.keys() == {"x", "second"}
    assert np.array_equal(values["x"], x)


@pytest.mark.parametrize(("keep", "most"), [(["9"], 2), (["3", "9"], 3), ([str(i) for i in range(10)], 10)])
def test_an_array_is_freed_after_its_last_use(keep, most):
    made, alive = [], []
    nodes = [(str(i), Increment(made, alive), str(i - 1) if i else "x") for i in range(10)]
    values = graph(*nodes).forward({}, {"x": np.zeros((1, 1, 4))}, keep)
    assert max(alive) == most
    assert sum(array() is not None for array in made) == len(keep)
    assert np.all(values["9"] == 10)


def test_an_array_is_held_until_its_last_reader_has_run():
    made, alive = [], []
    nodes = [(str(i), Increment(made, alive), str(i - 1) if i else "x") for i in range(6)]
    values = graph(*nodes, ("sum", Add(), "5", "1")).forward({}, {"x": np.zeros((1, 1, 4))}, ["sum"])
    assert max(alive) == 3
    assert np.all(values["sum"] == 8)
    assert all(array() is None for array in made)


# Backward: errors


def branches():
    return graph(
        ("left", Relu(), "x"), ("right", Relu(), "x"), ("left2", Relu(), "left"), ("sum", Add(), "left2", "right")
    )


def backward(seeds, wrt, feeds=("x",)):
    ones = np.ones((1, 1, 4))
    g = branches()
    values = g.forward({}, dict.fromkeys(feeds, ones), [])
    return g.backward({}, values, dict.fromkeys(seeds, ones), wrt)


@pytest.mark.parametrize(
    ("seeds", "wrt", "message"),
    [
        (["sum"], ["lft"], "there is no layer 'lft'; did you mean 'left'"),
        (["smu"], ["left"], "there is no layer 'smu'; did you mean 'sum'"),
        (["left2"], ["right"], "layer 'left2' does not depend on layer 'right'"),
        (["left"], ["left2"], "layer 'left' does not depend on layer 'left2'"),
        (["right", "left"], ["left2"], "layer 'right' or layer 'left' does not depend on layer 'left2'"),
        (["sum", "right"], ["left"], "layer 'right' does not depend on layer 'left'"),
        (["sum", "x"], ["left", "right"], "layer 'x' does not depend on layer 'left' or layer 'right'"),
        (["left2"], ["left", "right"], "layer 'left2' does not depend on layer 'right'"),
    ],
)
def test_a_seed_and_a_layer_that_do_not_meet_are_named(seeds, wrt, message):
    with pytest.raises(LayerError, match=message):
        backward(seeds, wrt)


@pytest.mark.parametrize("shape", [(1, 1, 5), (1, 2, 4), (1, 4), (4,), (1, 1, 1, 4), ()])
def test_a_seed_of_the_wrong_shape_is_refused(shape):
    g = branches()
    values = g.forward({}, {"x": np.ones((1, 1, 4))}, ["sum"])
    with pytest.raises(LayerError, match=r"the seed for layer 'sum' has shape .*; expected \(1, 1, 4\)"):
        g.backward({}, values, {"sum": np.ones(shape)}, ["left"])


def test_a_seed_must_have_as_many_samples_as_the_values():
    g = branches()
    values = g.forward({}, {"x": np.ones((3, 1, 4))}, ["sum"])
    with pytest.raises(LayerError, match=r"has shape \(2, 1, 4\); expected \(3, 1, 4\)"):
        g.backward({}, values, {"sum": np.ones((2, 1, 4))}, ["left"])


def test_what_is_fed_depends_on_nothing():
    with pytest.raises(LayerError, match="layer 'left2' does not depend on layer 'x'"):
        backward(["left2"], ["x"], feeds=["x", "left"])
    with pytest.raises(LayerError, match="layer 'left' does not depend on layer 'x'"):
        backward(["left"], ["x"], feeds=["x", "left"])
    assert np.all(backward(["left2"], ["left"], feeds=["x", "left"])["left"] == 1)
    assert np.all(backward(["sum"], ["x"])["x"] == 2)
    assert np.all(backward(["sum"], ["x"], feeds=["x", "left"])["x"] == 1), "only the right branch is left"


def test_the_reference_of_a_crop_is_no_dependency():
    g = graph(("small", MaxPool((2,), stride=2), "x"), ("crop", Crop(), "x", "small"))
    x = np.arange(4.0).reshape(1, 1, 4)
    values = g.forward({}, {"x": x}, ["crop"])
    seed = {"crop": np.array([[[5.0, 7.0]]])}
    assert np.array_equal(g.backward({}, values, seed, ["x"])["x"], [[[0, 5, 7, 0]]])
    with pytest.raises(LayerError, match="layer 'crop' does not depend on layer 'small'"):
        g.backward({}, values, seed, ["small"])


# Backward: the walk


def test_fan_out_accumulates():
    g = graph(("a", Square(), "x"), ("b", Square(), "a"), ("c", Square(), "a"), ("sum", Add(), "a", "b", "c", "a"))
    x = np.full((1, 1, 4), 3.0)
    found = g.backward({}, g.forward({}, {"x": x}, []), {"sum": np.ones_like(x)}, ["a", "x"])
    assert np.all(found["a"] == 1 + 2 * 9 + 2 * 9 + 1)
    assert np.all(found["x"] == 38 * 2 * 3)


def test_one_array_handed_to_both_inputs_of_add_is_not_corrupted():
    g = graph(("a", Square(), "x"), ("c", Square(), "x"), ("s", Add(), "a", "c"), ("t", Add(), "s", "a"))
    x = np.full((1, 1, 4), 3.0)
    seed = np.ones_like(x)
    found = g.backward({}, g.forward({}, {"x": x}, []), {"t": seed}, ["a", "c", "s", "t"])
    assert {name: gradient.flat[0] for name, gradient in found.items()} == {"a": 2, "c": 1, "s": 1, "t": 1}
    assert np.all(seed == 1)


def test_only_the_path_is_walked():
    """Neither what hangs on wrt without leading to the seed, nor what leads to the seed without hanging on wrt."""
    g = graph(
        ("before", Forbidden(), "x"),
        ("wrt", Square(), "before"),
        ("aside", Forbidden(), "wrt"),
        ("beside", Forbidden(), "before"),
        ("seed", Add(), "wrt", "beside"),
        ("after", Forbidden(), "seed"),
    )
    x = np.full((1, 1, 4), 3.0)
    values = g.forward({}, {"x": x}, ["aside", "after"])
    assert np.all(g.backward({}, values, {"seed": x}, ["wrt"])["wrt"] == 3)


def test_a_layer_can_be_seed_and_wrt_at_once():
    g = graph(("a", Square(), "x"), ("b", Square(), "a"))
    x = np.full((1, 1, 4), 3.0)
    values = g.forward({}, {"x": x}, [])
    assert np.all(g.backward({}, values, {"a": x}, ["a"])["a"] == 3)
    assert np.all(g.backward({}, values, {"a": x, "b": x}, ["a"])["a"] == 3 + 3 * 18)


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_gradients_are_the_slopes_that_finite_differences_measure(rank):
    g = rich(rank)
    parameters = random_parameters(g)
    x = random_input(g)
    seed = random_seed(g, "softmax")
    values = g.forward(parameters, {"x": x}, ["softmax"])
    layers = ["x", *(node.name for node in g.nodes)]
    gradients = g.backward(parameters, values, {"softmax": seed}, layers)
    everything = g.forward(parameters, {"x": x}, layers)
    random = np.random.default_rng(3)
    step = 1e-6
    for layer in layers:
        # Where ReLU gave 0 a maximum may be tied, and has no slope: those are left alone.
        direction = random.standard_normal(everything[layer].shape) * (everything[layer] != 0)
        high, low = (
            g.forward(parameters, {"x": x, layer: everything[layer] + sign * step * direction}, ["softmax"])["softmax"]
            for sign in (1, -1)
        )
        measured = ((high - low) * seed).sum() / (2 * step)
        expected = (gradients[layer] * direction).sum()
        assert measured == pytest.approx(expected, rel=1e-5, abs=1e-8), layer


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_parameter_gradients_are_the_slopes_that_finite_differences_measure(rank):
    g = rich(rank)
    parameters = random_parameters(g)
    feeds = {"x": random_input(g)}
    seed = random_seed(g, "softmax")
    found = g.backward_params(parameters, g.forward(parameters, feeds, []), {"softmax": seed})
    assert found.keys() == parameters.keys()
    random = np.random.default_rng(3)
    step = 1e-6
    for layer, arrays in parameters.items():
        assert found[layer].keys() == arrays.keys()
        for name, array in arrays.items():
            assert found[layer][name].shape == array.shape
            direction = random.standard_normal(array.shape)
            high, low = (
                g.forward({**parameters, layer: {**arrays, name: array + sign * step * direction}}, feeds, ["softmax"])[
                    "softmax"
                ]
                for sign in (1, -1)
            )
            measured = ((high - low) * seed).sum() / (2 * step)
            expected = (found[layer][name] * direction).sum()
            assert measured == pytest.approx(expected, rel=1e-5, abs=1e-8), (layer, name)


def test_parameter_gradients_stop_at_what_is_fed():
    g = rich(1)
    parameters = random_parameters(g)
    everything = g.forward(parameters, {"x": random_input(g)}, [node.name for node in g.nodes])
    seed = {"softmax": random_seed(g, "softmax")}
    values = g.forward(parameters, {"cat": everything["cat"]}, [])
    found = g.backward_params(parameters, values, seed)
    assert found.keys() == {"layernorm", "scorer"}
    values = g.forward(parameters, {"scorer": everything["scorer"]}, [])
    assert g.backward_params(parameters, values, seed) == {}


def test_seeds_at_several_layers_add_up():
    g = rich(2)
    x = random_input(g)
    seeds = {name: random_seed(g, name) for name in ("softmax", "scorer", "sum", "relu")}
    together = gradients_of(g, x, seeds, ["relu", "x"])
    apart = [gradients_of(g, x, {name: seed}, ["relu", "x"]) for name, seed in seeds.items()]
    assert_same(together, {name: sum(gradients[name] for gradients in apart) for name in ("relu", "x")})


def test_several_layers_from_one_pass_equal_separate_passes():
    g = rich(2)
    x = random_input(g)
    seeds = {"softmax": random_seed(g, "softmax")}
    layers = ["x", *(node.name for node in g.nodes)]
    together = gradients_of(g, x, seeds, layers)
    assert_same(together, {layer: gradients_of(g, x, seeds, [layer])[layer] for layer in layers})


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_it_does_not_matter_which_values_were_kept(rank):
    g = rich(rank)
    x = random_input(g)
    seeds = {"softmax": random_seed(g, "softmax")}
    layers = ["x", *(node.name for node in g.nodes)]
    everything = gradients_of(g, x, seeds, layers, keep=layers)
    for keep in ([], ["softmax"], ["relu", "up"], g.reads(seeds, layers)):
        assert_same(gradients_of(g, x, seeds, layers, keep), everything)


def test_reads_is_all_that_backward_needs(monkeypatch):
    g = rich(2)
    parameters = random_parameters(g)
    feeds = {"x": random_input(g)}
    seeds = {"softmax": random_seed(g, "softmax")}
    layers = ["x", *(node.name for node in g.nodes)]
    kept = {layer: g.forward(parameters, feeds, g.reads(seeds, [layer])) for layer in layers}

    def again(*arguments):
        raise AssertionError("backward ran forward again")

    monkeypatch.setattr(Graph, "forward", again)
    for layer, values in kept.items():
        g.backward(parameters, values, seeds, [layer])


def test_reads_names_only_what_is_looked_inside():
    g = rich(2)
    assert g.reads(["softmax"], ["scorer"]) == {"softmax"}
    assert g.reads(["softmax"], ["cat"]) == {"softmax", "cat"}
    assert g.reads(["softmax"], ["x"]) == {"softmax", "cat", "relu"}, "softmax y, layernorm x, pool x and relu y"
    assert g.reads(["sum"], ["norm"]) == set()


def test_what_was_not_kept_is_computed_anew_once():
    first, second = Square(), Square()
    g = graph(("a", first, "x"), ("b", second, "a"))
    x = np.full((1, 1, 4), 3.0)
    values = g.forward({}, {"x": x}, ["b"])
    g.backward({}, values, {"b": x}, ["x"])
    assert first.log == ["forward", "forward", "backward"]
    assert second.log == ["forward", "backward"], "the seed's own value is not read"


# Samples


def classifier(pool):
    """With the ops that flatten, so that every op which could mix samples up is in one of the graphs."""
    return graph(
        ("conv", Conv(3, (2, 2)), "x"),
        ("pool", pool, "conv"),
        ("flat", Flatten(), "pool"),
        ("dense", Dense(4), "flat"),
        ("softmax", Softmax(), "dense"),
        shape=(2, 4, 5),
    )


MANY = pytest.mark.parametrize(
    "g",
    [rich(1), rich(2), rich(3), *map(classifier, (GlobalAveragePool(), GlobalMaxPool(), MaxPool((2, 2))))],
    ids=["rich1", "rich2", "rich3", "average", "maximum", "windows"],
)


@MANY
@pytest.mark.parametrize("kept", ["nothing", "everything"])
def test_a_batch_equals_its_samples(g, kept):
    parameters = random_parameters(g)
    layers = ["x", *(node.name for node in g.nodes)]
    keep = layers if kept == "everything" else []
    xs, seeds = random_input(g, samples=3), random_seed(g, "softmax", samples=3)

    def one_pass(x, seed):
        values = g.forward(parameters, {"x": x}, keep)
        seed = {"softmax": seed}
        return (
            g.forward(parameters, {"x": x}, layers),
            g.backward(parameters, values, seed, layers),
            g.backward_params(parameters, values, seed),
        )

    apart = [one_pass(xs[i : i + 1], seeds[i : i + 1]) for i in range(3)]
    forward, backward, params = one_pass(xs, seeds)
    for found, part in ((forward, 0), (backward, 1)):
        assert_same(found, {name: np.concatenate([sample[part][name] for sample in apart]) for name in layers})
    assert_same(params, sum_over_samples([sample[2] for sample in apart]))


@MANY
@pytest.mark.parametrize("kept", ["nothing", "everything"])
def test_several_seeds_for_one_sample_give_one_gradient_each(g, kept):
    parameters = random_parameters(g)
    layers = ["x", *(node.name for node in g.nodes)]
    values = g.forward(parameters, {"x": random_input(g)}, layers if kept == "everything" else [])
    seeds = random_seed(g, "softmax", samples=3)
    apart = [g.backward(parameters, values, {"softmax": seeds[i : i + 1]}, layers) for i in range(3)]
    together = g.backward(parameters, values, {"softmax": seeds}, layers)
    assert_same(together, {name: np.concatenate([gradients[name] for gradients in apart]) for name in layers})


@MANY
def test_several_seeds_for_one_sample_add_up_in_the_parameters(g):
    parameters = random_parameters(g)
    values = g.forward(parameters, {"x": random_input(g)}, [])
    seeds = random_seed(g, "softmax", samples=3)
    apart = [g.backward_params(parameters, values, {"softmax": seeds[i : i + 1]}) for i in range(3)]
    assert_same(g.backward_params(parameters, values, {"softmax": seeds}), sum_over_samples(apart))


def sum_over_samples(gradients):
    return {
        layer: {name: sum(sample[layer][name] for sample in gradients) for name in arrays}
        for layer, arrays in gradients[0].items()
    }


# Sizes


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_a_size_left_open_takes_any(rank):
    sized, open_sized = rich(rank), rich(rank, sizes=(None,) * rank)
    assert sized.parameter_shapes == open_sized.parameter_shapes
    assert open_sized.shapes(open_sized.inputs)["softmax"] == (3, *(None,) * rank)
    x, seeds = random_input(sized), {"softmax": random_seed(sized, "softmax")}
    assert_same(gradients_of(open_sized, x, seeds, ["x"]), gradients_of(sized, x, seeds, ["x"]))
    larger = np.ones((1, 2, *(12,) * rank))
    values = open_sized.forward(random_parameters(sized), {"x": larger}, ["softmax"])
    assert values["softmax"].shape == (1, 3, *(12,) * rank)


def test_a_size_that_decides_a_parameter_cannot_be_left_open():
    with pytest.raises(LayerError, match=r"layer 'dense' \(Dense\): .*must be a fixed number"):
        graph(("dense", Dense(2), "x"), shape=(1, None))


def test_shapes_follow_from_any_layer():
    g = rich(1)
    assert g.shapes({"pool": (4, 9)})["mean"] == (4, 9)
    assert "conv" not in g.shapes({"pool": (4, 9)})
