"""Each target: its mask, its score and its gradient, worked out here by hand; and what may go wrong."""

import logging

import numpy as np
import pytest
from networks import CLASSES, segmenter, street, with_random_parameters
from scipy import ndimage

import minicam as mc
from minicam.explanation import passes
from minicam.explanation.defaults import choose_feature_layer
from minicam.explanation.scores import LOGITS, OUTPUT, SOFTMAX, Scores, score_kind
from minicam.explanation.targets import as_targets
from minicam.ops import Clip, Conv, Dense, GlobalAveragePool, HardSwish, LayerNorm, LogSoftmax, Relu, Softmax
from minicam.zoo.builder import Builder

NET = segmenter()
IMAGE = street()
SPACE = IMAGE.shape[:2]
X = np.moveaxis(IMAGE, -1, 0)[None].astype(np.float64)
VALUES = NET.forward(X, ["softmax", "crop", "relu1", "relu2"])
P = VALUES["softmax"][0]
LABELS = P.argmax(axis=0)
ROW, COL = np.argwhere(LABELS == 2)[0]
MASK = np.zeros(SPACE, bool)
MASK[3:9, 5:11] = True
TRUTH = np.roll(LABELS, 3, axis=1).astype(np.uint8)
TRUTH[0] = 255  # void


def neighbours_all_inside(inside):
    cross = ndimage.generate_binary_structure(2, 1)
    return ndimage.binary_erosion(inside, cross, border_value=1)


def component():
    regions, _ = ndimage.label(LABELS == 2)
    return regions == regions[ROW, COL]


CASES = {
    "class": (mc.Class("Car"), {2: np.ones(SPACE, bool)}, "Car"),
    "class index": (1, {1: np.ones(SPACE, bool)}, "Road"),
    "numpy index": (np.int64(1), {1: np.ones(SPACE, bool)}, "Road"),
    "region": (mc.Region(MASK, "Road"), {1: MASK}, "Road in region"),
    "predicted": (mc.Predicted("Road"), {1: LABELS == 1}, "predicted Road"),
    "threshold": (mc.Predicted("Road", 0.5), {1: P[1] > 0.5}, "Road with p > 0.5"),
    "component": (mc.Component(ROW, COL), {2: component()}, f"Car around ({ROW}, {COL})"),
    "border": (mc.Border(1), {1: (LABELS == 1) & ~neighbours_all_inside(LABELS == 1)}, "border of Road"),
    "errors": (mc.Errors(1, TRUTH), {1: (LABELS == 1) & (TRUTH != 1) & (TRUTH < 3)}, "false Road"),
    "missed": (mc.Errors(1, TRUTH, missed=True), {1: (LABELS != 1) & (TRUTH == 1)}, "missed Road"),
    "contrast": (mc.Contrast("Car", "Road"), {2: np.ones(SPACE, bool), 1: -1}, "Car rather than Road"),
    "contrast in a mask": (mc.Contrast(2, 1, MASK), {2: MASK, 1: -1}, "Car rather than Road in region"),
}


def by_hand(channels, layer="relu1", reduction_layer="softmax"):
    """Score and gradient of the sum over masks; a mask of -1 stands for the other one, subtracted."""
    seed = np.zeros((1, *P.shape))
    mask = next(iter(channels.values()))
    for c, m in channels.items():
        seed[0, c] = m if isinstance(m, np.ndarray) else m * mask
    score = (seed * VALUES[reduction_layer]).sum()
    return score, int(mask.sum()), NET.backward(VALUES, {reduction_layer: seed}, [layer])[layer][0]


@pytest.mark.parametrize("name", CASES)
def test_score_positions_and_gradient(name):
    target, channels, title = CASES[name]
    score, positions, gradient = by_hand(channels)
    assert positions > 0
    cam = mc.gradcam(NET, IMAGE.astype(np.float64), target, "relu1", keep_gradients=True)
    assert cam.targets == (title,)
    assert cam.scores[0] == pytest.approx(score, rel=1e-12)
    assert cam.positions[0] == positions
    np.testing.assert_allclose(cam.gradients[0], gradient, atol=1e-12 * np.abs(gradient).max())
    np.testing.assert_allclose(cam.alpha[0], gradient.mean(axis=(1, 2)), atol=1e-12 * np.abs(cam.alpha).max())


