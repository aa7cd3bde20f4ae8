"""Grad-CAM against its formula computed here by hand, its identities, and what a caller may get wrong."""

import logging

import numpy as np
import pytest
from networks import CLASSES, classifier, segmenter, street

import minicam as mc
from minicam.explanation.scores import SOFTMAX, Scores

NET = segmenter()
IMAGE = street()


def by_hand(net, image, channel, layer, reduction_layer):
    """Activations, gradient, alpha and raw map in float64, from the public forward and backward alone."""
    x = np.moveaxis(image.astype(np.float64), -1, 0)[None]
    values = net.forward(x, keep=[layer, reduction_layer])
    seed = np.zeros_like(values[reduction_layer])
    seed[:, channel] = 1
    gradient = net.backward(values, {reduction_layer: seed}, wrt=[layer])[layer][0]
    alpha = gradient.mean(axis=(1, 2))
    return values[layer][0], gradient, alpha, np.einsum("k,khw->hw", alpha, values[layer][0])


@pytest.mark.parametrize("layer", ["relu1", "relu2"])
@pytest.mark.parametrize("reduction_layer", ["softmax", "crop"])
def test_every_array_of_the_result_follows_the_formula(layer, reduction_layer):
    cam = mc.gradcam(NET, IMAGE, ["Car", 1], layer, reduction_layer, keep_gradients=True)
    assert cam.targets == ("Car", "Road")
    assert (cam.feature_layer, cam.reduction_layer) == (layer, reduction_layer)
    for t, channel in enumerate((2, 1)):
        activations, gradient, alpha, raw = by_hand(NET, IMAGE, channel, layer, reduction_layer)
        peak = np.abs(raw).max()
        np.testing.assert_allclose(cam.activations, activations, atol=1e-5 * np.abs(activations).max())
        np.testing.assert_allclose(cam.gradients[t], gradient, atol=1e-5 * np.abs(gradient).max())
        np.testing.assert_allclose(cam.alpha[t], alpha, atol=1e-5 * np.abs(alpha).max())
        np.testing.assert_allclose(cam.raw[t], raw, atol=1e-5 * peak)
        expected = mc.imresize(np.maximum(raw, 0), IMAGE.shape[:2])
        np.testing.assert_allclose(cam.maps[t], expected, atol=1e-5 * peak)
    assert cam.maps.dtype == cam.raw.dtype == cam.alpha.dtype == np.float32


def test_the_score_is_the_sum_over_all_positions():
    cam = mc.gradcam(NET, IMAGE, ["Sky", "Road", "Car"])
    scores = NET.forward(np.moveaxis(IMAGE, -1, 0)[None])["softmax"][0]
    np.testing.assert_allclose(cam.scores, scores.sum(axis=(1, 2)), rtol=1e-5)
    np.testing.assert_array_equal(cam.positions, IMAGE.shape[0] * IMAGE.shape[1])
    assert cam.scores.sum() == pytest.approx(IMAGE.shape[0] * IMAGE.shape[1])


def test_alpha_sum_is_the_mean_times_the_number_of_positions():
    mean, total = (mc.gradcam(NET, IMAGE, "Car", "relu1", alpha=alpha) for alpha in ("mean", "sum"))
    np.testing.assert_allclose(total.alpha, mean.alpha * (9 * 12), rtol=1e-6)
    np.testing.assert_allclose(total.maps, mean.maps * (9 * 12), rtol=1e-5, atol=1e-5 * total.maps.max())


def test_softmax_gradients_of_all_classes_sum_to_zero():
    cam = mc.gradcam(NET, IMAGE.astype(np.float64), list(CLASSES), "relu1", keep_gradients=True)
    np.testing.assert_allclose(cam.gradients.sum(axis=0), 0, atol=1e-15 * np.abs(cam.gradients).max() + 1e-16)


@pytest.mark.parametrize(
    ("upsampling", "expected"),
    [
        ("none", lambda raw: raw),
        ("nearest", lambda raw: raw.repeat(2, axis=1).repeat(2, axis=2)),
        ("bilinear", lambda raw: mc.imresize(raw, (18, 24), "bilinear", axes=(1, 2))),
        ("bicubic", lambda raw: mc.imresize(raw, (18, 24), "bicubic", axes=(1, 2))),
    ],
)
def test_upsampling_follows_the_relu(upsampling, expected):
    cam = mc.gradcam(NET, IMAGE, ["Road", "Car"], "relu2", upsampling=upsampling)
    assert cam.raw.min() < 0
    np.testing.assert_allclose(cam.maps, expected(np.maximum(cam.raw, 0)), rtol=0, atol=1e-6 * cam.maps.max())


