"""The synthetic street scenes of tools/streets.py: repeatable, complete, and labelled exactly."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import streets
from PIL import Image

SMALL = (24, 32)
EXAMPLE = Path(__file__).parent.parent / "examples" / "street.png"

# The least and the most of the default picture that each class may cover, in per cent.
AREAS = {
    streets.SKY: (8, 35),
    streets.BUILDING: (8, 40),
    streets.POLE: (0.3, 4),
    streets.ROAD: (25, 50),
    streets.PAVEMENT: (1, 12),
    streets.TREE: (4, 30),
    streets.SIGN: (0.1, 3),
    streets.FENCE: (0.3, 8),
    streets.CAR: (2, 15),
    streets.PEDESTRIAN: (0.2, 4),
    streets.BICYCLIST: (0.2, 4),
    streets.VOID: (0, 2),
}


@pytest.fixture(scope="module")
def default_scene():
    return streets.draw_street()


@pytest.fixture(scope="module")
def small_scenes():
    return [streets.draw_street(seed, SMALL) for seed in range(10)]


def test_default_scene_has_every_class_in_a_sane_amount(default_scene):
    image, labels = default_scene
    assert image.shape == (720, 960, 3)
    assert labels.shape == (720, 960)
    assert image.dtype == labels.dtype == np.uint8
    per_cent = 100 * np.bincount(labels.ravel(), minlength=12) / labels.size
    assert len(per_cent) == 12
    for label, (least, most) in AREAS.items():
        assert least <= per_cent[label] <= most, f"class {label} covers {per_cent[label]:.2f} %"


def test_example_picture_is_the_default_scene(default_scene):
    with Image.open(EXAMPLE) as file:
        example = np.asarray(file)
    # Another Pillow may round a polygon's edge another way; nothing else may differ.
    assert (example != default_scene[0]).any(axis=2).mean() < 0.005


def test_colours_suit_the_labels(default_scene):
    image, labels = default_scene
    sky, road, tree = (image[labels == label].mean(axis=0) for label in (streets.SKY, streets.ROAD, streets.TREE))
    assert sky.min() > 180
    assert np.ptp(road) < 15
    assert 50 < road.mean() < 130
    assert tree.argmax() == 1


def test_smaller_picture_shows_the_same_scene(default_scene):
    image, labels = streets.draw_street(0, (360, 480))
    assert (labels == default_scene[1][1::2, 1::2]).mean() > 0.95
    halved = default_scene[0].reshape(360, 2, 480, 2, 3).mean(axis=(1, 3))
    assert np.abs(halved - image).mean() < 5


def test_seed_decides_everything(small_scenes):
    for once, again in zip(small_scenes[5], streets.draw_street(5, SMALL), strict=True):
        assert once.tobytes() == again.tobytes()
    assert (small_scenes[5][0] != small_scenes[6][0]).mean() > 0.5
    assert (small_scenes[5][1] != small_scenes[6][1]).mean() > 0.05


@pytest.mark.parametrize("size", [(37, 53), (1, 1), (16, 200)])
def test_odd_sizes(size):
    image, labels = streets.draw_street(1, size)
    assert image.shape == (*size, 3)
    assert labels.shape == size
    assert labels.max() < 12


@pytest.mark.parametrize("seed", range(10))
def test_every_seed_gives_a_street(seed, small_scenes):
    classes = set(np.unique(small_scenes[seed][1]))
    assert classes <= set(range(12))
    assert {streets.SKY, streets.BUILDING, streets.ROAD, streets.CAR, streets.TREE} <= classes


def test_paint_writes_colour_and_label_of_the_same_pixels():
    canvas = streets.Canvas((60, 80), np.random.default_rng(0))
    before = canvas.colours.copy()
    canvas.paint(streets.upright((-1, 5), (1, 5), 0, 2), streets.CAR, (200, 0, 0))
    painted = (canvas.colours != before).any(axis=2)
    assert painted.any()
    np.testing.assert_array_equal(painted, canvas.labels == streets.CAR)


def test_command_line(tmp_path, small_scenes):
    picture, labels = tmp_path / "picture.png", tmp_path / "labels.png"
    options = ["--seed", "3", "--size", *map(str, SMALL), "--labels", labels]
    subprocess.run([sys.executable, streets.__file__, *options, picture], check=True)
    for path, array in zip((picture, labels), small_scenes[3], strict=True):
        with Image.open(path) as file:
            np.testing.assert_array_equal(np.asarray(file), array)
