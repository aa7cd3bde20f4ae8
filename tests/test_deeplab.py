"""DeepLabv3+ against its published table, against independent twins in JAX and PyTorch, and against identities."""

from pathlib import Path
from types import SimpleNamespace

import deeplab_jax
import deeplab_torch
import jax
import numpy as np
import pytest
from references import require_torch

from minicam import Network, Pixel, Region, explain, load, read_image
from minicam.graph import Values
from minicam.zoo import CAMVID_CLASSES, deeplabv3plus_resnet18, initial_parameters

WATCHED = ("data", "res5b_relu", "catAspp", "dec_relu1", "dec_relu4")
SCORES = ("dec_crop2", "softmax-out")
ROAD, CAR = CAMVID_CLASSES.index("Road"), CAMVID_CLASSES.index("Car")

# layer, op, inputs, output C x H x W at 720 x 960, kernel, stride, padding or cropping (low:high), dilation
TABLE = """
data                Normalize     image                                           3x720x960      -   -   -   -
conv1               Conv          data                                            64x360x480     7   2   3   1
bn_conv1            BatchNorm     conv1                                           64x360x480     -   -   -   -
conv1_relu          Relu          bn_conv1                                        64x360x480     -   -   -   -
pool1               MaxPool       conv1_relu                                      64x180x240     3   2   1   1
res2a_branch2a      Conv          pool1                                           64x180x240     3   1   1   1
bn2a_branch2a       BatchNorm     res2a_branch2a                                  64x180x240     -   -   -   -
res2a_branch2a_relu Relu          bn2a_branch2a                                   64x180x240     -   -   -   -
res2a_branch2b      Conv          res2a_branch2a_relu                             64x180x240     3   1   1   1
bn2a_branch2b       BatchNorm     res2a_branch2b                                  64x180x240     -   -   -   -
res2a               Add           bn2a_branch2b,pool1                             64x180x240     -   -   -   -
res2a_relu          Relu          res2a                                           64x180x240     -   -   -   -
res2b_branch2a      Conv          res2a_relu                                      64x180x240     3   1   1   1
bn2b_branch2a       BatchNorm     res2b_branch2a                                  64x180x240     -   -   -   -
res2b_branch2a_relu Relu          bn2b_branch2a                                   64x180x240     -   -   -   -
res2b_branch2b      Conv          res2b_branch2a_relu                             64x180x240     3   1   1   1
bn2b_branch2b       BatchNorm     res2b_branch2b                                  64x180x240     -   -   -   -
res2b               Add           bn2b_branch2b,res2a_relu                        64x180x240     -   -   -   -
res2b_relu          Relu          res2b                                           64x180x240     -   -   -   -
res3a_branch2a      Conv          res2b_relu                                      128x90x120     3   2   1   1
bn3a_branch2a       BatchNorm     res3a_branch2a                                  128x90x120     -   -   -   -
res3a_branch2a_relu Relu          bn3a_branch2a                                   128x90x120     -   -   -   -
res3a_branch2b      Conv          res3a_branch2a_relu                             128x90x120     3   1   1   1
bn3a_branch2b       BatchNorm     res3a_branch2b                                  128x90x120     -   -   -   -
res3a_branch1       Conv          res2b_relu                                      128x90x120     1   2   0   1
bn3a_branch1        BatchNorm     res3a_branch1                                   128x90x120     -   -   -   -
res3a               Add           bn3a_branch2b,bn3a_branch1                      128x90x120     -   -   -   -
res3a_relu          Relu          res3a                                           128x90x120     -   -   -   -
res3b_branch2a      Conv          res3a_relu                                      128x90x120     3   1   1   1
bn3b_branch2a       BatchNorm     res3b_branch2a                                  128x90x120     -   -   -   -
res3b_branch2a_relu Relu          bn3b_branch2a                                   128x90x120     -   -   -   -
res3b_branch2b      Conv          res3b_branch2a_relu                             128x90x120     3   1   1   1
bn3b_branch2b       BatchNorm     res3b_branch2b                                  128x90x120     -   -   -   -
res3b               Add           bn3b_branch2b,res3a_relu                        128x90x120     -   -   -   -
res3b_relu          Relu          res3b                                           128x90x120     -   -   -   -
res4a_branch2a      Conv          res3b_relu                                      256x45x60      3   2 0:1   1
bn4a_branch2a       BatchNorm     res4a_branch2a                                  256x45x60      -   -   -   -
res4a_branch2a_relu Relu          bn4a_branch2a                                   256x45x60      -   -   -   -
res4a_branch2b      Conv          res4a_branch2a_relu                             256x45x60      3   1   1   1
bn4a_branch2b       BatchNorm     res4a_branch2b                                  256x45x60      -   -   -   -
res4a_branch1       Conv          res3b_relu                                      256x45x60      1   2   0   1
bn4a_branch1        BatchNorm     res4a_branch1                                   256x45x60      -   -   -   -
res4a               Add           bn4a_branch2b,bn4a_branch1                      256x45x60      -   -   -   -
res4a_relu          Relu          res4a                                           256x45x60      -   -   -   -
res4b_branch2a      Conv          res4a_relu                                      256x45x60      3   1   1   1
bn4b_branch2a       BatchNorm     res4b_branch2a                                  256x45x60      -   -   -   -
res4b_branch2a_relu Relu          bn4b_branch2a                                   256x45x60      -   -   -   -
res4b_branch2b      Conv          res4b_branch2a_relu                             256x45x60      3   1   1   1
bn4b_branch2b       BatchNorm     res4b_branch2b                                  256x45x60      -   -   -   -
res4b               Add           bn4b_branch2b,res4a_relu                        256x45x60      -   -   -   -
res4b_relu          Relu          res4b                                           256x45x60      -   -   -   -
res5a_branch2a      Conv          res4b_relu                                      512x45x60      3   1   1   1
bn5a_branch2a       BatchNorm     res5a_branch2a                                  512x45x60      -   -   -   -
res5a_branch2a_relu Relu          bn5a_branch2a                                   512x45x60      -   -   -   -
res5a_branch2b      Conv          res5a_branch2a_relu                             512x45x60      3   1   2   2
bn5a_branch2b       BatchNorm     res5a_branch2b                                  512x45x60      -   -   -   -
res5a_branch1       Conv          res4b_relu                                      512x45x60      1   1   0   1
bn5a_branch1        BatchNorm     res5a_branch1                                   512x45x60      -   -   -   -
res5a               Add           bn5a_branch2b,bn5a_branch1                      512x45x60      -   -   -   -
res5a_relu          Relu          res5a                                           512x45x60      -   -   -   -
res5b_branch2a      Conv          res5a_relu                                      512x45x60      3   1   2   2
bn5b_branch2a       BatchNorm     res5b_branch2a                                  512x45x60      -   -   -   -
res5b_branch2a_relu Relu          bn5b_branch2a                                   512x45x60      -   -   -   -
res5b_branch2b      Conv          res5b_branch2a_relu                             512x45x60      3   1   2   2
bn5b_branch2b       BatchNorm     res5b_branch2b                                  512x45x60      -   -   -   -
res5b               Add           bn5b_branch2b,res5a_relu                        512x45x60      -   -   -   -
res5b_relu          Relu          res5b                                           512x45x60      -   -   -   -
aspp_Conv_1         Conv          res5b_relu                                      256x45x60      1   1   0   1
aspp_BatchNorm_1    BatchNorm     aspp_Conv_1                                     256x45x60      -   -   -   -
aspp_Relu_1         Relu          aspp_BatchNorm_1                                256x45x60      -   -   -   -
aspp_Conv_2         Conv          res5b_relu                                      256x45x60      3   1   6   6
aspp_BatchNorm_2    BatchNorm     aspp_Conv_2                                     256x45x60      -   -   -   -
aspp_Relu_2         Relu          aspp_BatchNorm_2                                256x45x60      -   -   -   -
aspp_Conv_3         Conv          res5b_relu                                      256x45x60      3   1  12  12
aspp_BatchNorm_3    BatchNorm     aspp_Conv_3                                     256x45x60      -   -   -   -
aspp_Relu_3         Relu          aspp_BatchNorm_3                                256x45x60      -   -   -   -
aspp_Conv_4         Conv          res5b_relu                                      256x45x60      3   1  18  18
aspp_BatchNorm_4    BatchNorm     aspp_Conv_4                                     256x45x60      -   -   -   -
aspp_Relu_4         Relu          aspp_BatchNorm_4                                256x45x60      -   -   -   -
catAspp             Concat        aspp_Relu_1,aspp_Relu_2,aspp_Relu_3,aspp_Relu_4 1024x45x60     -   -   -   -
dec_c1              Conv          catAspp                                         256x45x60      1   1   0   1
dec_bn1             BatchNorm     dec_c1                                          256x45x60      -   -   -   -
dec_relu1           Relu          dec_bn1                                         256x45x60      -   -   -   -
dec_upsample1       ConvTranspose dec_relu1                                       256x180x240    8   4   2   1
dec_c2              Conv          res2b_relu                                      48x180x240     1   1   0   1
dec_bn2             BatchNorm     dec_c2                                          48x180x240     -   -   -   -
dec_relu2           Relu          dec_bn2                                         48x180x240     -   -   -   -
dec_crop1           Crop          dec_upsample1,dec_relu2                         256x180x240    -   -   -   -
dec_cat1            Concat        dec_relu2,dec_crop1                             304x180x240    -   -   -   -
dec_c3              Conv          dec_cat1                                        256x180x240    3   1   1   1
dec_bn3             BatchNorm     dec_c3                                          256x180x240    -   -   -   -
dec_relu3           Relu          dec_bn3                                         256x180x240    -   -   -   -
dec_c4              Conv          dec_relu3                                       256x180x240    3   1   1   1
dec_bn4             BatchNorm     dec_c4                                          256x180x240    -   -   -   -
dec_relu4           Relu          dec_bn4                                         256x180x240    -   -   -   -
scorer              Conv          dec_relu4                                       11x180x240     1   1   0   1
dec_upsample2       ConvTranspose scorer                                          11x720x960     8   4   2   1
dec_crop2           Crop          dec_upsample2,data                              11x720x960     -   -   -   -
softmax-out         Softmax       dec_crop2                                       11x720x960     -   -   -   -
"""


