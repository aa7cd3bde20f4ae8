"""Reading, checking and resizing images, against the formula, Pillow, JAX and files that the tests write."""

import io
import logging
import struct
import sys
import zlib
from math import ceil, floor

import hypothesis.extra.numpy as arrays
import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms

from minicam.errors import ImageError, MinicamError
from minicam.images import as_image, optional_module, read_image
from minicam.resizing import imresize, resize_weights

TABLE = np.array([[3.0, 1, 2, 6], [1, 5, 2, 7], [1, 3, 6, 2], [4, 1, 9, 2]])


# ---------------------------------------------------------------------------------------------- resizing


def kernel(method, t):
    """The interpolation kernels, written case by case."""
    t = abs(t)
    if method == "bilinear":
        return 1 - t if t < 1 else 0.0
    if t <= 1:
        return 1.5 * t**3 - 2.5 * t**2 + 1
    return -0.5 * t**3 + 2.5 * t**2 - 4 * t + 2 if t < 2 else 0.0


def naive_resize(x, size_out, method, edges, antialias):
    """One axis, value by value, from the formula with 1-based coordinates."""
    size_in = len(x)
    s = size_out / size_in
    stretch = 1 / s if antialias and s < 1 else 1.0
    period = [*range(1, size_in + 1), *range(size_in, 0, -1)]
    y = []
    for i in range(1, size_out + 1):
        u = i / s + (1 - 1 / s) / 2
        total = weights = 0.0
        for tap in range(floor(u - 3 * stretch), ceil(u + 3 * stretch) + 1):
            weight = kernel(method, (u - tap) / stretch)
            source = period[(tap - 1) % len(period)] if edges == "mirror" else min(max(tap, 1), size_in)
            total, weights = total + weight * x[source - 1], weights + weight
        y.append(total / weights)
    return np.array(y)


def test_check_values_1d():
    expected = [0, -0.0234, -0.0703, 0.2031, 0.7969, 1.0938, 1.0938, 0.7969, 0.2031]
    x = np.array([0.0, 0, 1, 1, 0])
    np.testing.assert_allclose(imresize(x, (10,)), [*expected, -0.0938], atol=5e-5)
    np.testing.assert_allclose(imresize(x, (10,), edges="clamp"), [*expected, -0.0703], atol=5e-5)


def test_check_values_2d():
    expected = [3.3109, 2.6187, 1.1206, 0.7166, 1.4067, 2.8883, 5.1615, 6.2060]
    np.testing.assert_allclose(imresize(TABLE, (8, 8), edges="clamp")[0], expected, atol=5e-5)


@pytest.mark.parametrize("antialias", [True, False])
@pytest.mark.parametrize("edges", ["mirror", "clamp"])
@pytest.mark.parametrize("method", ["bicubic", "bilinear"])
@pytest.mark.parametrize("sizes", [(5, 10), (7, 3), (6, 6), (1, 4), (4, 1), (3, 100), (100, 7), (130, 150), (2, 3)])
def test_equals_the_formula(sizes, method, edges, antialias):
    x = np.random.default_rng(0).normal(size=sizes[0])
    expected = naive_resize(x, sizes[1], method, edges, antialias)
    np.testing.assert_allclose(imresize(x, sizes[1:], method, edges, antialias), expected, atol=1e-12)


@pytest.mark.parametrize("size", [(9, 5, 14), (14, 9, 5), (7, 8, 6)])
def test_three_axes_are_one_after_another(size):
    x = np.random.default_rng(1).normal(size=(7, 8, 6))
    expected = x
    for axis, n in enumerate(size):
        expected = np.apply_along_axis(naive_resize, axis, expected, n, "bicubic", "mirror", True)
    np.testing.assert_allclose(imresize(x, size), expected, atol=1e-12)


def test_axes_are_the_first_ones_or_those_given():
    x = np.random.default_rng(2).normal(size=(4, 5, 3))
    channels_first = imresize(np.moveaxis(x, 2, 0), (8, 7), axes=(-2, -1))
    np.testing.assert_array_equal(np.moveaxis(channels_first, 0, 2), imresize(x, (8, 7)))
    np.testing.assert_array_equal(imresize(x, (7, 8), axes=(1, 0)), imresize(x, (8, 7)))
    assert channels_first.flags.c_contiguous


