"""Many images: batches, reading ahead, folders, and what is done where the device's memory is too small."""

import json
import pickle
import threading
import warnings
import weakref

import numpy as np
import pytest
from cupy_standin import work
from networks import segmenter, street
from PIL import Image

import minicam as mc
from minicam.__main__ import main
from minicam.cuda.transfers import Transfers
from minicam.explanation.batches import Batches
from minicam.explanation.inputs import single_sample
from minicam.explanation.kept import Kept
from minicam.explanation.segmentation import Segmenting
from minicam.streaming import ahead, outcomes

NET = segmenter()
IMAGES = [street(seed=seed) for seed in range(7)]
TARGETS = ["Car", mc.Pixel(3, 4), "Sky", mc.Predicted("Road"), mc.Contrast("Car", "Road")]
DOUBLED = """
extern "C" __global__ void doubled(const float* x, float* y, int count) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < count) y[i] = 2 * x[i];
}
"""
ARRAYS = ("maps", "raw", "alpha", "activations", "gradients", "scores", "positions", "outside")


@pytest.fixture(autouse=True)
def no_thread_stays():
    yield
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("minicam-ahead")] == []


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder of three pictures and a network beside it, which is the working directory."""
    (tmp_path / "pictures").mkdir()
    for seed, name in enumerate(("b.png", "a.jpg", "C.PNG")):
        Image.fromarray(street(36, 48, seed)).save(tmp_path / "pictures" / name)
    (tmp_path / "pictures" / "notes.txt").write_text("passed over")
    (tmp_path / "pictures" / ".hidden.png").write_text("passed over")
    mc.save(segmenter(), tmp_path / "net.h5")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "pictures"


def counting(net, monkeypatch):
    """How many samples each forward pass of the network has, in a list that grows."""
    sizes, forward = [], net.forward

    def counted(x, keep=None):
        sizes.append(len(x))
        return forward(x, keep)

    monkeypatch.setattr(net, "forward", counted)
    return sizes


def short_of_memory(net, monkeypatch, most):
    """The sizes of the passes that the network is asked for; those of more than `most` samples fail."""
    sizes, forward = [], net.forward

    def limited(x, keep=None):
        sizes.append(len(x))
        if len(x) > most:
            raise mc.DeviceMemoryError(f"the GPU has not enough memory for {len(x)} images")
        return forward(x, keep)

    monkeypatch.setattr(net, "forward", limited)
    return sizes


def assert_alike(found, expected, tolerance):
    """Explanations agree, relative to each array's peak."""
    np.testing.assert_array_equal(found.labels, expected.labels)
    for cam, other in zip(found.cams, expected.cams, strict=True):
        assert cam.targets == other.targets
        for name in ARRAYS:
            array, wanted = getattr(cam, name), getattr(other, name)
            if wanted is None:
                assert array is None
            else:
                assert array.dtype == wanted.dtype
                np.testing.assert_allclose(array, wanted, rtol=0, atol=tolerance * np.abs(wanted).max(), err_msg=name)


# Batches


@pytest.mark.parametrize("precision", ["fast", "exact"])
@pytest.mark.parametrize(("dtype", "tolerance"), [(np.uint8, 1e-6), (np.float64, 1e-12)])
@pytest.mark.parametrize("options", [{}, {"keep_gradients": True}, {"method": "hirescam", "truncate": True}], ids=str)
def test_images_explained_together_are_as_if_alone(precision, dtype, tolerance, options):
    net, images = segmenter(precision=precision), np.stack(IMAGES[:5]).astype(dtype)
    alone = [mc.explain(net, image, TARGETS, ["relu1", "relu2"], **options) for image in images]
    together = mc.explain(net, images, TARGETS, ["relu1", "relu2"], batch=3, **options)
    for found, expected in zip(together, alone, strict=True):
        assert_alike(found, expected, tolerance)
    peaks = [explained.cams[0].maps.max() for explained in alone]
    assert len(set(peaks)) == 5  # no two images have the same maps


def test_default_targets_are_chosen_for_each_image():
    net, dark = segmenter(seed=5), np.zeros_like(IMAGES[0])
    images = np.stack([IMAGES[0], dark, 255 - dark])
    alone = [mc.explain(net, image) for image in images]
    assert len({explained.cams[0].targets for explained in alone}) == 3
    for found, expected in zip(mc.explain(net, images, batch=3), alone, strict=True):
        assert_alike(found, expected, 1e-6)