def test_the_graph_is_the_published_table():
    graph = deeplabv3plus_resnet18()
    rows = [line.split() for line in TABLE.strip().splitlines()]
    assert len(rows) == 99
    assert [node.name for node in graph.nodes] == [row[0] for row in rows]
    shapes = graph.shapes({"image": (3, 720, 960)})
    for node, (name, op, inputs, output, *window) in zip(graph.nodes, rows, strict=True):
        assert type(node.op).__name__ == op, name
        assert node.inputs == tuple(inputs.split(",")), name
        assert shapes[name] == tuple(int(size) for size in output.split("x")), name
        assert geometry(node.op) == window, name


def geometry(op):
    """kernel, stride, padding and dilation as the table writes them; square ones as one number."""
    if not hasattr(op, "kernel"):
        return ["-"] * 4
    padding = getattr(op, "padding", None) or op.cropping
    (low, high), other = padding
    assert other == (low, high)
    written = str(low) if low == high else f"{low}:{high}"
    if not hasattr(op, "dilation"):
        return [once(op.kernel), once(op.stride), written, "-"]
    return [once(op.kernel), once(op.stride), written, once(op.dilation)]


def once(values):
    (value,) = set(values)
    return str(value)


def test_the_size_of_the_network():
    graph = deeplabv3plus_resnet18()
    assert graph.outputs == ("softmax-out",)
    weights = [np.prod(graph.parameter_shapes[n.name]["weight"]) for n in graph.nodes if type(n.op).__name__ == "Conv"]
    assert 16.3e6 < sum(weights) < 16.5e6
    for name in ("dec_upsample1", "dec_upsample2"):
        op = graph.by_name[name].op
        assert op.groups == op.filters, "each channel is upsampled alone"


