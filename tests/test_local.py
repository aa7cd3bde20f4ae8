"""Patches, and the backward pass inside boxes, against the whole arrays and the plain backward pass."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import segmenter, with_random_parameters

from minicam.network import Network
from minicam.ops import (
    Add,
    AveragePool,
    BatchNorm,
    Concat,
    Conv,
    ConvTranspose,
    Crop,
    LayerNorm,
    MaxPool,
    Relu,
    Softmax,
)
from minicam.patches import Patch, bounding_box, whole
from minicam.zoo import deeplabv3plus_resnet18, initial_parameters
from minicam.zoo.builder import Builder

RANDOM = np.random.default_rng(0)


def test_a_patch_knows_its_whole():
    patch = Patch(np.ones((2, 1, 2)), (3, 1), (5, 4))
    assert patch.shape == (2, 5, 4)
    assert patch.box == (slice(3, 4), slice(1, 3))
    expected = np.zeros((2, 5, 4))
    expected[:, 3, 1:3] = 1
    np.testing.assert_array_equal(patch.full(), expected)


def test_a_whole_patch_is_the_array_itself():
    array = np.ones((2, 3, 4))
    assert whole(array, 2).full() is array


def test_the_sum_of_patches_is_the_sum_of_their_wholes():
    a = Patch(RANDOM.standard_normal((2, 2, 3)), (0, 1), (6, 7))
    b = Patch(RANDOM.standard_normal((2, 1, 4)), (4, 3), (6, 7))
    total = a + b
    assert total.box == (slice(0, 5), slice(1, 7))
    np.testing.assert_array_equal(total.full(), a.full() + b.full())


def test_the_bounding_box_of_a_mask():
    mask = np.zeros((4, 5, 6), bool)
    mask[1, 2, 3] = mask[2, 2, 5] = True
    assert bounding_box(mask) == (slice(1, 3), slice(2, 3), slice(3, 6))
    assert bounding_box(np.zeros((3, 4), bool)) == (slice(0, 0), slice(0, 0))


def check(net: Network, seed_layer: str, layers: list[str], x: np.ndarray, corner, size) -> None:
    """A random seed inside a box, backward to `layers` inside boxes and in full."""
    values = net.forward(x, {seed_layer, *net.graph.reads([seed_layer], layers)})
    space = values[seed_layer].shape[2:]
    box = tuple(min(s, full - c) for s, full, c in zip(size, space, corner, strict=True))
    patch = Patch(RANDOM.standard_normal((len(x), values[seed_layer].shape[1], *box)), corner, space)
    expected = net.backward(values, {seed_layer: patch.full()}, layers)
    found = net.backward(values, {seed_layer: patch}, layers)
    for layer in layers:
        peak = np.abs(expected[layer]).max()
        np.testing.assert_allclose(found[layer].full(), expected[layer], atol=1e-12 * peak + 1e-300)


CHAINS = {
    "convolution": ((2, 13, 11), Conv(3, (3, 3), padding=1)),
    "strided and dilated": ((2, 13, 11), Conv(3, (3, 2), stride=(2, 3), dilation=(2, 1), padding=((2, 0), (0, 1)))),
    "grouped": ((4, 13, 11), Conv(6, (3, 3), groups=2)),
    "max pooling": ((2, 13, 11), MaxPool((3, 3), stride=2, padding=1)),
    "average pooling": ((2, 13, 11), AveragePool((2, 3), stride=(2, 1), padding=1, count_padding=False)),
    "upsampling": ((2, 13, 11), ConvTranspose(2, (4, 4), stride=2, cropping=1, groups=2)),
    "upsampling, dilated": ((2, 13, 11), ConvTranspose(3, (3, 3), stride=2, dilation=2, cropping=((1, 0), (0, 2)))),
    "upsampling with gaps": ((2, 13, 11), ConvTranspose(3, (1, 2), stride=3)),
    "pointwise": ((2, 13, 11), BatchNorm()),
    "over the sample": ((2, 13, 11), LayerNorm("sample")),
    "sequence": ((2, 40), Conv(3, (5,), dilation=3, padding=((12, 0),))),
    "volume": ((2, 7, 8, 9), Conv(3, (3, 3, 3), padding=1)),
}


@pytest.mark.parametrize("name", CHAINS)
@settings(max_examples=15, deadline=None, derandomize=True)
@given(data=st.data())
def test_a_box_gives_the_same_gradient_as_the_whole(name, data):
    shape, op = CHAINS[name]
    b = Builder("x", shape)
    b.add("before", Relu())
    b.add("op", op)
    b.add("after", Relu())
    net = with_random_parameters(b)
    space = net.graph.shapes(net.graph.inputs)["after"][1:]
    corner = tuple(data.draw(st.integers(0, size - 1)) for size in space)
    size = tuple(data.draw(st.integers(1, 4)) for _ in space)
    check(net, "after", ["before", "x"], RANDOM.standard_normal((1, *shape)), corner, size)


def test_branches_of_different_reach_are_joined():
    b = Builder("x", (2, 20, 20))
    stem = b.add("stem", Conv(4, (1, 1)))
    wide = b.add("wide", Conv(4, (3, 3), dilation=5, padding=5))
    narrow = b.add("narrow", Conv(4, (1, 1)), stem)
    both = b.add("both", Concat(), wide, narrow)
    b.add("mix", Conv(4, (3, 3), padding=1), both)
    b.add("sum", Add(), "mix", stem)
    b.add("scores", Softmax())
    net = with_random_parameters(b)
    check(net, "scores", ["stem", "both"], RANDOM.standard_normal((2, 2, 20, 20)), (9, 0), (2, 3))


def test_a_crop_shifts_the_box():
    b = Builder("x", (2, 11, 12))
    b.add("up", ConvTranspose(2, (4, 4), stride=2, groups=2))
    b.add("crop", Crop(), "up", "x")
    net = with_random_parameters(b)
    check(net, "crop", ["x"], RANDOM.standard_normal((1, 2, 11, 12)), (4, 10), (3, 2))


@pytest.mark.parametrize("corner", [(0, 0), (50, 61), (105, 137)])
def test_the_whole_network(corner):
    graph = deeplabv3plus_resnet18(input_shape=(3, 106, 138))
    net = Network(graph, initial_parameters(graph, seed=3))
    x = RANDOM.uniform(-1, 1, (1, 3, 106, 138))
    check(net, "softmax-out", ["dec_relu4", "dec_relu1", "catAspp", "res5b_relu", "res2b_relu"], x, corner, (1, 1))


def test_the_box_of_a_pixel_stays_small():
    graph = deeplabv3plus_resnet18(input_shape=(3, 112, 144))
    net = Network(graph, initial_parameters(graph))
    layers = ["dec_relu4", "dec_relu1"]
    values = net.forward(np.zeros((1, 3, 112, 144)), {"softmax-out", *graph.reads(["softmax-out"], layers)})
    seed = Patch(np.ones((1, 11, 1, 1)), (50, 60), (112, 144))
    found = net.backward(values, {"softmax-out": seed}, layers)
    assert found["dec_relu4"].values.shape == (1, 256, 2, 2)
    assert max(found["dec_relu1"].values.shape[2:]) <= 4


def test_a_small_segmenter_in_float32():
    net = segmenter()
    x = RANDOM.uniform(0, 255, (1, 3, 18, 24)).astype(np.float32)
    values = net.forward(x, {"softmax", *net.graph.reads(["softmax"], ["relu1"])})
    seed = Patch(np.ones((1, 3, 2, 2), np.float32), (5, 7), (18, 24))
    seed.values[:, 1:] = 0
    found = net.backward(values, {"softmax": seed}, ["relu1"])["relu1"].full()
    assert found.dtype == np.float32
    expected = net.backward(values, {"softmax": seed.full()}, ["relu1"])["relu1"]
    np.testing.assert_allclose(found, expected, atol=1e-6 * np.abs(expected).max())