@pytest.mark.parametrize(("batch", "sizes"), [(None, [1] * 7), (1, [1] * 7), (3, [3, 3, 1]), (8, [7])])
def test_a_batch_is_one_pass(batch, sizes, monkeypatch):
    found = counting(NET, monkeypatch)
    mc.explain(NET, np.stack(IMAGES), "Car", batch=batch)
    assert found == sizes
    labels = mc.segment(NET, np.stack(IMAGES), batch=batch)
    assert found == sizes * 2
    np.testing.assert_array_equal(labels[5], mc.segment(NET, IMAGES[5]))


def test_a_class_of_all_images_goes_back_in_one_pass(monkeypatch):
    passes, channel_sums = [], NET.channel_sums

    def counted(values, seeds, wrt):
        passes.append([seed.shape for seed in seeds.values()])
        return channel_sums(values, seeds, wrt)

    monkeypatch.setattr(NET, "channel_sums", counted)
    mc.explain(NET, np.stack(IMAGES), ["Car", "Sky"], batch=8)
    assert passes == [[(7, 3, 18, 24)], [(7, 3, 18, 24)]]


def test_images_of_different_sizes_do_not_go_together(monkeypatch):
    sizes = counting(NET, monkeypatch)
    images = [street(), street(seed=1), street(36, 48), street(36, 48, seed=1), street(seed=2).astype(np.float32)]
    found = list(mc.segment_all(NET, images, batch=8))
    assert sizes == [2, 2, 1]
    for labels, image in zip(found, images, strict=True):
        np.testing.assert_array_equal(labels, mc.segment(NET, image))


@pytest.mark.parametrize("batch", [0, -1, 2.0, True, "2"])
def test_a_batch_is_a_whole_number(batch):
    with pytest.raises(mc.MinicamError, match=r"batch is .*; expected a whole number of images, 1 or more"):
        mc.segment(NET, IMAGES[0], batch=batch)
    with pytest.raises(mc.MinicamError, match=r"batch is .*; expected a whole number of images, 1 or more"):
        mc.explain_all(NET, IMAGES, batch=batch)


# Many images


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_results_come_in_order(tmp_path, batch):
    Image.fromarray(IMAGES[1]).save(tmp_path / "one.png")
    images = [IMAGES[0], tmp_path / "one.png", *IMAGES[2:], street(36, 48)]
    expected = [mc.explain(NET, image, TARGETS) for image in images]
    for found, wanted in zip(mc.explain_all(NET, iter(images), TARGETS, batch=batch), expected, strict=True):
        assert_alike(found, wanted, 1e-6)
    for labels, wanted in zip(mc.segment_all(NET, iter(images), batch), expected, strict=True):
        np.testing.assert_array_equal(labels, wanted.labels)


@pytest.mark.parametrize("batch", [1, 3, 8])
def test_no_more_images_are_read_ahead_than_a_batch(batch):
    taken = []

    def images():
        for seed in range(50):
            taken.append(seed)
            yield IMAGES[seed % 7]

    found = mc.segment_all(NET, images(), batch)
    assert taken == []
    for count, _ in enumerate(found):
        assert len(taken) <= min(50, count + 2 * batch + 1)
    assert len(taken) == 50


def test_the_next_image_is_read_while_one_is_computed():
    read, computed = threading.Event(), []

    def sample(item):
        if item == 1:
            read.set()
        return item

    for item in ahead(sample, range(3), depth=1):
        assert read.wait(timeout=10)  # the second, while the caller is busy with the first
        computed.append(item)
    assert computed == [0, 1, 2]