def test_initial_upsamplers_interpolate_inside_and_are_not_a_resize_at_the_border():
    graph = deeplabv3plus_resnet18(classes=2, input_shape=(3, 64, 64))
    weight = initial_parameters(graph)["dec_upsample2"]["weight"]
    line = np.array([0.125, 0.375, 0.625, 0.875, 0.875, 0.625, 0.375, 0.125])
    assert np.array_equal(weight, np.broadcast_to(np.outer(line, line), (2, 1, 8, 8)))
    up = graph.by_name["dec_upsample2"].op.forward(np.ones((1, 2, 16, 16)), weight=weight, bias=np.zeros(2))
    assert np.all(up[:, :, 2:-2, 2:-2] == 1)
    assert np.allclose(up[0, 0, 32, :4], [0.625, 0.875, 1, 1])


def random_parameters(graph, seed):
    """Parameters none of which is 0, 1 or shared, with which neither ReLUs nor scores saturate."""
    random = np.random.default_rng(seed)
    parameters = initial_parameters(graph, seed)
    for layer, arrays in parameters.items():
        for name, array in arrays.items():
            arrays[name] = random_parameter(layer, name, array, random).astype(np.float32)
    return parameters


def random_parameter(layer, name, array, random):
    if name == "weight":
        # Upsamplers are not left symmetric, so that a turned kernel cannot pass; small logits keep the scores soft.
        if "upsample" in layer:
            return array * random.uniform(0.8, 1.2, array.shape)
        return array * (0.1 if layer == "scorer" else 1)
    if layer == "data":
        return random.uniform(*{"mean": (100, 110), "std": (70, 80)}[name], array.shape)
    if name == "bias":
        return 0.1 * random.standard_normal(array.shape)
    if name in ("scale", "variance"):
        # Half the scale at the end of a residual branch: eight blocks in a row do not blow the activations up.
        return random.uniform(0.5, 1.5, array.shape) * (0.5 if name == "scale" and "branch2b" in layer else 1)
    return 0.3 * random.standard_normal(array.shape)


