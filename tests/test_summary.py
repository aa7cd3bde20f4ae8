"""Receptive fields against brute force, and the table."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minicam import Graph, Node
from minicam.ops import (
    Add,
    AveragePool,
    Concat,
    Conv,
    ConvTranspose,
    Crop,
    Dense,
    Flatten,
    GlobalAveragePool,
    LayerNorm,
    MaxPool,
    Relu,
    Softmax,
)
from minicam.summary import receptive_fields, table
from minicam.zoo import deeplabv3plus_resnet18


def graph(nodes, shape):
    """Nodes as (name, op, *inputs) on the input x; the last one is the output."""
    listed = tuple(Node(name, op, tuple(inputs)) for name, op, *inputs in nodes)
    return Graph({"x": shape}, listed, (listed[-1].name,))


# Brute force: light one line of the input at a time and see which outputs light up


def spans(g, axis, size):
    """For every output position along `axis` the first and last input position that it depends on, (positions, 2).

    One sample for each line across the axis, 1 on the line and 0 elsewhere. All weights are 1, so nothing cancels.
    """
    rank = len(g.inputs["x"]) - 1
    lines = np.eye(size, dtype=np.float32).reshape(size, 1, *(size if a == axis else 1 for a in range(rank)))
    x = np.broadcast_to(lines, (size, 1, *(size if a == axis else 32 for a in range(rank))))
    parameters = {
        layer: {name: np.full(shape, name == "weight", np.float32) for name, shape in shapes.items()}
        for layer, shapes in g.parameter_shapes.items()
    }
    (output,) = g.outputs
    y = g.forward(parameters, {"x": x}, [output])[output]
    others = tuple(a for a in range(1, y.ndim) if a != 2 + axis)
    lit = y.max(axis=others) > 0  # (lines, positions)
    assert middle_third(lit.T).any(axis=1).all()
    return np.stack([lit.argmax(axis=0), size - 1 - lit[::-1].argmax(axis=0)], axis=1)


def spans_in_the_middle(g, axis, field):
    """The spans of the outputs away from padding and cropping, and the numbers of these outputs."""
    measured = spans(g, axis, 3 * (field.size + 8 * int(field.stride + 1)))
    return middle_third(measured), middle_third(np.arange(len(measured)))


def middle_third(positions):
    return positions[len(positions) // 3 : -(len(positions) // 3)]


def widest(g, axis, field):
    measured, _ = spans_in_the_middle(g, axis, field)
    return (measured[:, 1] - measured[:, 0] + 1).max()


def check_fields(g):
    """Without upsampling an output depends on exactly the predicted positions, from the first to the last."""
    for axis, field in enumerate(receptive_fields(g)[g.outputs[0]]):
        measured, outputs = spans_in_the_middle(g, axis, field)
        predicted = np.stack([field.stride * outputs + field.low, field.stride * outputs + field.high], axis=1)
        assert np.array_equal(measured, predicted)
        assert field.size == field.high - field.low + 1


def windows(rank):
    """Options of a convolution: sizes, strides and dilations per axis, and padding that differs on both sides."""
    axis = st.tuples(st.integers(1, 3), st.integers(1, 2), st.integers(1, 3), st.integers(0, 2), st.integers(0, 2))
    return st.lists(axis, min_size=rank, max_size=rank)


def conv(window):
    kernel, stride, dilation, low, high = zip(*window, strict=True)
    return Conv(2, kernel, stride, dilation, tuple(zip(low, high, strict=True)))


def pool(kind, window):
    kernel, stride, _, low, high = zip(*window, strict=True)
    padding = tuple((min(a, k - 1), min(b, k - 1)) for a, b, k in zip(low, high, kernel, strict=True))
    return kind(kernel, stride, padding)


def branch(window, stride):
    """A convolution with as much padding, split unevenly, as leaves the number of positions to `stride` alone."""
    kernel, _, dilation, low, _ = zip(*window, strict=True)
    reach = [(k - 1) * d for k, d in zip(kernel, dilation, strict=True)]
    padding = tuple((min(a, r), r - min(a, r)) for a, r in zip(low, reach, strict=True))
    return Conv(2, kernel, stride, dilation, padding)


RANKS = pytest.mark.parametrize("rank", [1, 2])


@RANKS
@settings(deadline=None, max_examples=25)
@given(data=st.data())
def test_fields_of_chains_of_convolution_and_pooling(rank, data):
    ops = [
        conv(data.draw(windows(rank))),
        pool(data.draw(st.sampled_from([MaxPool, AveragePool])), data.draw(windows(rank))),
        Relu(),
        conv(data.draw(windows(rank))),
    ]
    ops = data.draw(st.permutations(ops))
    names = ["x", *(str(i) for i in range(len(ops)))]
    check_fields(graph(zip(names[1:], ops, names, strict=False), (1, *(None,) * rank)))


@RANKS
@settings(deadline=None, max_examples=25)
@given(data=st.data())
def test_fields_of_branches_are_the_hull_of_both(rank, data):
    stride = data.draw(st.integers(1, 2))
    nodes = [
        ("stem", conv(data.draw(windows(rank))), "x"),
        ("left", branch(data.draw(windows(rank)), stride), "stem"),
        ("right", branch(data.draw(windows(rank)), stride), "stem"),
        ("join", data.draw(st.sampled_from([Add(), Concat()])), "left", "right"),
        ("head", conv(data.draw(windows(rank))), "join"),
    ]
    check_fields(graph(nodes, (1, *(None,) * rank)))


UPSAMPLING = st.tuples(st.integers(2, 3), st.integers(0, 4), st.integers(0, 2), st.integers(0, 2))


def upsample(stride, more, low, high):
    """A kernel below the stride would leave gaps."""
    return ConvTranspose(2, (stride + more,), stride, cropping=((low, high),))


@settings(deadline=None, max_examples=25)
@given(stem=windows(1), upsampling=UPSAMPLING)
def test_fields_of_upsampling(stem, upsampling):
    """Some outputs depend on one position more than others, by where they lie between the inputs: the most count."""
    g = graph([("stem", conv(stem), "x"), ("up", upsample(*upsampling), "stem")], (1, None))
    (field,) = receptive_fields(g)["up"]
    assert widest(g, 0, field) == field.size


@settings(deadline=None, max_examples=25)
@given(stem=windows(1), stride=st.integers(1, 4), upsampling=UPSAMPLING, head=windows(1))
def test_fields_after_upsampling_are_within_one_step_of_the_grid_before(stem, stride, upsampling, head):
    """Every output lies elsewhere between the inputs, which one interval for all of them cannot express."""
    nodes = [
        ("stem", branch(stem, stride), "x"),
        ("up", upsample(*upsampling), "stem"),
        ("head", branch(head, 1), "up"),
    ]
    g = graph(nodes, (1, None))
    (field,) = receptive_fields(g)["head"]
    assert abs(widest(g, 0, field) - field.size) <= stride


def test_upsampling_back_to_the_size_of_a_skip():
    nodes = [
        ("pool", AveragePool((2,), 2), "x"),
        ("up", ConvTranspose(1, (4,), 2, cropping=1), "pool"),
        ("skip", Conv(1, (3,), padding=1), "x"),
        ("sum", Add(), "up", "skip"),
    ]
    g = graph(nodes, (1, None))
    (field,) = receptive_fields(g)["sum"]
    assert widest(g, 0, field) == field.size == 4


# What has no field


def test_no_field_where_an_output_depends_on_everything_or_strides_differ():
    g = graph(
        [
            ("pool", MaxPool((2,), 2), "x"),
            ("half", Conv(2, (2,), 2), "pool"),
            ("crop", Crop(), "pool", "half"),
            ("mixed", Concat(), "crop", "half"),
            ("norm", LayerNorm(over="sample"), "x"),
            ("global", GlobalAveragePool(), "pool"),
            ("after", Relu(), "global"),
            ("flat", Flatten(), "mixed"),
            ("dense", Dense(3), "flat"),
            ("scores", Softmax(), "dense"),
        ],
        (1, 16),
    )
    fields = receptive_fields(g)
    assert {name for name, field in fields.items() if field is None} == {
        *("mixed", "norm", "global", "after", "flat", "dense", "scores")
    }
    assert fields["crop"] == fields["pool"], "the reference of a crop adds nothing"


# DeepLabv3+


@pytest.mark.parametrize(
    ("layer", "size", "stride"),
    [
        ("data", 1, 1),
        ("conv1_relu", 7, 2),  # 7 x 7
        ("pool1", 11, 4),  # + 2 * 2
        ("res2a_relu", 27, 4),  # + 4 taps * 4
        ("res2b_relu", 43, 4),  # the same again
        ("res3a_relu", 67, 8),  # + 2 * 4 + 2 * 8
        ("res3b_relu", 99, 8),
        ("res4a_relu", 147, 16),
        ("res4b_relu", 211, 16),
        ("res5a_relu", 307, 16),  # + 2 * 16 + 2 * 2 * 16
        ("res5b_relu", 435, 16),  # + 2 * (2 * 2 * 16)
        ("aspp_Relu_1", 435, 16),
        ("aspp_Relu_2", 627, 16),  # + 2 * 6 * 16
        ("aspp_Relu_4", 1011, 16),  # + 2 * 18 * 16
        ("catAspp", 1011, 16),  # the hull of all four
        ("dec_relu1", 1011, 16),
        ("dec_relu2", 43, 4),
    ],
)
def test_fields_of_deeplab(layer, size, stride):
    for field in receptive_fields(deeplabv3plus_resnet18())[layer]:
        assert (field.size, field.stride) == (size, Fraction(stride))


def test_the_head_of_deeplab_sees_one_pixel_step_per_pixel():
    fields = receptive_fields(deeplabv3plus_resnet18())
    assert {field.stride for name in ("dec_upsample1", "dec_relu4", "scorer") for field in fields[name]} == {4}
    assert {field.stride for name in ("dec_upsample2", "softmax-out") for field in fields[name]} == {1}


# The table


def test_the_table_of_deeplab():
    g = deeplabv3plus_resnet18()
    header, *lines, total = table(g).splitlines()
    assert header.split("  ")[0] == "layer"
    assert len(lines) == 99
    assert [line.split()[0] for line in lines] == [node.name for node in g.nodes]
    count = sum(np.prod(shape) for shapes in g.parameter_shapes.values() for shape in shapes.values())
    assert total.split() == ["total", "99", "layers", f"{count:,}"]
    (line,) = (line for line in lines if line.startswith("res2b_relu "))
    assert line.split("  ")[0] == "res2b_relu"
    assert "64 x 180 x 240" in line
    assert line.endswith("43 x 43          4 x 4")


def test_the_columns_of_the_table_are_aligned():
    g = graph(
        [("c", Conv(20, (3, 3), stride=2), "x"), ("relu", Relu(), "c"), ("mean", GlobalAveragePool(), "relu")],
        (3, None, 64),
    )
    assert table(g) == "\n".join(
        [
            "layer  op                 output         parameters  receptive field  stride",
            "c      Conv               20 x any x 31         560  3 x 3            2 x 2",
            "relu   Relu               20 x any x 31              3 x 3            2 x 2",
            "mean   GlobalAveragePool  20 x 1 x 1                 whole input",
            "total  3 layers                                 560",
        ]
    )


def test_a_fraction_of_a_step_is_shown_as_one():
    g = graph([("up", ConvTranspose(1, (4,), 4), "x")], (1, 6))
    assert table(g).splitlines()[1].split() == ["up", "ConvTranspose", "1", "x", "24", "5", "1", "0.25"]


def test_large_sizes_are_written_out():
    g = graph([("relu", Relu(), "x")], (1, 1_234_567))
    assert "1 x 1234567" in table(g)