@pytest.mark.parametrize("batch", [1, 2, 4])
def test_an_image_that_fails_does_so_in_its_place(tmp_path, batch):
    images = [IMAGES[0], IMAGES[1], tmp_path / "gone.png", IMAGES[2], np.zeros((18, 24, 7), np.uint8), IMAGES[3]]
    found = mc.segment_all(NET, images, batch)
    np.testing.assert_array_equal(next(found), mc.segment(NET, IMAGES[0]))
    np.testing.assert_array_equal(next(found), mc.segment(NET, IMAGES[1]))
    with pytest.raises(mc.ImageError, match=r"gone\.png: does not exist"):
        next(found)
    with pytest.raises(StopIteration):
        next(found)
    all_of_them = list(mc.segment_all(NET, images, batch, return_errors=True))
    assert [type(one).__name__ for one in all_of_them] == [
        *["ndarray"] * 2,
        "ImageError",
        "ndarray",
        "ImageError",
        "ndarray",
    ]
    np.testing.assert_array_equal(all_of_them[5], mc.segment(NET, IMAGES[3]))


@pytest.mark.parametrize("batch", [1, 4])
def test_a_target_that_one_image_lacks_is_that_images_error(batch):
    dark = np.argsort([image.mean() for image in IMAGES[:4]])[0]
    means = [
        float(NET.forward(np.moveaxis(image, -1, 0)[None])["softmax"].mean(axis=(2, 3))[0, 2]) for image in IMAGES[:4]
    ]

    def but_one(y):
        lacking = abs(float(y[0, 2].mean()) - means[dark]) < 1e-6
        return (np.nan if lacking else float(y.sum())), np.ones_like(y)

    found = list(mc.explain_all(NET, IMAGES[:4], but_one, batch=batch, return_errors=True))
    assert [isinstance(one, mc.TargetError) for one in found] == [i == dark for i in range(4)]
    for one, image in zip(found, IMAGES, strict=False):
        if not isinstance(one, mc.TargetError):
            assert_alike(one, mc.explain(NET, image, but_one), 1e-6)


def test_what_is_no_error_of_ours_is_raised_even_where_errors_are_returned():
    def wrong(y):
        raise ZeroDivisionError("of the caller's")

    with pytest.raises(ZeroDivisionError, match="of the caller's"):
        list(mc.explain_all(NET, IMAGES, wrong, return_errors=True))


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_what_the_callers_iterable_raises_gets_through(error):
    def images():
        yield from IMAGES[:3]
        raise error

    with pytest.raises(error):
        list(mc.segment_all(NET, images(), return_errors=True))


def test_reading_in_threads_leaves_the_filters_of_warnings_as_they_were(folder):
    before = list(warnings.filters)
    for _ in range(5):
        assert len(list(ahead(mc.read_image, [folder / "b.png"] * 100, depth=50, threads=8))) == 100
        assert warnings.filters == before


def test_closing_ends_the_threads():
    found = mc.segment_all(NET, IMAGES, batch=2)
    next(found)
    assert any(thread.name.startswith("minicam-ahead") for thread in threading.enumerate())
    found.close()


def test_wrong_use_is_said_before_anything_is_read():
    with pytest.raises(mc.LayerError, match=r"there is no layer 'relu3'"):
        mc.explain_all(NET, IMAGES, feature_layers=["relu3"])
    with pytest.raises(mc.ImageError, match=r"an array of shape \(18, 24, 3\) is one input; expected several"):
        mc.segment_all(NET, IMAGES[0])
    (error,) = mc.segment_all(NET, [np.stack(IMAGES)], return_errors=True)
    assert "an array of shape (7, 18, 24, 3) is a batch; expected one input at a time" in str(error)


def test_a_folder_stands_for_the_images_in_it(folder):
    expected = [mc.segment(NET, folder / name) for name in ("C.PNG", "a.jpg", "b.png")]
    for found in (mc.segment_all(NET, folder), mc.segment_all(NET, str(folder), batch=2)):
        np.testing.assert_array_equal(np.stack(list(found)), expected)
    with pytest.raises(mc.MinicamError, match=r"b\.png: is not a folder"):
        mc.segment_all(NET, folder / "b.png")
    (folder / "empty").mkdir()
    (folder / "empty" / "notes.txt").write_text("")
    with pytest.raises(mc.MinicamError, match=r"empty: there are no images in it \(1 other files or folders\)"):
        mc.explain_all(NET, folder / "empty")


# The device's memory