def test_targets_on_logits():
    cam = mc.gradcam(NET, IMAGE.astype(np.float64), mc.Region(MASK, 2), "relu1", "crop", keep_gradients=True)
    score, _, gradient = by_hand({2: MASK}, reduction_layer="crop")
    assert cam.score_kind == "logits"
    assert cam.scores[0] == pytest.approx(score, rel=1e-12)
    np.testing.assert_allclose(cam.gradients[0], gradient, atol=1e-12 * np.abs(gradient).max())
    assert cam.titles == ["Car in region (relu1, logits)"]


def test_a_threshold_on_logits_is_one_on_probabilities():
    scores, logits = (mc.gradcam(NET, IMAGE, mc.Predicted(1, 0.5), "relu1", layer) for layer in ("softmax", "crop"))
    assert scores.positions[0] == logits.positions[0] > 0


def test_a_function_of_the_output():
    def margin(y):
        assert y.shape == (1, 3, 18, 24)
        gradient = np.zeros_like(y)
        gradient[:, 0, 4, 5], gradient[:, 1, 4, 5] = 2, -1
        return float((gradient * y).sum()), gradient

    cam = mc.gradcam(NET, IMAGE.astype(np.float64), margin, "relu1", keep_gradients=True)
    expected = NET.backward(VALUES, {"softmax": margin(VALUES["softmax"])[1]}, ["relu1"])["relu1"]
    np.testing.assert_allclose(cam.gradients, expected, atol=1e-12 * np.abs(expected).max())
    assert cam.targets == ("margin",)
    assert cam.positions[0] == 1


def test_mixed_targets_in_one_call_equal_single_calls():
    targets = ["Sky", 1, mc.Pixel(3, 4), mc.Region(MASK, "Car"), mc.Contrast(0, 1), mc.Predicted(1)]
    many = mc.gradcam(NET, IMAGE.astype(np.float64), targets, "relu1")
    for i, target in enumerate(targets):
        one = mc.gradcam(NET, IMAGE.astype(np.float64), target, "relu1")
        np.testing.assert_allclose(many.maps[i], one.maps[0], rtol=1e-10, atol=1e-12 * one.maps.max())
        assert many.targets[i] == one.targets[0]


def test_masks_of_a_larger_image_lose_no_pixel():
    scores = Scores(np.zeros((3, 18, 24)), SOFTMAX, CLASSES, (180, 240))
    mask = np.zeros((180, 240), bool)
    mask[100, 7] = True
    assert np.argwhere(scores.cells(mask)).tolist() == [[10, 0]]
    mask[:] = False
    mask[10:20, 20:40] = True
    assert np.argwhere(scores.cells(mask)).tolist() == [[1, 2], [1, 3]]


def test_masks_of_a_smaller_image_cover_all_cells():
    scores = Scores(np.zeros((3, 18, 24)), SOFTMAX, CLASSES, (9, 12))
    mask = np.zeros((9, 12), bool)
    mask[4, 6] = True
    assert np.argwhere(scores.cells(mask)).tolist() == [[8, 12], [8, 13], [9, 12], [9, 13]]


def test_a_target_that_finds_nothing_has_an_empty_map_and_says_so(caplog):
    with caplog.at_level(logging.WARNING, "minicam"):
        cam = mc.gradcam(NET, IMAGE, [mc.Predicted(1, 0.9999999), "Car"], "relu1")
    assert cam.positions[0] == 0
    assert not cam.maps[0].any()
    assert cam.maps[1].any()
    assert cam.notes == ("Road with p > 1 covers no position, so its map is 0",)
    assert "covers no position" in caplog.text
    assert mc.why_empty(cam, 0).startswith("the target is empty: Road with p > 1 covers no position")
    assert mc.why_empty(cam, 1) is None


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (mc.Region(np.zeros(SPACE, bool), 1), r"the mask is empty"),
        (mc.Region(np.ones((5, 5), bool), 1), r"the mask has shape \(5, 5\); the image has \(18, 24\)"),
        (mc.Region(np.ones(SPACE, bool)[None], 1), r"a mask of shape \(1, 18, 24\) cannot be found"),
        (mc.Region(np.ones(SPACE), 1), r"the mask has values of type float64; expected True and False"),
        (mc.Region(MASK, "Rood"), r"there is no class 'Rood'; did you mean 'Road'\?"),
        (mc.Errors(1, np.ones(SPACE)), r"the truth has values of type float64; expected class indices"),
        (mc.Component(0, 24), r"pixel \(0, 24\) lies outside"),
        (mc.Contrast("Car", 2), r"the contrast is between 'Car' and itself"),
        (mc.Class(1.5), r"1\.5 is not a class"),
        (mc.Predicted(True), r"True is not a class"),
        (lambda y: y, r"<lambda> returned ndarray; expected \(number, gradient\)"),
        (lambda y: (0, y[0]), r"returned a gradient of shape \(3, 18, 24\); expected \(1, 3, 18, 24\)"),
        (lambda y: (np.nan, y), r"NaN or infinite"),
        (lambda y: (0, y * np.inf), r"NaN or infinite"),
    ],
)
def test_bad_targets_say_what_is_wrong(target, message):
    with pytest.raises(mc.TargetError, match=message):
        mc.gradcam(NET, IMAGE, target, "relu1")


