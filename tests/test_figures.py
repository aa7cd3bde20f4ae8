"""Figures: exact overlays, layouts that cut and overlap nothing, colours where they belong, files whole or absent."""

import itertools

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from minicam.errors import ImageError, MinicamError
from minicam.figures import (
    grid_figure,
    label_figure,
    map_panel,
    overlay,
    panels_figure,
    save_figure,
    save_label_map,
)

CLASSES = ["Sky", "Building", "Pole", "Road", "Pavement", "Tree", "SignSymbol", "Fence", "Car", "Pedestrian", "Cyclist"]
COLORS = np.random.default_rng(0).integers(0, 256, (11, 3), dtype=np.uint8)
SHAPES = [(72, 96), (8, 8), (20, 600), (600, 20), (1, 1)]


def street(shape):
    """A grey image, labels and two maps of one shape."""
    image = np.full((*shape, 3), 128, np.uint8)
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    labels = (rows * 11 // shape[0]).astype(np.uint8)
    return image, labels, (rows + 1e-3).astype(np.float32), np.exp(-(columns**2) / 9.0) * 1.234e-7


def drawn(figure):
    """The figure as an (H, W, 3) array, and its renderer."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].astype(int), canvas.get_renderer()


def texts(figure):
    """Every text that can be seen."""
    return [text for text in figure.findobj(Text) if text.get_visible() and text.get_text().strip()]


def check_layout(figure):
    """All texts lie inside the figure, off each other, and off all pictures."""
    renderer = FigureCanvasAgg(figure).get_renderer()
    figure.draw_without_rendering()
    boxes = [(text.get_text(), text.get_window_extent(renderer)) for text in texts(figure)]
    width, height = figure.bbox.size
    for words, box in boxes:
        assert box.x0 >= 0, words
        assert box.y0 >= 0, words
        assert box.x1 <= width, words
        assert box.y1 <= height, words
    pictures = [("a picture", axes.get_window_extent(renderer)) for axes in figure.axes]
    for (words, box), (other_words, other) in itertools.combinations(boxes, 2):
        assert not box.padded(-1).overlaps(other.padded(-1)), (words, other_words)
    for (words, box), (_, picture) in itertools.product(boxes, pictures):
        assert not box.padded(-1).overlaps(picture), words
    assert max(figure.get_size_inches()) * figure.dpi < 4000


def panel_color(figure, axes, row, column):
    """The colour drawn at a pixel of the picture in `axes`."""
    canvas, _ = drawn(figure)
    x, y = axes.transData.transform((column, row))
    return canvas[canvas.shape[0] - 1 - int(y), int(x)]


# ------------------------------------------------------------------------------------------------- overlays


def test_overlay_blends_exactly_and_leaves_void():
    image = np.array([[[10, 20, 30], [100, 101, 102], [1, 2, 3], [5, 5, 5]]], np.uint8)
    before = image.copy()
    labels = np.array([[0, 1, 255, -1]])
    blended = overlay(image, labels, [(255, 0, 100), (0, 0, 1)])
    assert blended.dtype == np.uint8
    assert blended.tolist() == [[[157, 8, 72], [40, 40, 41], [1, 2, 3], [5, 5, 5]]]
    np.testing.assert_array_equal(image, before)
    assert overlay(image, labels, [(7, 8, 9)] * 2, alpha=1.0)[0, :2].tolist() == [[7, 8, 9]] * 2
    assert overlay(image[..., 0].astype(float), labels, COLORS, alpha=0.0)[0, :, 0].tolist() == [10, 100, 1, 5]


@pytest.mark.parametrize(
    ("labels", "colors", "message"),
    [
        (np.zeros((3, 4), int), COLORS, r"labels of shape \(3, 4\) and dtype int64 do not fit an image of \(2, 2\)"),
        (np.zeros((2, 2)), COLORS, "dtype float64"),
        (np.zeros((2, 2), int), COLORS[:, :2], r"colors of shape \(11, 2\)"),
        (np.zeros((2, 2), int), None, r"colors of shape \(\)"),
    ],
)
def test_overlay_of_what_does_not_fit(labels, colors, message):
    with pytest.raises(ImageError, match=message):
        overlay(np.zeros((2, 2, 3), np.uint8), labels, colors)


# -------------------------------------------------------------------------------------------------- layouts


@pytest.mark.parametrize("classes", [CLASSES, (), [name * 6 for name in CLASSES], ["$x^", "a_b$", *CLASSES[2:]]])
@pytest.mark.parametrize("shape", SHAPES)
def test_label_figure_layout(shape, classes):
    image, labels, _, _ = street(shape)
    figure = label_figure(image, labels, classes, COLORS)
    check_layout(figure)
    assert [text.get_text() for text in texts(figure)] == list(classes or map(str, range(11)))


@pytest.mark.parametrize("title", ["Road (res5b_relu)", "inception_5b-relu_5x5_reduce, $x^$, " * 4, "W" * 70, " "])
@pytest.mark.parametrize("shape", SHAPES)
def test_map_figures_layout(shape, title):
    image, labels, road, car = street(shape)
    check_layout(panels_figure(image, labels, CLASSES, COLORS, [road, car], [title, "Car"]))
    check_layout(panels_figure(image, None, (), None, [car * 0], [title]))
    check_layout(grid_figure(image, [[road, car], [car, -road], [road * 0, car]], [[title, "Car"]] * 3))


@pytest.mark.parametrize("count", range(9))
def test_any_number_of_maps(count):
    image, labels, road, _ = street((72, 96))
    titles = [f"map {index}" for index in range(count)]
    figure = panels_figure(image, labels, CLASSES, COLORS, [road] * count, titles)
    check_layout(figure)
    assert [axes.get_title() for axes in figure.axes] == ["Image", "Segmentation", *titles]


def test_four_panels_are_two_by_two():
    image, labels, road, car = street((72, 96))
    figure = panels_figure(image, labels, CLASSES, COLORS, [road, car], ["Road", "Car"])
    corners = np.array([axes.get_position().p0 for axes in figure.axes])
    assert len(np.unique(corners[:, 0].round(6))) == len(np.unique(corners[:, 1].round(6))) == 2
    assert figure.get_figwidth() * figure.dpi == pytest.approx(1600)
    for axes in figure.axes:
        box = axes.get_window_extent()
        assert box.height / box.width == pytest.approx(72 / 96)


def test_class_names_are_centred_on_their_colours():
    image, labels, _, _ = street((72, 96))
    figure = label_figure(image, labels, CLASSES, COLORS)
    canvas, renderer = drawn(figure)
    (bar,) = figure.axes[0].child_axes
    box = bar.get_window_extent(renderer)
    middle = int((box.x0 + box.x1) / 2)
    for index, text in enumerate(bar.get_yticklabels()):
        extent = text.get_window_extent(renderer)
        height = box.y1 - (index + 0.5) * box.height / len(CLASSES)
        assert text.get_text() == CLASSES[index]
        assert (extent.y0 + extent.y1) / 2 == pytest.approx(height, abs=3)
        for shift in (-0.4, 0, 0.4):  # one block of one colour
            y = canvas.shape[0] - 1 - int(height + shift * box.height / len(CLASSES))
            assert canvas[y, middle].tolist() == COLORS[index].tolist()


def test_of_very_many_classes_those_that_occur_are_named():
    labels = np.array([[3, 99], [255, 3]])
    names = [f"class {index}" for index in range(100)]
    figure = label_figure(np.zeros((2, 2, 3), np.uint8), labels, names, np.zeros((100, 3), np.uint8))
    assert [text.get_text() for text in texts(figure)] == ["class 3", "class 99"]
    assert label_figure(np.zeros((1, 1, 3), np.uint8), np.array([[255]]), names, np.zeros((100, 3))).axes


# ----------------------------------------------------------------------------------------------- map panels


def test_a_hot_spot_is_red():
    image = np.full((40, 60, 3), 128, np.uint8)
    cam = np.zeros((40, 60), np.float32)
    cam[10:14, 40:44] = 3e-9
    figure = panels_figure(image, None, (), None, [cam], ["spot"])
    hot, cold = (panel_color(figure, figure.axes[1], *place) for place in ((12, 42), (30, 10)))
    np.testing.assert_allclose(hot, [128, 64, 64], atol=1)  # half grey, half jet's last and first colour
    np.testing.assert_allclose(cold, [64, 64, 128], atol=1)


def test_panels_have_their_own_scale_or_a_shared_one():
    image = np.zeros((40, 60, 3), np.uint8)
    small, large = np.full((40, 60), 1.0), np.full((40, 60), 2.0)
    own = grid_figure(image, [[small, large]], [["a", "b"]])
    shared = grid_figure(image, [[small, large]], [["a", "b"]], range=(0, 2))
    colors = [[panel_color(figure, axes, 20, 30).tolist() for axes in figure.axes] for figure in (own, shared)]
    assert colors[0][0] == colors[0][1] == colors[1][1] != colors[1][0]
    assert [text.get_text() for text in texts(own)] == ["a", "0", "1", "b", "0", "2"]
    assert [text.get_text() for text in texts(shared)] == ["a", "0", "2", "b", "0", "2"]


@pytest.mark.parametrize("cam", [np.zeros((8, 8)), np.full((8, 8), -1.0, np.float32)])
def test_a_map_with_nothing_above_0_says_so(cam):
    figure = panels_figure(np.zeros((8, 8, 3), np.uint8), None, (), None, [cam], ["Road"])
    assert figure.axes[1].get_title() == "Road (nothing above 0)"
    # half of jet's first colour
    np.testing.assert_allclose(panel_color(figure, figure.axes[1], 4, 4), [0, 0, 64], atol=1)


@pytest.mark.parametrize("scale", [1e-45, 1e-40, 1e-30, 1e30])
def test_maps_of_extreme_size(scale):
    cam = (np.arange(64).reshape(8, 8) * np.float32(scale)).astype(np.float32)
    check_layout(panels_figure(np.zeros((8, 8, 3), np.uint8), None, (), None, [cam], ["Road"]))


def test_a_map_that_is_not_upsampled_covers_the_image():
    cam = np.array([[0, 1], [0, 0]], np.float32)
    figure = panels_figure(np.zeros((40, 60, 3), np.uint8), None, (), None, [cam], ["x"])
    assert panel_color(figure, figure.axes[1], 2, 57)[0] > 50
    assert panel_color(figure, figure.axes[1], 2, 2)[0] == 0


def test_marks():
    image, _, _, _ = street((40, 60))
    region = np.zeros((40, 60), bool)
    region[10:20, 30:50] = True
    everything = np.ones((40, 60), bool)
    cams = [np.zeros((40, 60))] * 3
    figure = panels_figure(image, None, (), None, cams, ["a", "b", "c"], marks=[(5, 7), region, everything])
    check_layout(figure)
    dot, outline, border = figure.axes[1:]
    assert panel_color(figure, dot, 5, 7).tolist() == [255, 255, 255]
    assert panel_color(figure, outline, 15, 29.5).min() > 200
    assert panel_color(figure, outline, 15, 40).min() < 100
    assert border.get_xlim() == (-0.5, 59.5)
    assert border.get_ylim() == (39.5, -0.5)


def test_map_panel_in_axes_of_the_caller():
    figure = Figure()
    axes = figure.subplots(1, 2)
    map_panel(axes[0], np.zeros((8, 8, 3), np.uint8), np.eye(8), "mine", mark=(0, 0))
    drawn(figure)
    assert axes[0].get_title() == "mine"
    assert axes[0].get_aspect() == 1


@pytest.mark.parametrize(
    ("cam", "mark", "message"),
    [
        (np.full((8, 8), np.nan), None, "map 'Road' of shape .* finite values only"),
        (np.zeros((1, 8, 8)), None, r"shape \(1, 8, 8\) cannot be drawn"),
        (np.eye(8), (8, 0), r"mark \(8, 0\) does not fit an image of \(8, 8\)"),
        (np.eye(8), np.ones((4, 4), bool), "does not fit"),
    ],
)
def test_maps_and_marks_that_cannot_be_drawn(cam, mark, message):
    with pytest.raises(ImageError, match=message):
        map_panel(Figure().subplots(), np.zeros((8, 8, 3), np.uint8), cam, "Road", mark=mark)


def test_numbers_of_things_that_do_not_match():
    image, labels, road, _ = street((8, 8))
    with pytest.raises(MinicamError, match="1 maps and 2 titles; expected one for each"):
        panels_figure(image, labels, CLASSES, COLORS, [road], ["a", "b"])
    with pytest.raises(MinicamError, match="2 classes and 11 colors"):
        label_figure(image, labels, CLASSES[:2], COLORS)
    for maps, titles in (([], []), ([[road], [road, road]], [["a"], ["a", "b"]]), ([[road]], [["a", "b"]])):
        with pytest.raises(MinicamError, match="at least one row, all of one length"):
            grid_figure(image, maps, titles)


# ---------------------------------------------------------------------------------------------------- files


@pytest.mark.parametrize(
    ("suffix", "start"), [("png", b"\x89PNG"), ("PNG", b"\x89PNG"), ("pdf", b"%PDF"), ("svg", b"<?xml")]
)
def test_figures_are_written_by_suffix(suffix, start, tmp_path):
    image, labels, _, _ = street((72, 96))
    path = tmp_path / f"figure.{suffix}"
    path.write_text("an older file")
    save_figure(label_figure(image, labels, CLASSES, COLORS), path)
    assert path.read_bytes().startswith(start)
    assert list(tmp_path.iterdir()) == [path]
    if suffix == "png":
        with Image.open(path) as picture:
            assert picture.width == 1600


def test_figures_that_cannot_be_written(tmp_path):
    figure = Figure()
    with pytest.raises(MinicamError, match=r"x.bmp: cannot write '.bmp'; expected one of \('.png', '.pdf', '.svg'\)"):
        save_figure(figure, tmp_path / "x.bmp")
    with pytest.raises(MinicamError, match="'no suffix'"):
        save_figure(figure, str(tmp_path / "x"))
    with pytest.raises(MinicamError, match=r"x.png: cannot be written: No such file"):
        save_figure(figure, tmp_path / "nowhere" / "x.png")
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(MinicamError, match=r"folder.png: cannot be written"):
        save_figure(figure, tmp_path / "folder.png")


def test_a_figure_that_fails_leaves_the_older_file(tmp_path):
    figure = Figure()
    figure.text(0.5, 0.5, "$broken")
    figure.texts[0].set_text(r"$\nonsense$")
    (tmp_path / "x.png").write_text("older")
    with pytest.raises(ValueError, match="nonsense"):
        save_figure(figure, tmp_path / "x.png")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["older"]


def test_label_maps(tmp_path):
    labels = np.array([[0, 3, 10], [255, 1, 2]])
    for colors, mode in ((None, "L"), (COLORS, "P")):
        save_label_map(labels, tmp_path / "labels.png", colors)
        with Image.open(tmp_path / "labels.png") as picture:
            assert picture.mode == mode
            np.testing.assert_array_equal(np.asarray(picture), labels)
    with Image.open(tmp_path / "labels.png") as picture:
        assert picture.convert("RGB").getpixel((1, 0)) == tuple(COLORS[3].tolist())


@pytest.mark.parametrize(
    ("labels", "name", "message"),
    [
        (np.array([[256]]), "x.png", r"shape \(1, 1\), int64; expected \(H, W\) integers in 0..255"),
        (np.array([[-1]]), "x.png", "integers in 0..255"),
        (np.array([[1.0]]), "x.png", "float64"),
        (np.array([1]), "x.png", r"shape \(1,\)"),
        (np.array([[1]]), "x.jpg", "expected the suffix .png"),
        (np.array([[1]]), "nowhere/x.png", "cannot be written"),
    ],
)
def test_label_maps_that_cannot_be_written(labels, name, message, tmp_path):
    with pytest.raises(MinicamError, match=message):
        save_label_map(labels, tmp_path / name)
    assert not list(tmp_path.iterdir())