def test_out_of_memory_the_batch_is_halved_for_good(monkeypatch, caplog):
    sizes = short_of_memory(NET, monkeypatch, most=2)
    found = mc.explain(NET, np.stack(IMAGES), TARGETS, batch=7)
    assert sizes == [7, 4, 2, 2, 2, 1]
    assert "out of device memory with 7 images together, going on with 4: the GPU has not enough memory" in caplog.text
    monkeypatch.undo()
    for explained, image in zip(found, IMAGES, strict=True):
        assert_alike(explained, mc.explain(NET, image, TARGETS), 1e-6)
    sizes = short_of_memory(NET, monkeypatch, most=2)
    list(mc.segment_all(NET, IMAGES * 2, batch=4))
    assert sizes == [4, 2, 2, *[2] * 5]


def test_one_image_that_does_not_fit_is_an_error_where_the_cpu_is_not_allowed(monkeypatch):
    sizes = short_of_memory(NET, monkeypatch, most=0)
    with pytest.raises(mc.DeviceMemoryError, match=r"not enough memory for 1 images"):
        mc.segment(NET, IMAGES[0])
    found = list(mc.segment_all(NET, IMAGES[:3], batch=2, return_errors=True))
    assert [type(one) for one in found] == [mc.DeviceMemoryError] * 3
    assert sizes == [1, 2, 1, 1, 1]


def test_where_the_cpu_is_allowed_it_takes_over(gpu, monkeypatch, caplog):
    net = segmenter(device="auto", precision="exact")
    short_of_memory(net, monkeypatch, most=0)
    (found,) = mc.explain(net, np.stack(IMAGES[:1]), "Car")
    assert found.device == "cpu"
    assert "out of device memory, computed on the CPU instead" in caplog.text
    assert_alike(found, mc.explain(segmenter(precision="exact"), IMAGES[0], "Car"), 1e-6)
    assert [one.device for one in outcomes(net, IMAGES[:3], Segmenting(net), 2)] == ["cpu"] * 3


def test_a_network_told_to_use_the_gpu_does_not_turn_to_the_cpu(gpu, monkeypatch):
    net = segmenter(device="gpu", precision="exact")
    assert net.fallback is None
    short_of_memory(net, monkeypatch, most=0)
    with pytest.raises(mc.DeviceMemoryError):
        mc.segment(net, IMAGES[0])


def test_cupys_own_out_of_memory_is_treated_the_same(gpu, caplog):
    net = segmenter(device="gpu", precision="exact")
    expected = mc.segment(net, np.stack(IMAGES), batch=7)
    pool = gpu.get_default_memory_pool()
    pool.free_all_blocks()
    used = pool.used_bytes()
    try:
        pool.set_limit(size=used + 200_000)
        np.testing.assert_array_equal(list(mc.segment_all(net, IMAGES, batch=7)), expected)
        assert "out of device memory with 7 images together" in caplog.text
        pool.set_limit(size=used + 10_000)
        message = (
            r"does not hold what one input of shape \(3, 18, 24\) takes: the GPU has not enough memory: Out of mem"
        )
        with pytest.raises(mc.DeviceMemoryError, match=message) as raised:
            mc.segment(net, IMAGES[0])
        assert pool.used_bytes() == used  # although somebody holds the error
        assert raised.value.__cause__ is None
    finally:
        pool.set_limit(size=0)


def test_what_failed_is_given_back_before_the_halves_are_computed():
    class Array:
        """Something that the device holds."""

    arrays = []

    def failing(net, group, x, fetch):
        array = Array()
        arrays.append(weakref.ref(array))
        if len(group) > 1:
            raise mc.DeviceMemoryError("too large")
        assert sum(one() is not None for one in arrays) == 1
        return [lambda: len(arrays)]

    found = Batches(NET, failing, 2).outcomes(single_sample(NET, image) for image in IMAGES[:2])
    assert [outcome.result() for outcome in found] == [2, 3]


# The device


def test_what_computed_a_result_is_recorded(tmp_path, gpu):
    net = segmenter(device="gpu", precision="exact")
    for network, device in ((NET, "cpu"), (net, net.device_name)):
        explained = mc.explain(network, IMAGES[0], "Car")
        assert explained.device == explained.cams[0].device == device
        explained.cams[0].save(tmp_path / "cam.npz")
        with np.load(tmp_path / "cam.npz", allow_pickle=False) as saved:
            assert saved["device"] == device
        assert [one.device for one in outcomes(network, IMAGES[:2], Segmenting(network))] == [device] * 2
    assert net.device_name.startswith("gpu (")