def test_a_threshold_needs_probabilities():
    with pytest.raises(mc.TargetError, match=r"holds neither softmax scores nor logits"):
        mc.gradcam(NET, IMAGE, mc.Predicted(1, 0.5), "relu1", "relu2")


def test_score_kinds():
    kinds = {layer: score_kind(NET.graph, layer) for layer in NET.layers}
    assert kinds["softmax"] == SOFTMAX
    assert kinds["scorer"] == kinds["upsample"] == kinds["crop"] == LOGITS
    assert kinds["relu2"] == kinds["conv1"] == OUTPUT


def test_the_logarithm_of_a_softmax_has_logits_before_it_and_a_softmax_over_space_no_scores():
    b = Builder("image", (3, 8, 8))
    b.add("conv", Conv(4, (3, 3)))
    b.add("log", LogSoftmax())
    b.add("attention", Softmax(axes=(1, 2)))
    assert [score_kind(b.graph(), layer) for layer in ("conv", "log", "attention")] == [LOGITS, OUTPUT, OUTPUT]


@pytest.mark.parametrize(("op", "rectifies"), [(Clip(0, 6), True), (Clip(-1, 1), False), (HardSwish(), True)])
def test_the_default_feature_layer_is_the_last_rectified_one(op, rectifies):
    b = Builder("image", (3, 8, 8))
    b.conv_relu("conv1", "relu1", Conv(4, (3, 3)))
    b.add("conv2", Conv(4, (3, 3)))
    b.add("activation", op)
    b.add("pool", GlobalAveragePool())
    b.add("scores", Dense(2))
    assert choose_feature_layer(b.graph(), "scores") == ("activation" if rectifies else "relu1")


def test_one_target_needs_no_list():
    assert as_targets("Car") == as_targets(["Car"]) == [mc.Class("Car")]


# ------------------------------------------------------------------------------------------ what pixels alone can ask


def test_truncation_keeps_only_what_can_matter_and_reports_the_rest():
    plain = mc.gradcam(NET, IMAGE, mc.Pixel(9, 12, 1), "relu1", upsampling="none", keep_gradients=True)
    cut = mc.gradcam(NET, IMAGE, mc.Pixel(9, 12, 1), "relu1", upsampling="none", truncate=True)
    support = (plain.gradients[0] != 0).any(axis=0)
    assert 0 < support.sum() < support.size
    np.testing.assert_array_equal(cut.maps[0], plain.maps[0] * support)
    mass = np.maximum(plain.raw[0], 0)
    assert plain.outside[0] == cut.outside[0] == pytest.approx(mass[~support].sum() / mass.sum(), rel=1e-5)
    assert plain.outside[0] > 0.5
    assert (plain.truncated, cut.truncated) == (False, True)


def test_hirescam_is_gradient_times_activation():
    cam = mc.gradcam(NET, IMAGE, ["Car", mc.Pixel(9, 12, 1)], "relu1", method="hirescam", keep_gradients=True)
    np.testing.assert_allclose(
        cam.raw, (cam.gradients * cam.activations).sum(axis=1), atol=1e-6 * np.abs(cam.raw).max()
    )
    assert cam.method == "hirescam"
    assert cam.titles[0] == "Car (relu1, hirescam)"
    assert cam.outside.tolist() == [0, 0]


def test_hirescam_of_logits_at_a_linear_head_sums_to_the_logit_without_its_bias():
    cam = mc.gradcam(NET, IMAGE.astype(np.float64), mc.Pixel(9, 12, 1), "relu2", "crop", method="hirescam")
    bias = NET.parameters(np.float64)["scorer"]["bias"][1] + NET.parameters(np.float64)["upsample"]["bias"][1]
    assert cam.raw.sum() == pytest.approx(cam.scores[0] - bias, rel=1e-9)