def seeds_for(shape):
    """Two samples of a seed: the sum over all pixels of the score of Road, and of Car."""
    seeds = np.zeros((2, *shape[1:]))
    seeds[0, ROAD] = seeds[1, CAR] = 1
    return seeds


@pytest.fixture(scope="module", params=[(112, 144), (106, 138)], ids=["112x144", "106x138"])
def case(request):
    """A network with its values at all layers and its gradients at the watched ones, in float64."""
    net = Network(deeplabv3plus_resnet18(), random_parameters(deeplabv3plus_resnet18(), seed=0), CAMVID_CLASSES)
    image = np.random.default_rng(1).integers(0, 256, (1, 3, *request.param)).astype(np.float64)
    values = net.forward(image, net.layers)
    seeds = seeds_for(values["softmax-out"].shape)
    gradients = {score: net.backward(values, {score: seeds}, WATCHED) for score in SCORES}
    return SimpleNamespace(net=net, image=image, values=values, seeds=seeds, gradients=gradients, size=request.param)


def worst(found, expected):
    """The largest difference relative to the largest expected value."""
    found, expected = np.asarray(found), np.asarray(expected)
    assert found.shape == expected.shape
    return float(np.abs(found - expected).max() / np.abs(expected).max())


def test_the_example_is_a_fair_one(case):
    """Scores and ReLUs far from saturation, gradients far from 0: else the comparisons below would show little."""
    scores = case.values["softmax-out"]
    assert 0.2 < scores.max(axis=1).mean() < 0.6
    assert scores.max() < 0.95
    for name, value in case.values.items():
        if "relu" in name.lower():
            assert 0.2 < (value > 0).mean() < 0.95, name
    for gradients in case.gradients.values():
        assert all(np.abs(gradients[name]).max() > 1e-2 for name in WATCHED)


