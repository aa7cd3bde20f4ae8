"""Evaluation: labelled frames, the figures of a comparison, and the command that prints them."""

import functools
import json
import math
import re

import numpy as np
import pytest
import streets
from networks import CLASSES, classifier, segmenter, street, with_random_parameters
from PIL import Image

import minicam as mc
from minicam import ImageError, LayerError, MinicamError, Network
from minicam.__main__ import main
from minicam.evaluation import (
    Frame,
    boundary_f1,
    class_accuracy,
    class_iou,
    confusion_matrix,
    evaluate,
    global_accuracy,
    labelled_frames,
    weighted_iou,
)
from minicam.ops import Conv
from minicam.zoo.builder import Builder


@functools.cache
def draw_street(seed, size):
    return streets.draw_street(seed, size)


def write_frame(folder, name, image, labels):
    """One labelled frame in the layout that `labelled_frames` reads."""
    for part, pixels in (("images", image), ("labels", labels)):
        (folder / part).mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / part / f"{name}.png")


@pytest.fixture
def scenes(tmp_path):
    """A folder with two drawn streets."""
    for seed in (0, 1):
        write_frame(tmp_path, f"street{seed}", *draw_street(seed, (36, 48)))
    return tmp_path


def test_frames_come_in_order_with_their_pixels(scenes):
    image, labels = (pixels[:20, :30] for pixels in draw_street(0, (36, 48)))  # another size, an earlier name
    write_frame(scenes, "a.b", image, labels)
    (scenes / "images" / "notes.txt").write_text("passed over")
    (scenes / "labels" / "._a.png").write_text("passed over")
    frames = labelled_frames(scenes)
    assert [frame.name for frame in frames] == ["a.b", "street0", "street1"]
    assert frames[0] == Frame("a.b", scenes / "images" / "a.b.png", scenes / "labels" / "a.b.png")
    found_image, found_labels = frames[0].read()
    assert (found_image.dtype, found_labels.dtype) == (np.uint8, np.uint8)
    np.testing.assert_array_equal(found_image, image)
    np.testing.assert_array_equal(found_labels, labels)


def test_labels_are_the_indices_of_a_palette_and_images_may_be_jpeg(tmp_path):
    image, labels = draw_street(1, (36, 48))
    write_frame(tmp_path, "x", image, labels)
    (tmp_path / "images" / "x.png").unlink()
    Image.fromarray(image).save(tmp_path / "images" / "x.JPG")
    picture = Image.fromarray(labels)
    picture.putpalette(bytes(255 - i // 3 for i in range(768)))
    picture.save(tmp_path / "labels" / "x.png")
    (frame,) = labelled_frames(str(tmp_path))
    np.testing.assert_array_equal(frame.read()[1], labels)


@pytest.mark.parametrize(
    ("value", "classes", "ignored"), [(11, 11, None), (255, 11, None), (200, 11, 200), (2, 2, None), (255, 256, None)]
)
def test_labels_that_are_accepted(tmp_path, value, classes, ignored):
    labels = np.zeros((4, 6), np.uint8)
    labels[2, 3] = value
    write_frame(tmp_path, "x", np.zeros((4, 6, 3), np.uint8), labels)
    assert len(labelled_frames(tmp_path, classes, ignored)) == 1


@pytest.mark.parametrize(
    ("value", "classes", "ignored", "message"),
    [
        (12, 11, None, "expected 0 to 10 for the 11 classes, or 11 or 255 for pixels to leave out"),
        (11, 11, 200, "expected 0 to 10 for the 11 classes, or 200 or 255 for pixels to leave out"),
        (3, 2, 255, "expected 0 to 1 for the 2 classes, or 255 for pixels to leave out"),
    ],
)
def test_labels_that_are_no_class_are_refused(tmp_path, value, classes, ignored, message):
    labels = np.zeros((4, 6), np.uint8)
    labels[2, 3:5] = value
    write_frame(tmp_path, "x", np.zeros((4, 6, 3), np.uint8), labels)
    place = f"{tmp_path / 'labels' / 'x.png'}: label {value} at row 2, column 3, one of 2 labels that are no class; "
    with pytest.raises(ImageError, match=re.escape(place + message)):
        labelled_frames(tmp_path, classes, ignored)


def spoil(path, content):
    if content is None:
        path.unlink()
    elif isinstance(content, bytes):
        path.write_bytes(content)
    else:
        Image.fromarray(content).save(path)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("labels/street1.png", None, "images/street1.png: has no labels; expected {}/labels/street1.png"),
        ("images/street0.png", None, "labels/street0.png: has no picture; expected {}/images/street0.jpg or .png"),
        ("images/street1.png", b"", "images/street1.png: not an image that Pillow can read; it is empty (0 bytes)"),
        ("labels/street1.png", b"\x89PNG\r\n\x1a\n12345678", "labels/street1.png: "),
        (
            "labels/street1.png",
            np.zeros((36, 47), np.uint8),
            "labels/street1.png: 36 x 47 labels for the 36 x 48 pixels of {}/images/street1.png",
        ),
        (
            "labels/street1.png",
            np.zeros((36, 48, 3), np.uint8),
            "labels/street1.png: a picture of mode RGB; expected the class index of each pixel as grey value",
        ),
        (
            "labels/street1.png",
            np.full((36, 48), 700, np.uint16),
            "labels/street1.png: label 700; expected class indices",
        ),
        ("images/street0.jpg", np.zeros((36, 48), np.uint8), "images/street0.png: has the same name as street0.jpg"),
    ],
)
def test_a_frame_that_is_wrong_is_named(scenes, file, content, message):
    spoil(scenes / file, content)
    with pytest.raises(ImageError, match=re.escape(f"{scenes}/{message.format(scenes)}")):
        labelled_frames(scenes)