def test_a_pixel_before_a_linear_head_is_told_the_closed_form(caplog):
    targets = [mc.Pixel(9, 12, 1), mc.Region(MASK, 1), "Road"]
    with caplog.at_level(logging.WARNING, "minicam"):
        cam = mc.gradcam(NET, IMAGE.astype(np.float64), targets, "relu2", "crop")
    (note,) = cam.notes
    assert note in caplog.text
    assert "relu2 reaches crop by 1x1 convolution and per-channel upsampling only" in note
    closed = mc.linear_head(NET, "relu2", "crop")[1].astype(np.float64)
    for alpha in cam.alpha:
        factor = (alpha @ closed) / (closed @ closed)
        assert factor > 0
        np.testing.assert_allclose(alpha, factor * closed, atol=1e-10 * np.abs(alpha).max())


@pytest.mark.parametrize(("layer", "reduction_layer"), [("relu1", "crop"), ("relu2", "softmax"), ("conv2", "crop")])
def test_elsewhere_there_is_no_linear_head(layer, reduction_layer):
    assert mc.linear_head(NET, layer, reduction_layer) is None
    assert mc.gradcam(NET, IMAGE, mc.Pixel(9, 12, 1), layer, reduction_layer).notes == ()


def test_alpha_field_is_alpha_at_each_pixel():
    field = mc.alpha_field(NET, IMAGE, "Road", "relu1", step=6)
    assert field.alpha.shape == (3, 4, 6)
    for r, row in enumerate(field.rows):
        for s, column in enumerate(field.columns):
            alone = mc.gradcam(NET, IMAGE, mc.Pixel(int(row), int(column), "Road"), "relu1").alpha[0]
            np.testing.assert_allclose(field.alpha[r, s], alone, atol=1e-6 * np.abs(alone).max())
    a, b = field.alpha[0, 1], field.alpha[2, 3]
    cosine = a @ b / np.linalg.norm(a) / np.linalg.norm(b)
    assert field.similarity[0, 1, 2, 3] == pytest.approx(cosine, rel=1e-4)
    assert field.similarity_to(0, 9)[0, 1] == pytest.approx(1, abs=1e-5)
    titles = [axes.get_title() for axes in field.figure(IMAGE).axes]
    assert any("length of alpha" in title for title in titles)


def test_alpha_field_at_a_linear_head_is_one_direction():
    field = mc.alpha_field(NET, IMAGE, "Road", "relu2", step=6, reduction_layer="crop")
    np.testing.assert_allclose(field.similarity, 1, atol=1e-5)


@pytest.mark.parametrize("step", [0, -1, 2.5])
def test_alpha_field_needs_a_step(step):
    with pytest.raises(mc.TargetError, match=r"step is .*; expected a whole number of pixels, 1 or more"):
        mc.alpha_field(NET, IMAGE, "Road", step=step)


def with_scorer(change):
    """The network with its scorer's parameters changed."""
    parameters = {layer: dict(arrays) for layer, arrays in NET.parameters().items()}
    change(parameters)
    return mc.Network(NET.graph, parameters, CLASSES)


def test_why_empty_tells_saturated_softmax():
    def saturate(parameters):
        parameters["scorer"]["bias"] = np.array([0, 200, 0], np.float32)

    cam = mc.gradcam(with_scorer(saturate), IMAGE, "Road", "relu2")
    assert "the softmax is saturated: the mean probability of Road is 1.000000" in mc.why_empty(cam)
    assert "Explain the logits instead" in mc.why_empty(cam)


def test_why_empty_tells_negative_contributions():
    def against(parameters):
        parameters["scorer"]["weight"] = -np.abs(parameters["scorer"]["weight"])

    cam = mc.gradcam(with_scorer(against), IMAGE, "Road", "relu2", "crop")
    assert not cam.maps.any()
    assert mc.why_empty(cam).startswith("all contributions to Road are negative")


def test_why_empty_tells_dead_channels():
    def kill(parameters):
        parameters["conv2"]["bias"] = np.full(5, -1e4, np.float32)

    cam = mc.gradcam(with_scorer(kill), IMAGE, "Road", "relu2", "crop")
    assert mc.why_empty(cam).startswith("every channel of relu2 is dead")
    cam = mc.gradcam(with_scorer(kill), IMAGE, "Road", "relu1", "crop")
    assert mc.why_empty(cam).startswith("the gradient of Road vanishes at relu1")


def test_why_empty_is_silent_about_a_good_map():
    cam = mc.gradcam(NET, IMAGE, ["Road", "Car"], "relu1")
    assert mc.why_empty(cam, 1) is None
    with pytest.raises(mc.TargetError, match=r"there is no target 2"):
        mc.why_empty(cam, 2)