def test_the_crops_crop_at_sizes_that_are_no_multiple_of_16(case):
    """At 106 x 138, 28 x 36 is cropped to the 27 x 35 of the skip, from its first row and column on; then 108 x 140 to
    the input, from its second on."""
    before = [case.values[name].shape[2:] for name in ("dec_upsample1", "dec_upsample2")]
    after = [case.values[name].shape[2:] for name in ("dec_crop1", "dec_crop2")]
    if case.size == (112, 144):
        assert before == after == [(28, 36), (112, 144)]
    else:
        assert case.size == (106, 138)
        assert before == [(28, 36), (108, 140)]
        assert after == [(27, 35), (106, 138)]


@jax.jit
def jax_layers_and_gradients(parameters, image, taps, seeds):
    """All layers, and the gradients of the sum over the seeds of <seed, layer> at the taps."""

    def layers_after(taps):
        layers = deeplab_jax.forward(parameters, image, taps)
        return {name: layers[name] for name in seeds}, layers

    _, pull_back, layers = jax.vjp(layers_after, taps, has_aux=True)
    return layers, pull_back(seeds)[0]


@jax.jit
def jax_parameter_gradients(parameters, image, seed):
    _, pull_back = jax.vjp(lambda p: deeplab_jax.forward(p, image)["softmax-out"], parameters)
    return pull_back(seed)[0]


def test_values_and_gradients_equal_jax(case):
    taps = {name: np.zeros_like(case.values[name]) for name in WATCHED}
    nothing = {score: np.zeros_like(case.values[score]) for score in SCORES}
    for score in SCORES:
        for target, seed in enumerate(case.seeds):
            seeds = {**nothing, score: seed[None]}
            layers, gradients = jax_layers_and_gradients(case.net.parameters(np.float64), case.image, taps, seeds)
            for name in WATCHED:
                found = case.gradients[score][name][target, None]
                assert worst(found, gradients[name]) < 1e-9, (score, target, name)
    assert set(layers) == set(case.net.layers)
    for name, expected in layers.items():
        assert worst(case.values[name], expected) < 1e-9, name


def test_values_and_gradients_equal_torch(case):
    torch = require_torch()
    torch.set_num_threads(1)  # layers this small only wait for more
    image = torch.tensor(case.image, requires_grad=True)
    layers = deeplab_torch.forward(case.net.parameters(np.float64), image)
    assert set(layers) == set(case.net.layers)
    for name, expected in layers.items():
        assert worst(case.values[name], expected.detach()) < 1e-9, name
    for score in SCORES:
        for target, seed in enumerate(case.seeds):
            watched = [layers[name] for name in WATCHED]
            expected = torch.autograd.grad(layers[score], watched, torch.tensor(seed[None]), retain_graph=True)
            for name, gradient in zip(WATCHED, expected, strict=True):
                found = case.gradients[score][name][target, None]
                assert worst(found, gradient) < 1e-9, (score, target, name)


REGION = np.zeros((112, 144), bool)
REGION[40:75, 20:90] = True
TARGETS = {
    "class": ("Car", {}),
    "pixel": (Pixel(60, 80, "Car"), {"rows": slice(60, 61), "columns": slice(80, 81)}),
    "region": (Region(REGION, "Car"), {"rows": slice(40, 75), "columns": slice(20, 90)}),
}


def seed_of(shape, rows=slice(None), columns=slice(None)):
    seed = np.zeros(shape)
    seed[:, CAR, rows, columns] = 1
    return seed