def test_activations_stay_on_the_device_until_they_are_looked_at(gpu):
    nets = segmenter(precision="exact"), segmenter(device="gpu", precision="exact")
    expected, found = (mc.gradcam(net, IMAGES[0], "Car", keep_gradients=True) for net in nets)
    assert isinstance(found._activations._array, gpu.ndarray)
    assert isinstance(found._gradients._array, gpu.ndarray)
    Kept.detach_all()
    assert isinstance(found._activations._array, gpu.ndarray)
    for name in ("activations", "gradients"):
        assert isinstance(getattr(found, name), np.ndarray)
        assert getattr(found, name) is getattr(found, name)
        np.testing.assert_allclose(getattr(found, name), getattr(expected, name), rtol=1e-5, atol=1e-6)


def test_results_that_hold_device_memory_give_it_back_where_it_is_needed(gpu):
    found = mc.gradcam(segmenter(device="gpu", precision="exact"), IMAGES[0], "Car")
    Kept.bring_all()
    assert isinstance(found._activations._array, np.ndarray)
    np.testing.assert_allclose(found.activations, mc.gradcam(NET, IMAGES[0], "Car").activations, rtol=1e-4, atol=1e-5)


def test_results_are_pickled_as_arrays_in_main_memory(gpu):
    found = mc.gradcam(segmenter(device="gpu", precision="exact"), IMAGES[0], "Car")
    copy = pickle.loads(pickle.dumps(found))
    assert isinstance(copy._activations._array, np.ndarray)
    np.testing.assert_array_equal(copy.activations, found.activations)


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("seed", range(2))
def test_many_images_on_a_gpu(gpu, batch, seed):
    work.order.seed(seed)
    net, plain = segmenter(device="gpu", precision="exact"), segmenter(precision="exact")
    images = [*IMAGES[:4], street(36, 48), street(36, 48, seed=1)]
    results = list(mc.explain_all(net, images, TARGETS, ["relu1", "relu2"], batch=batch, keep_gradients=True))
    for found, image in zip(results, images, strict=True):
        assert_alike(found, mc.explain(plain, image, TARGETS, ["relu1", "relu2"], keep_gradients=True), 2e-5)
    for labels, found in zip(mc.segment_all(net, images, batch), results, strict=True):
        np.testing.assert_array_equal(labels, found.labels)


@pytest.mark.parametrize("seed", range(20))
def test_transfers_keep_the_order(gpu, seed):
    """Batches come and go, each computed while the next one comes: a missing wait reads NaN or gives it."""
    work.order.seed(seed)
    doubled = gpu.RawModule(code=DOUBLED).get_function("doubled")
    random, waiting = np.random.default_rng(seed), []

    def computed(transfers, parts):
        """Twice the parts (1, 15), turned around, which takes a while."""
        x, y = transfers.upload(parts), gpu.empty((len(parts), 15), np.float32)
        doubled((1,), (64,), (x, y, np.int32(y.size)))
        return y[:, ::-1]

    def check(part, parts):
        for n, array in enumerate(parts):
            np.testing.assert_array_equal(part(n), 2 * array[0, ::-1])

    with Transfers() as transfers:
        for size in random.integers(1, 4, 12):
            parts = [random.normal(size=(1, 15)).astype(np.float32) for _ in range(size)]
            waiting.append((transfers.download(computed(transfers, parts)), parts))
            if len(waiting) > 2:
                check(*waiting.pop(0))
        transfers.settle()
        for one in waiting:
            check(*one)
        found = [computed(transfers, parts) for _ in range(4)]
        transfers._up.synchronize()  # before what is computed, if it can be
    for one in found:
        check(one.get().__getitem__, parts)


def test_images_are_uploaded_as_they_lie_in_memory(gpu):
    parts = [np.moveaxis(image, -1, 0)[None] for image in IMAGES[:3]]
    with Transfers() as transfers:
        found = transfers.upload(parts)
        np.testing.assert_array_equal(found.get(), np.concatenate(parts))
        assert found.strides == (18 * 24 * 3, 1, 24 * 3, 3)


def test_what_is_in_main_memory_is_not_copied(gpu):
    with Transfers() as transfers:
        array = np.arange(6).reshape(2, 3)
        assert np.shares_memory(transfers.download(array)(1), array)


# The command line