def torch_segmenter(torch):
    """The network of networks.segmenter in torch, as modules that hooks can be put on."""
    nn = torch.nn
    model = nn.Sequential(
        nn.Conv2d(3, 6, 3, 2, 1),
        nn.ReLU(),
        nn.Conv2d(6, 5, 3, 1, 2, 2),
        nn.ReLU(),
        nn.Conv2d(5, 3, 1),
        nn.ConvTranspose2d(3, 3, 4, 2, 1, groups=3),
        nn.Softmax(dim=1),
    ).double()
    parameters = NET.parameters(np.float64)
    for layer, name in ((0, "conv1"), (2, "conv2"), (4, "scorer"), (5, "upsample")):
        model[layer].weight.data = torch.tensor(parameters[name]["weight"])
        model[layer].bias.data = torch.tensor(parameters[name]["bias"])
    return model, torch.tensor((X - 110) / 70)


@pytest.mark.parametrize("method", ["gradcam", "hirescam"])
def test_the_package_grad_cam_agrees_before_its_normalisation(method):
    """Before the ReLU its maps are our raw ones. After it, it scales each to 0 ... 1 and upsamples by OpenCV."""
    package = pytest.importorskip("pytorch_grad_cam", exc_type=ImportError)
    torch = pytest.importorskip("torch")
    model, x = torch_segmenter(torch)
    kind = {"gradcam": package.GradCAM, "hirescam": package.HiResCAM}[method]
    found = {}

    class Recording(kind):
        def get_cam_image(self, *arguments, **options):
            found["raw"] = super().get_cam_image(*arguments, **options)
            return found["raw"]

    target = package.utils.model_targets.SemanticSegmentationTarget
    with Recording(model=model, target_layers=[model[1]]) as cam:
        for mask, ours in ((np.ones(SPACE), "Car"), (MASK.astype(float), mc.Region(MASK, "Car"))):
            cam(input_tensor=x, targets=[target(2, mask)])
            raw = mc.gradcam(NET, IMAGE.astype(np.float64), ours, "relu1", method=method).raw[0]
            np.testing.assert_allclose(raw, found["raw"][0], atol=1e-12 * np.abs(raw).max())


# ----------------------------------------------------------------------------------------------------- many at a time


@pytest.mark.parametrize(("backward", "truncate"), [("channel_sums", False), ("backward", True)])
def test_dense_targets_go_backward_in_chunks_that_fit(monkeypatch, backward, truncate):
    calls = []
    original = getattr(mc.Network, backward)

    def counted(self, values, seeds, wrt):
        calls.append(len(seeds["softmax"]))
        return original(self, values, seeds, wrt)

    whole = mc.gradcam(NET, IMAGE, list(CLASSES) * 3, "relu1", truncate=truncate)
    monkeypatch.setattr(mc.Network, backward, counted)
    monkeypatch.setattr(passes, "CHUNK_BYTES", 60_000)
    chunked = mc.gradcam(NET, IMAGE, list(CLASSES) * 3, "relu1", truncate=truncate)
    assert len(calls) > 1
    assert sum(calls) == 9
    np.testing.assert_allclose(chunked.maps, whole.maps, rtol=1e-5, atol=1e-6 * whole.maps.max())


def test_progress_sees_every_backward_pass():
    seen = []

    def progress(items):
        for item in items:
            seen.append(item)
            yield item

    mc.gradcam(NET, IMAGE, [mc.Pixel(1, i) for i in range(7)] + ["Car", "Sky"], "relu1", progress=progress)
    assert sorted(i for one in seen for i in one.targets) == list(range(9))
    assert sorted(len(one.targets) for one in seen) == [2, 7]


# ---------------------------------------------------------------------------------------------------- ranks and options


def sequence_classifier():
    b = Builder("sequence", (4, None))
    b.add("conv", Conv(6, (3,), padding=((2, 0),)))
    b.add("relu", Relu())
    b.add("norm", LayerNorm())
    b.add("pool", GlobalAveragePool())
    b.add("fc", Dense(3))
    return with_random_parameters(b)