def interior(shape, size):
    """Outputs that see no edge: Pillow and JAX leave out the taps beyond it, where we mirror."""
    margins = [ceil(4 * max(1, out / n)) for n, out in zip(shape, size, strict=True)]
    return tuple(slice(margin, -margin) for margin in margins)


@pytest.mark.parametrize("size", [(60, 90), (17, 23), (60, 23), (31, 47)])
@pytest.mark.parametrize(("method", "resample"), [("bicubic", 3), ("bilinear", 2)])
def test_interior_equals_pillow(size, method, resample):
    x = np.random.default_rng(3).random((31, 47), dtype=np.float32)
    expected = np.asarray(Image.fromarray(x).resize(size[::-1], Image.Resampling(resample)))
    inside = interior(x.shape, size)
    np.testing.assert_allclose(imresize(x, size, method)[inside], expected[inside], atol=2e-6)


@pytest.mark.parametrize("antialias", [True, False])
@pytest.mark.parametrize("size", [(60, 90), (17, 23), (60, 23)])
@pytest.mark.parametrize(("method", "theirs"), [("bicubic", "cubic"), ("bilinear", "linear")])
def test_interior_equals_jax(size, method, theirs, antialias):
    x = np.random.default_rng(4).random((31, 47), dtype=np.float32)
    expected = np.asarray(jax.image.resize(x, size, theirs, antialias=antialias))
    inside = interior(x.shape, size)
    np.testing.assert_allclose(imresize(x, size, method, antialias=antialias)[inside], expected[inside], atol=5e-6)


sizes = st.integers(1, 40)
rules = st.tuples(st.sampled_from(["bicubic", "bilinear"]), st.sampled_from(["mirror", "clamp"]), st.booleans())


@given(sizes, sizes, rules)
def test_weights_are_a_partition_of_unity(size_in, size_out, rule):
    indices, weights = resize_weights(size_in, size_out, *rule)
    assert indices.shape == weights.shape
    assert len(indices) == size_out
    assert indices.min() >= 0
    assert indices.max() < size_in
    np.testing.assert_allclose(weights.sum(axis=1), 1, atol=1e-12)


@given(sizes, sizes, rules, st.integers(0, 255))
def test_a_constant_stays(size_in, size_out, rule, value):
    assert np.all(imresize(np.full(size_in, value, np.uint8), (size_out,), *rule) == value)
    np.testing.assert_allclose(imresize(np.full(size_in, float(value)), (size_out,), *rule), value, rtol=1e-13)


@given(st.integers(8, 40), st.integers(8, 80), st.sampled_from(["bicubic", "bilinear"]))
def test_a_ramp_stays_a_ramp_inside(size_in, size_out, method):
    centres = (np.arange(size_out) + 0.5) * size_in / size_out - 0.5
    inside = (centres >= 1) & (centres <= size_in - 2)
    resized = imresize(np.arange(size_in, dtype=float), (size_out,), method, antialias=False)
    np.testing.assert_allclose(resized[inside], centres[inside], atol=1e-12)


@given(arrays.arrays(np.uint8, arrays.array_shapes(min_dims=1, max_dims=3, max_side=12)), st.data(), rules)
def test_flipping_commutes(x, data, rule):
    size = tuple(data.draw(sizes) for _ in x.shape)
    np.testing.assert_array_equal(np.flip(imresize(x, size, *rule)), imresize(np.flip(x), size, *rule))


@given(arrays.arrays(np.uint8, arrays.array_shapes(max_dims=3)), rules)
def test_the_same_size_is_the_identity(x, rule):
    for given_array in (x, x.astype(np.float32), x.astype(np.float16) / 3):
        resized = imresize(given_array, x.shape, *rule)
        np.testing.assert_array_equal(resized, given_array)
        assert resized.dtype == given_array.dtype
        assert not np.shares_memory(resized, given_array)


@given(st.integers(1, 60), st.integers(1, 60))
def test_nearest_takes_the_nearest_input_and_the_later_of_two(size_in, size_out):
    expected = []
    for i in range(size_out):
        distances = [abs((2 * i + 1) * size_in - (2 * k + 1) * size_out) for k in range(size_in)]
        expected.append(max(k for k in range(size_in) if distances[k] == min(distances)))
    assert imresize(np.arange(size_in), (size_out,), "nearest").tolist() == expected