def run(capsys, *arguments):
    """Exit status, standard output, standard error."""
    status = main([str(argument) for argument in arguments])
    return status, *capsys.readouterr()


@pytest.mark.parametrize("command", ["explain", "segment"])
def test_commands_take_a_folder(folder, capsys, command):
    status, out, err = run(capsys, command, "pictures", "--weights", "net.h5", "-o", "out", "--batch", 2, "--json")
    assert (status, err) == (0, "")
    lines = [json.loads(line) for line in out.splitlines()]
    assert [line["image"] for line in lines] == [f"pictures/{name}" for name in ("C.PNG", "a.jpg", "b.png")]
    assert [line["device"] for line in lines] == ["cpu"] * 3
    suffix = {"explain": "explained", "segment": "segmented"}[command]
    assert [line["output"] for line in lines] == [f"out/{name}_{suffix}.png" for name in "Cab"]
    assert all((folder.parent / line["output"]).exists() for line in lines)


def test_one_image_of_a_folder_that_fails_does_not_stop_the_others(folder, capsys):
    (folder / "a.jpg").write_bytes(b"\xff\xd8 no picture")
    status, out, err = run(capsys, "segment", folder, "--weights", "net.h5", "-o", "out", "--batch", 3, "--json")
    assert status == 1
    assert ["error" in json.loads(line) for line in out.splitlines()] == [False, True, False]
    assert "a.jpg" in err


def test_an_empty_folder_is_named(folder, capsys):
    (folder / "empty").mkdir()
    status, out, err = run(capsys, "explain", folder / "empty", "--weights", "net.h5")
    assert (status, out) == (2, "")
    assert "pictures/empty: there are no images in it" in err


def test_another_image_of_the_folder_is_not_overwritten(folder, capsys):
    (folder / "b_explained.png").write_bytes((folder / "b.png").read_bytes())
    status, _, err = run(capsys, "explain", folder, "--weights", "net.h5", "-o", folder)
    assert status == 2
    assert "b_explained.png: is another of the images; choose another name with -o" in err
    assert (folder / "b_explained.png").read_bytes() == (folder / "b.png").read_bytes()


@pytest.mark.parametrize("arguments", [("--batch", "0"), ("--precision", "tf32", "--device", "cpu")])
def test_options_that_cannot_be_met(folder, capsys, arguments):
    status, _, err = run(capsys, "segment", folder, "--weights", "net.h5", *arguments)
    assert status == 2
    assert {"--batch": "batch is 0", "--precision": "'tf32' needs a GPU"}[arguments[0]] in err


def test_evaluate_takes_batches(folder, capsys, tmp_path):
    for name in ("C", "b"):
        (tmp_path / "frames" / "images").mkdir(parents=True, exist_ok=True)
        (tmp_path / "frames" / "labels").mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.{'PNG' if name == 'C' else 'png'}").rename(tmp_path / "frames" / "images" / f"{name}.png")
        labels = np.random.default_rng(0).integers(0, 3, (36, 48)).astype(np.uint8)
        Image.fromarray(labels).save(tmp_path / "frames" / "labels" / f"{name}.png")
    reports = [
        json.loads(run(capsys, "evaluate", tmp_path / "frames", "--weights", "net.h5", "--json", "--batch", batch)[1])
        for batch in (1, 2)
    ]
    assert reports[0] == reports[1]
    assert [frame["device"] for frame in reports[0]["frames"]] == ["cpu", "cpu"]


def test_what_earlier_results_hold_makes_room_before_an_image_is_given_up(gpu, monkeypatch):
    """The activations of results that nobody has looked at lie on the device until it runs out of memory."""
    net, classes = segmenter(device="gpu"), ["Car", "Sky"]
    earlier = mc.explain(net, IMAGES[0], classes)
    expected = mc.explain(segmenter(), IMAGES[0], classes)
    attempts = []
    job = net.explained

    def once_short(*args, **options):
        attempts.append(len(attempts))
        if len(attempts) == 1:
            raise mc.DeviceMemoryError("short")
        return job(*args, **options)

    monkeypatch.setattr(net, "explained", once_short)
    assert_alike(mc.explain(net, IMAGES[0], classes), expected, 2e-5)
    assert len(attempts) == 2
    assert_alike(earlier, expected, 2e-5)