@pytest.mark.parametrize("length", [1, 2, 5, 40])
def test_sequences_of_any_length(length):
    net = sequence_classifier()
    x = np.random.default_rng(length).standard_normal((4, length))
    cam = mc.gradcam(net, x, [0, 2])
    assert cam.feature_layer == "norm"
    assert cam.maps.shape == (2, length)
    values = net.forward(x[None], ["norm", "fc"])
    seed = np.zeros((1, 3))
    seed[0, 2] = 1
    gradient = net.backward(values, {"fc": seed}, ["norm"])["norm"][0]
    expected = np.maximum(gradient.mean(axis=1) @ values["norm"][0], 0)
    np.testing.assert_allclose(cam.maps[1], expected, atol=1e-12)
    batch = mc.gradcam(net, np.stack([x, -x]), [0, 2])
    np.testing.assert_allclose(batch[0].maps, cam.maps, atol=1e-12)


def test_regression_has_one_output_and_needs_no_target():
    b = Builder("image", (1, 8, 8))
    b.add("conv", Conv(4, (3, 3), padding=1))
    b.add("relu", Relu())
    b.add("fc", Dense(1))
    net = with_random_parameters(b)
    image = np.random.default_rng(0).integers(0, 256, (8, 8)).astype(np.uint8)
    cam = mc.gradcam(net, image)
    assert cam.targets == ("output 0",)
    doubled = mc.gradcam(net, image, lambda y: (2 * float(y.sum()), 2 * np.ones_like(y)))
    np.testing.assert_allclose(doubled.maps, 2 * cam.maps, rtol=1e-5)


def test_volumes():
    b = Builder("volume", (1, 6, 7, 8))
    b.add("conv", Conv(3, (3, 3, 3), stride=2, padding=1))
    b.add("relu", Relu())
    b.add("pool", GlobalAveragePool())
    b.add("fc", Dense(2))
    net = with_random_parameters(b)
    cam = mc.gradcam(net, np.random.default_rng(0).standard_normal((1, 6, 7, 8)), [0, 1])
    assert cam.maps.shape == (2, 6, 7, 8)
    assert cam.raw.shape == (2, 3, 4, 4)


@pytest.mark.parametrize("space", [(9,), (5, 6), (3, 4, 5)])
@pytest.mark.parametrize("upsampling", ["nearest", "bicubic", "none"])
@pytest.mark.parametrize("precision", ["fast", "exact"])
def test_labels_and_maps_of_any_rank(space, upsampling, precision):
    b = Builder("x", (2, *space))
    b.add("conv", Conv(4, (3,) * len(space), stride=2, padding=1))
    b.add("relu", Relu())
    b.add("scores", Conv(3, (1,) * len(space)))
    net = with_random_parameters(b, precision=precision)
    x = np.random.default_rng(0).integers(0, 256, (2, *space)).astype(np.float32)
    image = x if len(space) != 2 else np.moveaxis(x, 0, -1)
    explained = mc.explain(net, image, [0, 2], upsampling=upsampling)
    scores = net.forward(x[None])["scores"][0]
    expected = mc.imresize(scores.argmax(axis=0).astype(np.uint8), space, "nearest")
    np.testing.assert_array_equal(explained.labels, expected)
    cam = explained.cams[0]
    assert cam.maps.shape == (2, *(cam.raw.shape[1:] if upsampling == "none" else space))


@pytest.mark.parametrize("edges", ["mirror", "clamp"])
def test_upsampling_per_axis(edges):
    cam = mc.gradcam(NET, IMAGE, "Road", "relu1", upsampling=("nearest", "bicubic"), edges=edges)
    rectified = np.maximum(cam.raw, 0)
    expected = mc.imresize(rectified, (18,), "nearest", axes=(1,))
    expected = mc.imresize(expected, (24,), "bicubic", edges, axes=(2,))
    np.testing.assert_array_equal(cam.maps, expected)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"upsampling": ("nearest",)}, r"upsampling names 1 axes; the maps have 2"),
        ({"upsampling": ("nearest", "none")}, r"upsampling of an axis is 'none'; expected one of"),
        ({"edges": "wrap"}, r"edges is 'wrap'; expected one of 'mirror', 'clamp'"),
        ({"method": "layercam"}, r"method is 'layercam'; expected one of 'gradcam', 'hirescam'"),
    ],
)
def test_bad_options_say_what_is_wrong(options, message):
    with pytest.raises(mc.MinicamError, match=message):
        mc.gradcam(NET, IMAGE, "Road", "relu1", **options)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
def test_the_input_decides_the_precision(dtype):
    cam = mc.gradcam(NET, IMAGE.astype(dtype), "Road", "relu1")
    assert cam.maps.dtype == (np.float64 if dtype == np.float64 else np.float32)