@settings(max_examples=20)
@given(arrays.arrays(np.float32, (5, 7), elements=st.floats(-9, 9, width=32)), sizes, sizes)
def test_nearest_gives_only_input_values(x, height, width):
    assert np.isin(imresize(x, (height, width), "nearest"), x).all()


def test_uint8_is_rounded_half_up_and_clipped():
    x = np.array([0, 1, 0, 255, 255, 0, 0], np.uint8)
    exact = imresize(x.astype(float), (14,))
    assert exact.min() < -1  # the overshoot is real
    assert exact.max() > 256
    np.testing.assert_array_equal(imresize(x, (14,)), np.floor(np.clip(exact, 0, 255) + 0.5))
    assert imresize(np.array([0, 1], np.uint8), (1,)).tolist() == [1]  # 0.5 is a tie


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float16, 1e-3), (np.float32, 1e-6), (np.float64, 0)])
def test_floating_types_stay(dtype, tolerance):
    x = np.random.default_rng(5).random((6, 7)).astype(dtype)
    resized = imresize(x, (15, 3))
    assert resized.dtype == dtype
    np.testing.assert_allclose(resized, imresize(x.astype(float), (15, 3)), rtol=0, atol=tolerance)


@pytest.mark.parametrize(
    ("x", "size", "options", "message"),
    [
        (TABLE, (0, 3), {}, "cannot resize 4 values to 0"),
        (TABLE, (3, -1), {}, "to -1; expected sizes of at least 1"),
        (TABLE, (2, 2), {"method": "lanczos"}, r"'lanczos'.* expected one of \('bicubic', 'bilinear', 'nearest'\)"),
        (TABLE, (2, 2), {"edges": "wrap"}, r"'wrap'.* \('mirror', 'clamp'\)"),
        (TABLE, (2, 2, 2), {}, r"axes \(0, 1, 2\) of an array of shape \(4, 4\) to \(2, 2, 2\)"),
        (TABLE, (2, 2), {"axes": (0,)}, "one size for each"),
        (TABLE, (2, 2), {"axes": (1, -1)}, "distinct axes"),
        (TABLE[:0], (2, 2), {}, "not empty"),
        (TABLE > 2, (2, 2), {}, "bool values with 'bicubic'"),
        (TABLE.astype(int), (2, 2), {"method": "bilinear"}, "int64 values"),
    ],
)
def test_bad_calls_of_imresize(x, size, options, message):
    with pytest.raises(ImageError, match=message):
        imresize(x, size, **options)


# ------------------------------------------------------------------------------------- files that are images


def png(width, height, depth, color, rows, *chunks):
    """A PNG file, byte by byte, for what Pillow does not write."""

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0))
    body = b"".join(chunk(*each) for each in chunks) + chunk(b"IDAT", zlib.compress(rows))
    return b"\x89PNG\r\n\x1a\n" + header + body + chunk(b"IEND", b"")


def palette_picture(color=(10, 20, 30)):
    picture = Image.new("P", (2, 1))
    picture.putpalette([*color, 200, 100, 0])
    picture.putpixel((1, 0), 1)
    return picture


def with_alpha(mode, *values):
    picture = Image.new(mode, (len(values), 1))
    for column, value in enumerate(values):
        picture.putpixel((column, 0), value)
    return picture