def test_results_come_back_at_the_size_of_the_image():
    large = mc.imresize(IMAGE, (45, 31))
    explained = mc.explain(NET, large, ["Car"], ["relu1", "relu2"])
    assert explained.labels.shape == mc.segment(NET, large).shape == (45, 31)
    assert [cam.maps.shape for cam in explained.cams] == [(1, 45, 31)] * 2
    small = mc.imresize(large, (18, 24))
    np.testing.assert_array_equal(explained.cams[0].raw, mc.gradcam(NET, small, ["Car"], "relu1").raw)


def test_labels_are_the_largest_scores():
    scores = NET.forward(np.moveaxis(IMAGE, -1, 0)[None])["softmax"][0]
    labels = mc.segment(NET, IMAGE)
    assert labels.dtype == np.uint8
    np.testing.assert_array_equal(labels, scores.argmax(axis=0))
    assert len(np.unique(labels)) > 1


def test_several_layers_and_targets_in_one_pass_equal_single_calls():
    explained = mc.explain(NET, IMAGE, ["Sky", "Car"], ["relu2", "relu1"])
    for cam in explained.cams:
        for t, target in enumerate(("Sky", "Car")):
            single = mc.gradcam(NET, IMAGE, target, cam.feature_layer)
            np.testing.assert_allclose(cam.maps[t], single.maps[0], rtol=1e-5, atol=1e-6 * single.maps.max())


def test_a_batch_gives_a_list_of_the_single_results():
    batch = np.stack([street(seed=1), street(seed=2)])
    explained = mc.explain(NET, batch, ["Car"], ["relu2"])
    labels = mc.segment(NET, batch)
    assert isinstance(explained, list)
    for one, image, label in zip(explained, batch, labels, strict=True):
        np.testing.assert_array_equal(one.cams[0].maps, mc.gradcam(NET, image, ["Car"], "relu2").maps)
        np.testing.assert_array_equal(one.labels, label)


def test_a_pixel_explains_its_own_score():
    row, col = 5, 20
    cam = mc.gradcam(NET, IMAGE, mc.Pixel(row, col, "Car"), "relu1", keep_gradients=True)
    x = np.moveaxis(IMAGE, -1, 0)[None].astype(np.float64)
    values = NET.forward(x, keep=["relu1", "softmax"])
    seed = np.zeros_like(values["softmax"])
    seed[0, 2, row, col] = 1
    expected = NET.backward(values, {"softmax": seed}, ["relu1"])["relu1"]
    np.testing.assert_allclose(cam.gradients, expected, atol=1e-5 * np.abs(expected).max())
    assert cam.scores[0] == pytest.approx(values["softmax"][0, 2, row, col], rel=1e-5)
    assert cam.targets == ("Car at (5, 20)",)
    assert cam.positions[0] == 1


def test_a_pixel_without_a_class_takes_the_label_there():
    cam = mc.gradcam(NET, IMAGE, mc.Pixel(3, 4))
    assert cam.targets == (f"{CLASSES[mc.segment(NET, IMAGE)[3, 4]]} at (3, 4)",)


def test_a_pixel_of_a_larger_image_is_looked_up_by_its_centre():
    scores = Scores(np.zeros((3, 18, 24)), SOFTMAX, CLASSES, (36, 48))
    assert scores.cell((0, 1)) == (0, 0)
    assert scores.cell((35, 47)) == (17, 23)
    assert scores.cell((17, 24)) == (8, 12)


def test_default_layers_are_chosen_and_logged(caplog):
    with caplog.at_level(logging.INFO, "minicam"):
        cam = mc.gradcam(NET, IMAGE, "Car")
    assert (cam.feature_layer, cam.reduction_layer) == ("relu2", "softmax")
    assert "feature layer: relu2" in caplog.text
    assert "reduction layer: softmax" in caplog.text


def test_without_targets_the_two_largest_classes_are_explained():
    totals = mc.gradcam(NET, IMAGE, list(CLASSES)).scores
    assert mc.gradcam(NET, IMAGE).targets == tuple(CLASSES[c] for c in np.argsort(-totals)[:2])


def test_a_classifier_has_maps_but_no_labels():
    net = classifier()
    explained = mc.explain(net, IMAGE, ["Sky", "Car"])
    assert explained.labels is None
    assert explained.cams[0].maps.shape == (2, 18, 24)
    with pytest.raises(mc.LayerError, match=r"'softmax' gives one answer for the whole input"):
        mc.segment(net, IMAGE)


