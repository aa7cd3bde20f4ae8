"""Evaluation: labelled frames, the figures of a comparison, and the command that prints them."""

import functools
import re

import numpy as np
import pytest
import streets
from PIL import Image

from minicam import ImageError, MinicamError
from minicam.evaluation import Frame, labelled_frames


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
    image, labels = draw_street(2, (24, 32))  # another size, and a name before the others
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
    image, labels = draw_street(0, (24, 32))
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