WHITE = [255, 255, 255]
PICTURES = {
    "rgb.png": (with_alpha("RGB", (1, 2, 3)), {}, [[1, 2, 3]]),
    "rgb.bmp": (with_alpha("RGB", (1, 2, 3)), {}, [[1, 2, 3]]),
    "grey.png": (with_alpha("L", 7), {}, [[7, 7, 7]]),
    "one-bit.png": (with_alpha("1", 0, 1), {}, [[0, 0, 0], WHITE]),
    "alpha.png": (
        with_alpha("RGBA", (10, 20, 30, 0), (10, 20, 30, 255), (0, 100, 255, 128)),
        {},
        [WHITE, [10, 20, 30], [127, 177, 255]],
    ),
    "grey-alpha.png": (with_alpha("LA", (9, 0), (9, 255), (0, 51)), {}, [WHITE, [9, 9, 9], [204, 204, 204]]),
    "palette.png": (palette_picture(), {}, [[10, 20, 30], [200, 100, 0]]),
    "palette-index.png": (palette_picture(), {"transparency": 0}, [WHITE, [200, 100, 0]]),
    "palette-bytes.png": (palette_picture(), {"transparency": b"\xff\x00"}, [[10, 20, 30], WHITE]),
    "palette.gif": (palette_picture(), {"transparency": 1}, [[10, 20, 30], WHITE]),
    "palette-alpha.tif": (with_alpha("PA", (0, 255)), {}, [[0, 0, 0]]),
    "key-grey.png": (with_alpha("L", 7, 8), {"transparency": 7}, [WHITE, [8, 8, 8]]),
    "key-rgb.png": (with_alpha("RGB", (1, 2, 3), (4, 5, 6)), {"transparency": (1, 2, 3)}, [WHITE, [4, 5, 6]]),
    "cmyk.tif": (with_alpha("CMYK", (0, 0, 0, 0), (255, 0, 0, 0)), {}, [WHITE, [0, 255, 255]]),
    "ycbcr.tif": (with_alpha("YCbCr", (128, 128, 128)), {}, [[128, 128, 128]]),
    "sixteen.tif": (
        Image.fromarray(np.array([[0, 128, 129, 65535]], np.uint16)),
        {},
        [[v] * 3 for v in (0, 0, 1, 255)],
    ),
    "wide-integers.tif": (Image.fromarray(np.array([[0, 257, 65535]], np.int32)), {}, [[v] * 3 for v in (0, 1, 255)]),
}


@pytest.mark.parametrize("name", PICTURES)
def test_pictures_become_rgb(name, tmp_path):
    picture, options, expected = PICTURES[name]
    picture.save(tmp_path / name, **options)
    image = read_image(tmp_path / name)
    assert image.dtype == np.uint8
    assert image.tolist() == [expected]
    image[:] = 0  # the caller owns it


SIXTEEN_BIT_FILES = {
    "grey": (0, struct.pack(">2H", 1000, 65535), (), [[4, 4, 4], WHITE]),
    "grey with a transparent value": (0, struct.pack(">2H", 1000, 0), ((b"tRNS", b"\x03\xe8"),), [WHITE, [0, 0, 0]]),
    "RGB": (2, struct.pack(">6H", 0x0A00, 0, 65535, 0, 0x1000, 0), (), [[10, 0, 255], [0, 16, 0]]),
    "grey with alpha": (4, struct.pack(">4H", 0, 0, 0, 65535), (), [WHITE, [0, 0, 0]]),
}


@pytest.mark.parametrize("name", SIXTEEN_BIT_FILES)
def test_sixteen_bit_png(name, tmp_path):
    color, row, chunks, expected = SIXTEEN_BIT_FILES[name]
    (tmp_path / "x.png").write_bytes(png(2, 1, 16, color, b"\0" + row, *chunks))
    assert read_image(tmp_path / "x.png").tolist() == [expected]


def test_big_endian_sixteen_bit():
    picture = Image.frombytes("I;16B", (2, 1), struct.pack(">2H", 257, 65535))
    assert as_image(picture).tolist() == [[[1, 1, 1], WHITE]]


def test_lab(tmp_path):
    profiles = [ImageCms.createProfile(name) for name in ("sRGB", "LAB")]
    to_lab = ImageCms.buildTransform(*profiles, "RGB", "LAB")
    ImageCms.applyTransform(Image.new("RGB", (1, 1), (200, 50, 100)), to_lab).save(tmp_path / "x.tif")
    np.testing.assert_allclose(read_image(tmp_path / "x.tif"), [[[200, 50, 100]]], atol=3)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(orientation, tmp_path):
    upright = np.arange(6, dtype=np.uint8).reshape(2, 3) * 40
    undo = {  # how a viewer turns the stored pixels, from the EXIF standard's table of the 0th row and column
        1: lambda x: x,
        2: np.fliplr,
        3: lambda x: np.rot90(x, 2),
        4: np.flipud,
        5: np.transpose,
        6: lambda x: np.rot90(x, -1),
        7: lambda x: np.rot90(x, 2).T,
        8: np.rot90,
    }
    stored = next(x for x in every_turn(upright) if np.array_equal(undo[orientation](x), upright))
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(np.ascontiguousarray(stored)).save(tmp_path / "x.png", exif=exif)
    np.testing.assert_array_equal(read_image(tmp_path / "x.png")[..., 0], upright)