def check_maps(case, gradients_of):
    """Alpha and signed maps of a class, a pixel and a region, from gradients that `gradients_of(score, seed)` works out
    independently, with Grad-CAM's two equations written here."""
    image = np.moveaxis(case.image[0], 0, -1)
    net = Network(deeplabv3plus_resnet18(input_shape=(3, 112, 144)), case.net.parameters(), CAMVID_CLASSES)
    for score in SCORES:
        explained = explain(net, image, [target for target, _ in TARGETS.values()], list(WATCHED[1:]), score)
        for i, (_, place) in enumerate(TARGETS.values()):
            gradients = gradients_of(score, seed_of((1, 11, 112, 144), **place))
            for cam in explained.cams:
                layer = cam.feature_layer
                alpha = np.asarray(gradients[layer])[0].mean(axis=(1, 2))
                assert worst(cam.alpha[i], alpha) < 1e-9, (score, i, layer)
                raw = np.einsum("k,khw->hw", alpha, case.values[layer][0])
                assert worst(cam.raw[i], raw) < 1e-9, (score, i, layer)


@pytest.mark.parametrize("case", [(112, 144)], ids=["112x144"], indirect=True)
def test_maps_equal_jax(case):
    taps = {name: np.zeros_like(case.values[name]) for name in WATCHED}
    nothing = {score: np.zeros_like(case.values[score]) for score in SCORES}
    parameters = case.net.parameters(np.float64)

    def gradients_of(score, seed):
        return jax_layers_and_gradients(parameters, case.image, taps, {**nothing, score: seed})[1]

    check_maps(case, gradients_of)


@pytest.mark.parametrize("case", [(112, 144)], ids=["112x144"], indirect=True)
def test_maps_equal_torch(case):
    torch = require_torch()
    layers = deeplab_torch.forward(case.net.parameters(np.float64), torch.tensor(case.image, requires_grad=True))
    watched = [layers[name] for name in WATCHED]

    def gradients_of(score, seed):
        found = torch.autograd.grad(layers[score], watched, torch.tensor(seed), retain_graph=True)
        return dict(zip(WATCHED, found, strict=True))

    check_maps(case, gradients_of)


def test_parameter_gradients_equal_jax():
    graph = deeplabv3plus_resnet18()
    net = Network(graph, random_parameters(graph, seed=2))
    image = np.random.default_rng(3).integers(0, 256, (1, 3, 42, 58)).astype(np.float64)
    values = net.forward(image)
    seed = seeds_for(values["softmax-out"].shape)[:1]
    found = net.backward_params(values, {"softmax-out": seed})

    expected = jax_parameter_gradients(net.parameters(np.float64), image, seed)
    assert found.keys() == expected.keys() == graph.parameter_shapes.keys()
    for layer, arrays in expected.items():
        assert found[layer].keys() == arrays.keys()
        for name, gradient in arrays.items():
            assert worst(found[layer][name], gradient) < 1e-9, (layer, name)


def test_float32_values_stay_close_to_float64(case):
    values = case.net.forward(case.image.astype(np.float32), case.net.layers)
    for name, value in values.items():
        assert value.dtype == np.float32
        assert worst(value, case.values[name]) < 2e-5, name


def test_float32_gradients_stay_close_to_float64(case):
    """Both backward passes start from the same values. From their own, a ReLU within rounding of 0 may be open in one
    and closed in the other, and that single unit moves a gradient by about 1e-3 of the peak, whatever the code."""
    single = {name: value.astype(np.float32) for name, value in case.values.items()}
    values = Values(single, {"image": case.image.astype(np.float32)})
    for score in SCORES:
        gradients = case.net.backward(values, {score: case.seeds}, WATCHED)
        for name, gradient in gradients.items():
            assert gradient.dtype == np.float32
            assert worst(gradient, case.gradients[score][name]) < 2e-5, (score, name)