def test_a_truncated_picture_is_found_before_anything_is_computed(scenes):
    path = scenes / "images" / "street1.png"
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(ImageError, match=r"street1\.png: cannot be read .* probably truncated or damaged"):
        labelled_frames(scenes)


def test_a_folder_that_is_wrong_is_named(scenes, tmp_path):
    with pytest.raises(MinicamError, match=r"gone: is not a folder; expected images/NAME\.jpg or \.png with labels/"):
        labelled_frames(tmp_path / "gone")
    with pytest.raises(MinicamError, match="labels: there is no folder images in it"):
        labelled_frames(scenes / "labels")
    for part in ("images", "labels"):
        for path in (scenes / part).iterdir():
            path.unlink()
    with pytest.raises(MinicamError, match="there are no frames in it"):
        labelled_frames(scenes)


def labels_of(height, width, classes=4, seed=0):
    """Blocks of labels, (H, W) uint8."""
    random = np.random.default_rng(seed)
    blocks = random.integers(0, classes, (-(-height // 3), -(-width // 4)))
    return np.kron(blocks, np.ones((3, 4), int))[:height, :width].astype(np.uint8)


@pytest.fixture
def pair():
    """Truth (17, 22), with labels 4 (to leave out) and 255, and a prediction that is wrong here and there."""
    truth, predicted = labels_of(17, 22), labels_of(17, 22)
    predicted[np.random.default_rng(1).random(truth.shape) < 0.2] = 2
    truth[5:7, 3:9], truth[10, 10] = 4, 255
    return truth, predicted


def counted(truth, predicted, classes, left_out):
    """The confusion matrix, pixel by pixel."""
    matrix = [[0] * classes for _ in range(classes)]
    for t, p in zip(truth.ravel().tolist(), predicted.ravel().tolist(), strict=True):
        if t not in left_out:
            matrix[t][p] += 1
    return np.array(matrix)


def test_confusion_matrix_counts_pixels(pair):
    np.testing.assert_array_equal(confusion_matrix(*pair, 4), counted(*pair, 4, (4, 255)))
    np.testing.assert_array_equal(confusion_matrix(*pair, 4, 1), counted(*pair, 4, (1, 4, 255)))


def test_confusion_matrix_of_256_classes_has_no_label_to_leave_out():
    truth = np.arange(256, dtype=np.uint8).reshape(16, 16)
    np.testing.assert_array_equal(confusion_matrix(truth, truth, 256), np.eye(256))


def test_confusion_matrix_refuses_what_does_not_fit():
    with pytest.raises(ImageError, match=r"labels of shape \(2, 3\) and \(3, 2\) predicted; expected one shape"):
        confusion_matrix(np.zeros((2, 3), np.uint8), np.zeros((3, 2), np.uint8), 2)
    with pytest.raises(ImageError, match="label 2 was predicted; expected 0 to 1 for the 2 classes"):
        confusion_matrix(np.zeros((2, 3), np.uint8), np.full((2, 3), 2, np.uint8), 2)


def test_figures_are_those_of_their_definitions(pair):
    truth, predicted = (labels.ravel().tolist() for labels in pair)
    pixels = [(t, p) for t, p in zip(truth, predicted, strict=True) if t < 4]
    matrix = confusion_matrix(*pair, 4)
    assert global_accuracy(matrix) == sum(t == p for t, p in pixels) / len(pixels)
    weighted = 0.0
    for c in range(4):
        both = sum(t == p == c for t, p in pixels)
        true = sum(t == c for t, _ in pixels)
        assert class_accuracy(matrix)[c] == pytest.approx(both / true)
        assert class_iou(matrix)[c] == pytest.approx(both / sum(c in pixel for pixel in pixels))
        weighted += class_iou(matrix)[c] * true / len(pixels)
    assert weighted_iou(matrix) == pytest.approx(weighted)


def test_figures_are_those_of_scikit_learn(pair):
    reference = pytest.importorskip("sklearn.metrics")
    scored = pair[0] < 4
    truth, predicted = pair[0][scored], pair[1][scored]
    matrix = confusion_matrix(*pair, 4)
    np.testing.assert_array_equal(matrix, reference.confusion_matrix(truth, predicted))
    assert global_accuracy(matrix) == pytest.approx(reference.accuracy_score(truth, predicted))
    assert class_accuracy(matrix).mean() == pytest.approx(reference.balanced_accuracy_score(truth, predicted))
    np.testing.assert_allclose(class_iou(matrix), reference.jaccard_score(truth, predicted, average=None))
    assert weighted_iou(matrix) == pytest.approx(reference.jaccard_score(truth, predicted, average="weighted"))


def test_a_class_that_does_not_occur_has_no_figures():
    matrix = np.array([[6, 2, 0], [0, 0, 0], [1, 0, 3]])  # class 1 is predicted, but is not there
    np.testing.assert_allclose(class_accuracy(matrix), [6 / 8, np.nan, 3 / 4])
    np.testing.assert_allclose(class_iou(matrix), [6 / 9, np.nan, 3 / 4])
    assert weighted_iou(matrix) == pytest.approx((8 * 6 / 9 + 4 * 3 / 4) / 12)


def naive_boundary_f1(truth, predicted, classes, ignored, tolerance):
    """The definition in docs/evaluation.md, with loops over all points."""
    height, width = truth.shape
    distance = tolerance * math.hypot(height, width)
    scored = {(r, c) for r in range(height) for c in range(width) if truth[r, c] < classes and truth[r, c] != ignored}

    def outline(labels, c, pairs_in=None):
        """Points labelled c next to another label; with pairs_in, of which both are in that set."""
        points = []
        for row, column in np.argwhere(labels == c).tolist():
            for r, k in ((row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1)):
                if not (0 <= r < height and 0 <= k < width) or labels[r, k] == c:
                    continue
                if pairs_in is None or {(row, column), (r, k)} <= pairs_in:
                    points.append((row, column))
                    break
        return points

    def near(points, others):
        hits = sum(any(math.dist(p, o) <= distance for o in others) for p in points)
        return hits / len(points) if points else 0.0

    scores = []
    for c in range(classes):
        wanted = outline(truth, c, scored)
        if not wanted or c == ignored:
            scores.append(math.nan)
            continue
        found = outline(predicted, c)
        precision = near([p for p in found if p in scored], outline(truth, c))
        recall = near(wanted, found)
        scores.append(2 * precision * recall / (precision + recall) if precision + recall else 0.0)
    return scores


@pytest.mark.parametrize("tolerance", [0.0, 0.0075, 0.04, 0.08])
@pytest.mark.parametrize("ignored", [None, 1])
def test_boundary_f1_is_what_loops_over_all_points_give(pair, ignored, tolerance):
    found = boundary_f1(*pair, 4, ignored, tolerance)
    np.testing.assert_allclose(found, naive_boundary_f1(*pair, 4, ignored, tolerance))
    assert np.isnan(found[1]) == (ignored == 1)


def test_boundary_f1_of_streets_that_overlap_in_part():
    truth, predicted = draw_street(0, (36, 48))[1], draw_street(1, (36, 48))[1].copy()
    predicted[predicted == 11] = 0
    found = boundary_f1(truth, predicted, 11, tolerance=0.05)
    np.testing.assert_allclose(found, naive_boundary_f1(truth, predicted, 11, None, 0.05))
    assert 0 < np.nanmean(found) < 1


def test_a_distance_equal_to_the_tolerance_counts():
    """On 240 x 320 pixels, 0.75 % of the diagonal is 3: an edge that is 3 pixels off is right, 4 pixels off is not."""
    truth = np.zeros((240, 320), np.uint8)
    truth[:, 200:] = 1
    for shift, expected in ((3, 1), (4, 0)):
        predicted = np.zeros_like(truth)
        predicted[:, 200 + shift :] = 1
        np.testing.assert_array_equal(boundary_f1(truth, predicted, 2), [expected, expected])


def test_boundary_f1_of_what_is_not_there():
    truth, predicted = np.zeros((6, 8), np.uint8), np.zeros((6, 8), np.uint8)
    assert np.isnan(boundary_f1(truth, predicted, 3)).all()  # no outlines
    predicted[2:4, 2:4] = 2
    assert np.isnan(boundary_f1(truth, predicted, 3)).all()  # none in the truth
    np.testing.assert_array_equal(boundary_f1(predicted, truth, 3), [0, np.nan, 0])  # none predicted
    truth[2:4, 2:4] = 255
    assert np.isnan(boundary_f1(truth, predicted, 3)).all()  # the only one is against pixels to leave out


def test_an_outline_against_pixels_to_leave_out_may_be_hit_and_may_be_missed():
    truth = np.zeros((6, 12), np.uint8)
    truth[:, 4:8], truth[:, 8:], truth[3:, 8] = 1, 2, 255
    predicted = truth.copy()
    predicted[3:, 8] = 1
    np.testing.assert_array_equal(boundary_f1(truth, predicted, 3, tolerance=0), [1, 1, 1])
    predicted[3:, 8] = 2
    np.testing.assert_array_equal(boundary_f1(truth, predicted, 3, tolerance=0), [1, 1, 1])


def test_boundary_f1_refuses_shapes_that_differ():
    with pytest.raises(ImageError, match=r"labels of shape \(2, 3\) and \(3, 2\) predicted; expected one shape"):
        boundary_f1(np.zeros((2, 3), np.uint8), np.zeros((3, 2), np.uint8), 2)


@pytest.fixture
def net():
    return segmenter()


def labelled_by(net, folder, size, seeds=(0, 1)):
    """Frames whose labels are the network's own (at the frame's size), but for a corner and a few to leave out."""
    for seed in seeds:
        image = street(*size, seed=seed)
        labels = mc.segment(net, image)
        labels[:3, :5], labels[4:7, 3:9], labels[4:7, :3] = 2, 1, 0
        labels[-2:, -4:] = 3
        labels[-1, -1] = 255
        write_frame(folder, f"frame{seed}", image, labels)
    return labelled_frames(folder, 3)


def test_evaluate_adds_up_the_frames(net, tmp_path):
    frames = labelled_by(net, tmp_path, (18, 24))
    found = evaluate(net, frames)
    truths = [frame.read()[1] for frame in frames]
    predictions = [mc.segment(net, frame.image) for frame in frames]
    expected = [counted(t, p, 3, (3, 255)) for t, p in zip(truths, predictions, strict=True)]
    np.testing.assert_array_equal(found.confusion, sum(expected))
    assert (found.classes, found.frames, found.left_out) == (CLASSES, ("frame0", "frame1"), 16)
    assert found.pixels.sum() + found.left_out == 2 * 18 * 24
    boundary = [boundary_f1(t, p, 3) for t, p in zip(truths, predictions, strict=True)]
    np.testing.assert_array_equal(found.boundary, boundary)
    np.testing.assert_allclose(found.class_boundary_f1, np.nanmean(boundary, axis=0))
    np.testing.assert_allclose(found.frame_boundary_f1, np.nanmean(boundary, axis=1))
    assert found.totals == {
        "global accuracy": global_accuracy(found.confusion),
        "class mean accuracy": pytest.approx(np.nanmean(class_accuracy(found.confusion))),
        "mean IoU": pytest.approx(np.nanmean(class_iou(found.confusion))),
        "weighted IoU": weighted_iou(found.confusion),
        "mean boundary F1": pytest.approx(np.mean(found.frame_boundary_f1)),
    }


@pytest.mark.parametrize("size", [(9, 12), (36, 48), (20, 30)])
def test_labels_are_compared_at_the_network_s_size_or_the_frame_s(net, tmp_path, size):
    (frame,) = labelled_by(net, tmp_path, size, seeds=(0,))
    image, truth = frame.read()
    enlarged = mc.imresize(image, (18, 24))
    at_network = evaluate(net, [frame])
    expected = counted(mc.imresize(truth, (18, 24), "nearest"), mc.segment(net, enlarged), 3, (3, 255))
    np.testing.assert_array_equal(at_network.confusion, expected)
    at_frame = evaluate(net, [frame], at="frame")
    np.testing.assert_array_equal(at_frame.confusion, counted(truth, mc.segment(net, image), 3, (3, 255)))
    assert (at_network.pixels.sum() + at_network.left_out, at_frame.pixels.sum() + at_frame.left_out) == (
        18 * 24,
        size[0] * size[1],
    )


def test_labels_are_repeated_where_they_grow_by_whole_numbers(net, tmp_path):
    (frame,) = labelled_by(net, tmp_path, (9, 12), seeds=(0,))
    image, truth = frame.read()
    repeated = truth.repeat(2, axis=0).repeat(2, axis=1)
    predicted = mc.segment(net, mc.imresize(image, (18, 24)))
    np.testing.assert_array_equal(evaluate(net, [frame]).confusion, counted(repeated, predicted, 3, (3, 255)))


def test_a_network_of_any_input_size_takes_frames_of_several(tmp_path):
    net = segmenter(space=(None, None))
    frames = [*labelled_by(net, tmp_path / "a", (18, 24), (0,)), *labelled_by(net, tmp_path / "b", (10, 16), (1,))]
    found, same = evaluate(net, frames), evaluate(net, frames, at="frame")
    np.testing.assert_array_equal(found.confusion, same.confusion)
    assert found.confusion.sum() + found.left_out == 18 * 24 + 10 * 16


def test_one_label_more_can_be_left_out_and_classes_without_names_are_numbered(net, tmp_path):
    frames = labelled_by(net, tmp_path, (18, 24), seeds=(0,))
    nameless = Network(net.graph, net.parameters())
    found = evaluate(nameless, frames, ignored=3)
    assert found.classes == ("class 0", "class 1", "class 2")
    truth = frames[0].read()[1]
    truth[truth == 3] = 0
    write_frame(tmp_path, "frame0", frames[0].read()[0], truth)
    found = evaluate(nameless, frames, ignored=2)
    assert found.left_out == np.isin(truth, (2, 255)).sum()
    assert np.isnan(found.class_iou[2])


def sequence_labeller():
    """A network that labels every time step of a sequence."""
    b = Builder("sequence", (12, None))
    b.add("scores", Conv(3, (1,)))
    return with_random_parameters(b)


@pytest.mark.parametrize(("net", "output"), [(classifier(), "softmax"), (sequence_labeller(), "scores")])
def test_evaluate_refuses_networks_that_do_not_label_pixels(net, output, scenes):
    message = f"'{output}' does not label the pixels of an image; expected a network for segmentation, whose output is"
    with pytest.raises(LayerError, match=message):
        evaluate(net, labelled_frames(scenes))


def test_evaluate_refuses_what_cannot_be_compared(net, tmp_path, scenes):
    frames = labelled_by(net, tmp_path / "net", (18, 24))
    with pytest.raises(MinicamError, match="at is 'image'; expected one of"):
        evaluate(net, frames, at="image")
    with pytest.raises(ImageError, match=r"street0\.png: label 5 at row .* expected 0 to 2 for the 3 classes"):
        evaluate(net, labelled_frames(scenes), ignored=11)
    with pytest.raises(MinicamError, match="in 0 frames there is no pixel of any class; expected some to compare"):
        evaluate(net, [])
    write_frame(tmp_path / "void", "x", street(), np.full((18, 24), 3, np.uint8))
    with pytest.raises(MinicamError, match="in 1 frames there is no pixel of any class"):
        evaluate(net, labelled_frames(tmp_path / "void", 3))


def run(capsys, *arguments):
    """Exit status, standard output, standard error."""
    status = main([str(argument) for argument in arguments])
    return status, *capsys.readouterr()


@pytest.fixture
def folder(net, tmp_path):
    """A folder with a weight file and two labelled frames of 36 x 48, of which one class is never true."""
    frames = labelled_by(net, tmp_path, (36, 48))
    for frame in frames:
        image, truth = frame.read()
        truth[truth == 1] = 0
        write_frame(tmp_path, frame.name, image, truth)
    mc.save(net, tmp_path / "net.h5")
    return tmp_path


def test_command_prints_a_table(folder, net, capsys):
    status, out, err = run(capsys, "evaluate", folder, "--weights", folder / "net.h5")
    assert (status, err) == (0, "")
    found = evaluate(net, labelled_frames(folder, 3))
    lines = [line.split() for line in out.splitlines()]
    assert lines[0] == ["class", "pixels", "IoU", "accuracy", "boundary", "F1"]
    assert lines[1] == [
        *("Sky", f"{found.pixels[0]:,}", f"{found.class_iou[0]:.3f}", f"{found.class_accuracy[0]:.3f}"),
        f"{found.class_boundary_f1[0]:.3f}",
    ]
    assert lines[2] == ["Road", "0", "-", "-", "-"]
    assert f"mean IoU {np.nanmean(found.class_iou):.3f}, weighted IoU {weighted_iou(found.confusion):.3f}" in out
    assert out.endswith(f"2 frames at the network's input size; {found.left_out} pixels left out\n")


def test_command_reports_json(folder, net, capsys):
    arguments = ("evaluate", folder, "--weights", folder / "net.h5", "--json", "--at", "frame", "--ignored", 3)
    status, out, err = run(capsys, *arguments)
    assert (status, err) == (0, "")
    found, report = evaluate(net, labelled_frames(folder, 3), at="frame"), json.loads(out)
    assert report["totals"] == found.totals
    assert [entry["class"] for entry in report["classes"]] == list(CLASSES)
    assert report["classes"][1] == {"class": "Road", "pixels": 0, "iou": None, "accuracy": None, "boundary_f1": None}
    assert report["classes"][2]["iou"] == found.class_iou[2]
    assert report["frames"] == [
        {"frame": f"frame{i}", "boundary_f1": found.frame_boundary_f1[i], "device": "cpu"} for i in (0, 1)
    ]
    assert (report["confusion"], report["left_out"], report["at"]) == (
        found.confusion.tolist(),
        found.left_out,
        "frame",
    )


def test_command_stops_at_a_bad_frame_before_it_computes(folder, capsys, monkeypatch):
    monkeypatch.setattr(Network, "forward", lambda *_: pytest.fail("computed"))
    (folder / "labels" / "frame1.png").unlink()
    status, out, err = run(capsys, "evaluate", folder, "--weights", folder / "net.h5")
    assert (status, out) == (1, "")
    assert err == (f"minicam: error: {folder}/images/frame1.png: has no labels; expected {folder}/labels/frame1.png\n")


def test_command_refuses_wrong_usage(folder, capsys):
    status, out, err = run(capsys, "evaluate", folder / "gone", "--weights", folder / "net.h5")
    assert (status, out) == (2, "")
    assert "gone: is not a folder; expected images/NAME.jpg" in err
    mc.save(classifier(), folder / "classifier.h5")
    status, _, err = run(capsys, "evaluate", folder, "--weights", folder / "classifier.h5")
    assert status == 2
    assert "'softmax' does not label the pixels of an image" in err