def every_turn(x):
    return [np.rot90(y, turns) for y in (x, x.T) for turns in range(4)]


def test_first_frame_of_an_animation(tmp_path):
    frames = [Image.new("RGB", (2, 2), color) for color in ((255, 0, 0), (0, 255, 0))]
    frames[0].save(tmp_path / "x.gif", save_all=True, append_images=frames[1:])
    assert read_image(str(tmp_path / "x.gif")).tolist() == [[[255, 0, 0]] * 2] * 2


# ---------------------------------------------------------------------------------- files that are no images


def encoded(kind):
    noise = np.random.default_rng(6).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).save(file, kind)
    return file.getvalue()


BAD_FILES = {
    "empty.png": (b"", r"it is empty \(0 bytes\)"),
    "text.jpg": (b"Dear reader, this is a letter.", "it is text that starts with 'Dear reader, this is a l"),
    "page.png": (b"<!DOCTYPE html><html></html>", "it is markup text"),
    "net.h5": (b"\x89HDF\r\n\x1a\n" + bytes(100), "it is an HDF5 file"),
    "array.npy": (b"\x93NUMPY" + bytes(100), "it is a NumPy .npy file: load it with numpy.load"),
    "random.bin": (bytes([0, 1, 2, 250] * 9), "binary data that starts with the bytes 00 01 02 fa"),
    "half.jpg": (encoded("JPEG")[:1500], "it has 1500 bytes and is probably truncated"),
    "half.png": (encoded("PNG")[:1500], "it has 1500 bytes and is probably truncated"),
    "head.png": (encoded("PNG")[:20], "head.png: (not an image|cannot be read)"),
    "flipped.png": (encoded("PNG").replace(b"IDAT", b"IDAX"), "flipped.png: (not an image|cannot be read)"),
    "bomb.png": (png(100_000, 100_000, 8, 2, b""), r"max_pixels is 100000000.*10000000000 pixels"),
    "large.png": (png(10_001, 10_000, 8, 2, b""), "10000 x 10001 pixels is more than the limit max_pixels = 100000000"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_bad_files(name, tmp_path):
    content, message = BAD_FILES[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ImageError, match=message) as caught:
        read_image(tmp_path / name)
    assert str(tmp_path / name) in str(caught.value)


def test_the_limit_is_the_callers(tmp_path):
    Image.new("RGB", (4, 3)).save(tmp_path / "x.png")
    assert read_image(tmp_path / "x.png", max_pixels=12).shape == (3, 4, 3)
    with pytest.raises(ImageError, match="3 x 4 pixels is more than the limit max_pixels = 11; not decoded"):
        as_image(tmp_path / "x.png", max_pixels=11)


def test_missing_files_and_folders(tmp_path):
    with pytest.raises(ImageError, match=r"nowhere.png: does not exist"):
        read_image(tmp_path / "nowhere.png")
    with pytest.raises(ImageError, match="is a folder"):
        as_image(str(tmp_path))


@pytest.mark.parametrize(
    ("values", "message"),
    [(np.ones((2, 2), np.float32), "floating-point"), (np.full((2, 2), -1, np.int32), "integer pixels from -1 to -1")],
)
def test_pixels_of_unknown_scale(values, message, tmp_path):
    Image.fromarray(values).save(tmp_path / "x.tif")
    with pytest.raises(ImageError, match=f"x.tif: {message}"):
        read_image(tmp_path / "x.tif")


def test_missing_pillow(tmp_path, monkeypatch):
    (tmp_path / "x.png").write_bytes(b"x")
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    with pytest.raises(MinicamError, match=r'Pillow is needed .* pip install "minicam\[images\]"'):
        read_image(tmp_path / "x.png")
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MinicamError, match="matplotlib is needed"):
        optional_module("matplotlib.figure")


# --------------------------------------------------------------------------------------------------- arrays


def test_arrays_in_order_pass():
    image = np.zeros((4, 5, 3), np.uint8)
    assert as_image(image) is image
    for dtype in (np.float32, np.float64):
        image = np.full((4, 5, 3), 200.5, dtype)
        assert as_image(image) is image


def test_arrays_that_are_converted():
    grey = np.array([[1, 2]], np.uint8)
    assert as_image(grey).tolist() == [[[1, 1, 1], [2, 2, 2]]]
    assert as_image(grey[..., None]).tolist() == [[[1, 1, 1], [2, 2, 2]]]
    assert as_image(np.array([[[0, 9, 255, 51]]], np.uint8)).tolist() == [[[204, 206, 255]]]
    assert as_image(np.array([[[0, 100, 255, 127.5]]])).tolist() == [[[127.5, 177.5, 255]]]
    for dtype in (np.uint16, ">u2"):
        sixteen = as_image(np.full((1, 1, 3), 65535 // 2, dtype))
        assert (sixteen.dtype, sixteen.tolist()) == (np.uint8, [[[127, 127, 127]]])
    swapped = as_image(np.full((1, 1, 3), 3.5, ">f4"))
    assert swapped.dtype == np.float32
    assert swapped.tolist() == [[[3.5] * 3]]


@settings(max_examples=20)
@given(st.integers(0, 65535))
def test_sixteen_bits_are_rounded(value):
    assert as_image(np.full((1, 1), value, np.uint16))[0, 0, 0] == round(value / 257)


def test_one_channel():
    grey, color = np.array([[1, 2]], np.uint8), np.array([[[1, 2, 3]]], np.uint8)
    assert as_image(grey, channels=1).tolist() == [[[1], [2]]]
    assert as_image(Image.fromarray(grey), channels=1).tolist() == [[[1], [2]]]
    with pytest.raises(ImageError, match="in colour, the network expects 1 channel"):
        as_image(color, channels=1)
    assert as_image(np.zeros((2, 2, 12), np.uint8), channels=12).shape == (2, 2, 12)


def test_pillow_images_like_files(tmp_path):
    picture = with_alpha("RGBA", (0, 100, 255, 128))
    picture.save(tmp_path / "x.png")
    with Image.open(tmp_path / "x.png") as opened:
        assert as_image(opened).tolist() == read_image(tmp_path / "x.png").tolist()
        assert opened.mode == "RGBA"  # the caller's object is as before
    with pytest.raises(ImageError, match="0 x 5 pixels; expected at least 1 x 1"):
        as_image(Image.new("RGB", (5, 0)))


def hole(value):
    image = np.zeros((3, 4, 3))
    image[1, 2, 0] = image[2, 0, 1] = value
    return image


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((0, 0, 3), np.uint8), r"shape \(0, 0, 3\) .* no size zero"),
        (np.zeros((5, 0), np.uint8), r"shape \(5, 0, 1\)"),
        (np.zeros(5, np.uint8), r"shape \(5,\) is not an image; expected \(H, W, 3\)"),
        (np.zeros((1, 4, 4, 3), np.uint8), r"shape \(1, 4, 4, 3\)"),
        (np.zeros((3, 4, 5), np.uint8), r"5 channels.*looks channels-first, transpose to \(H, W, 3\)"),
        (np.zeros((4, 5, 2), np.uint8), r"2 channels, expected \(H, W, 3\)"),
        (np.zeros((4, 5, 3), bool), "dtype bool"),
        (np.zeros((4, 5, 3), np.int64), "dtype int64 .* astype"),
        (np.zeros((4, 5, 3), np.float16), "dtype float16"),
        (hole(np.nan), "2 values that are NaN or infinite, the first at row 1, column 2, channel 0"),
        (hole(-np.inf), "2 values"),
        ([[1, 2]], "a list is not an image"),
        (None, "a NoneType is not an image"),
    ],
)
def test_bad_arrays(image, message):
    with pytest.raises(ImageError, match=message):
        as_image(image)


def test_a_scale_of_0_to_1_is_suspected(caplog):
    with caplog.at_level(logging.WARNING, "minicam"):
        as_image(np.full((2, 2, 3), 1.0))
        as_image(np.full((2, 2, 3), 0.5) * 300)
        assert not caplog.records
        as_image(np.full((2, 2, 3), 0.5))
    assert "pixel scale 0..255 is expected" in caplog.text