def test_a_result_is_saved_with_all_its_arrays(tmp_path):
    cam = mc.gradcam(NET, IMAGE, ["Road", "Car"], keep_gradients=True)
    cam.save(tmp_path / "cam.npz")
    with np.load(tmp_path / "cam.npz", allow_pickle=False) as saved:
        for name in ("maps", "raw", "alpha", "activations", "gradients", "scores"):
            np.testing.assert_array_equal(saved[name], getattr(cam, name))
        assert tuple(saved["targets"]) == cam.targets
        assert saved["feature_layer"] == cam.feature_layer
    assert [path.name for path in tmp_path.iterdir()] == ["cam.npz"]


def test_a_result_that_cannot_be_saved_leaves_nothing(tmp_path):
    cam = mc.gradcam(NET, IMAGE, "Car")
    with pytest.raises(mc.MinicamError, match=r"cam\.png: results are saved as \.npz"):
        cam.save(tmp_path / "cam.png")
    with pytest.raises(mc.MinicamError, match=r"missing/cam\.npz: cannot be written: No such file or directory"):
        cam.save(tmp_path / "missing" / "cam.npz")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"targets": "car"}, mc.TargetError, r"there is no class 'car'; did you mean 'Car'\?"),
        ({"targets": ["Road", "Boat"]}, mc.TargetError, r"there is no class 'Boat'"),
        ({"targets": 3}, mc.TargetError, r"class 3 does not exist; the layer has 3 channels: 0 to 2"),
        ({"targets": -1}, mc.TargetError, r"class -1 does not exist"),
        ({"targets": []}, mc.TargetError, r"the list of targets is empty"),
        ({"targets": [2.5]}, mc.TargetError, r"2\.5 is not a target; expected a class name"),
        ({"targets": True}, mc.TargetError, r"True is not a target"),
        ({"targets": mc.Pixel(18, 0, 1)}, mc.TargetError, r"pixel \(18, 0\) lies outside the image, .* \(18, 24\)"),
        ({"targets": mc.Pixel(0, -1, 1)}, mc.TargetError, r"pixel \(0, -1\) lies outside"),
        ({"feature_layer": "relu3"}, mc.LayerError, r"there is no layer 'relu3'; did you mean 'relu2' or 'relu1'\?"),
        ({"reduction_layer": "prob"}, mc.LayerError, r"there is no layer 'prob'"),
        ({"feature_layer": "softmax", "reduction_layer": "relu2"}, mc.LayerError, r"'relu2'.* does not depend on"),
        ({"upsampling": "lanczos"}, mc.MinicamError, r"upsampling is 'lanczos'; expected one of 'bicubic'"),
        ({"alpha": "max"}, mc.MinicamError, r"alpha is 'max'; expected one of 'mean', 'sum'"),
    ],
)
def test_bad_calls_say_what_is_wrong(arguments, error, message):
    with pytest.raises(error, match=message):
        mc.gradcam(NET, IMAGE, **{"targets": "Car", **arguments})


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ("relu1", r"feature_layers is the string 'relu1'; expected a list"),
        ([], r"the list of feature layers is empty"),
    ],
)
def test_bad_layer_lists_say_what_is_wrong(layers, message):
    with pytest.raises(mc.LayerError, match=message):
        mc.explain(NET, IMAGE, "Car", layers)


def test_a_feature_layer_needs_spatial_axes():
    with pytest.raises(mc.LayerError, match=r"feature layer 'fc' has no spatial axes"):
        mc.gradcam(classifier(), IMAGE, "Car", "fc")


def test_an_empty_batch_is_refused():
    with pytest.raises(mc.ImageError, match=r"the batch of shape \(0, 18, 24, 3\) is empty"):
        mc.segment(NET, np.zeros((0, 18, 24, 3), np.uint8))


def test_figures_carry_the_titles():
    explained = mc.explain(NET, IMAGE, ["Road", "Car"], ["relu1", "relu2"])
    grid = explained.figure(IMAGE)
    titles = [axes.get_title() for axes in grid.axes]
    for wanted in ("Road (relu1)", "Car (relu1)", "Road (relu2)", "Car (relu2)"):
        assert any(wanted.split()[0] in title and wanted.split()[1] in title for title in titles)
    panels = explained.cams[0].figure(IMAGE, explained.labels)
    assert len([axes for axes in panels.axes if axes.get_title()]) == 4