def test_softmax_gradients_summed_over_classes_are_zero(case):
    """The scores of a pixel sum to 1, so whatever region is looked at, nothing moves their sum."""
    mask = np.random.default_rng(4).random(case.size) < 0.5
    seeds = np.zeros((2, *case.values["softmax-out"].shape[1:]))
    seeds[0, ROAD] = mask
    seeds[1, :] = mask
    gradients = case.net.backward(case.values, {"softmax-out": seeds}, WATCHED)
    for name, (road, all_classes) in gradients.items():
        assert np.abs(all_classes).max() < 1e-12 * np.abs(road).max(), name


def test_a_linear_head_weighs_channels_the_same_for_a_pixel_and_a_mask(case):
    """From dec_relu4 to the logits there are only 1x1 convolution, upsampling and a crop."""
    classes, height, width = case.values["dec_crop2"].shape[1:]
    seeds = np.zeros((3, classes, height, width))
    seeds[0, CAR] = 1
    seeds[1, CAR, height // 2, width // 3] = 1
    seeds[2, CAR, 5:20, 10:40] = 1
    alpha = case.net.backward(case.values, {"dec_crop2": seeds}, ["dec_relu4"])["dec_relu4"].mean(axis=(2, 3))
    direction = alpha / np.linalg.norm(alpha, axis=1, keepdims=True)
    assert np.allclose(direction[1:], direction[0], rtol=0, atol=1e-12)
    nonlinear = case.net.backward(case.values, {"softmax-out": seeds}, ["dec_relu4"])["dec_relu4"].mean(axis=(2, 3))
    nonlinear /= np.linalg.norm(nonlinear, axis=1, keepdims=True)
    assert not np.allclose(nonlinear[1:], nonlinear[0], rtol=0, atol=1e-2), "softmax scores are not linear"


@pytest.mark.parametrize("along", ["random", "gradient"])
@pytest.mark.parametrize("score", SCORES)
def test_finite_differences_at_an_interior_layer(case, score, along):
    gradient = case.gradients[score]["catAspp"][:1]
    direction = gradient if along == "gradient" else np.random.default_rng(5).standard_normal(gradient.shape)
    direction = direction / np.abs(direction).max()
    step = 1e-6  # small enough that next to no ReLU changes sides
    features = case.values["catAspp"]
    low, high = (
        case.net.forward({"image": case.image, "catAspp": features + sign * step * direction}, [score])[score]
        for sign in (-1, 1)
    )
    measured = ((high - low) * case.seeds[:1]).sum() / (2 * step)
    scale = np.linalg.norm(gradient) * np.linalg.norm(direction)
    assert abs(measured - (gradient * direction).sum()) < 1e-5 * scale


@pytest.fixture(scope="module")
def trained():
    """The bundled network on a small piece of the example street, in float64."""
    street = read_image(Path(__file__).parents[1] / "examples" / "street.png")
    image = np.moveaxis(street[300:412, 200:344], -1, 0)[None].astype(np.float64)
    net = load()
    return net, image, net.forward(image, [*WATCHED, *SCORES, *net.graph.reads(SCORES, WATCHED)])


@pytest.mark.parametrize("layer", ["catAspp", "res5b_relu"])
def test_finite_differences_of_a_class_score_with_the_trained_weights(trained, layer):
    net, image, values = trained
    seed = np.zeros((1, 11, 112, 144))
    seed[:, CAR] = 1
    gradient = net.backward(values, {"softmax-out": seed}, [layer])[layer]
    direction = gradient / np.abs(gradient).max()
    step = 1e-7 * np.abs(values[layer]).max()
    low, high = (
        net.forward({"image": image, layer: values[layer] + sign * step * direction}, ["softmax-out"])["softmax-out"]
        for sign in (-1, 1)
    )
    measured = ((high - low) * seed).sum() / (2 * step)
    assert abs(measured / (gradient * direction).sum() - 1) < 1e-4


def test_the_fast_path_stays_within_its_bound_with_the_trained_weights(trained):
    net, image, values = trained
    fast = net.forward(image.astype(np.float32), [*WATCHED, *SCORES])
    for layer in (*WATCHED, *SCORES):
        assert worst(fast[layer], values[layer]) < 2e-5, layer
