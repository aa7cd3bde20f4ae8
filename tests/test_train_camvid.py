"""Training of the CamVid network: random crops, the loss, and runs that stop, go on and end in a weight file."""

import importlib
import signal
from dataclasses import replace

import augmentation
import numpy as np
import pytest
import streets
from augmentation import VOID, Augmentation, Labelled, Sampler
from deeplab_torch import forward
from PIL import Image
from references import require_torch

from minicam import load

SIZE = (64, 96)
SMALL = Augmentation(crop=(32, 48), full_height=48, rare=0.5, paste=0.5)
PLAIN = replace(SMALL, rare=0, paste=0, colour=0, blur=0, noise=0, drawn=0)
OPTIONS = "--crop 32 48 --full-height 48 --batch 2 --scenes 0 --threads 1 --average 0.5 --warmup 2"


@pytest.fixture(scope="module")
def frames():
    return [Labelled(*streets.draw_street(seed, SIZE)) for seed in (1, 2)]


@pytest.fixture(scope="module")
def folder(frames, tmp_path_factory):
    """The frames as files."""
    folder = tmp_path_factory.mktemp("data")
    write_frames(folder, frames)
    return folder


def write_frames(folder, frames):
    for kind in ("images", "labels"):
        (folder / kind).mkdir()
    for number, (image, labels) in enumerate(frames):
        Image.fromarray(image).save(folder / "images" / f"{number}.png")
        Image.fromarray(labels).save(folder / "labels" / f"{number}.png")


@pytest.fixture(scope="module")
def tool():
    """tools/train_camvid.py, which needs PyTorch."""
    require_torch()
    return importlib.import_module("train_camvid")


# Crops


def coded(size=(60, 80)):
    """A frame whose pixels tell their label: red is 20 times the label, in blocks large enough to survive scaling."""
    rows, columns = np.indices(size)
    labels = (4 * (rows // 20) + columns // 20).astype(np.uint8)  # 0 to 11
    return Labelled(np.repeat(20 * labels[..., None], 3, axis=2), labels)


@pytest.mark.parametrize(
    "options", [PLAIN, replace(PLAIN, rare=1), replace(PLAIN, paste=1)], ids=["any", "rare", "pasted"]
)
def test_pixels_and_labels_move_together(options):
    sampler = Sampler([coded()], [], 0, replace(options, full_height=60, crop=(48, 64)))
    for step in range(4):
        images, labels = sampler.batch(step, 8)
        agreeing = np.abs(images[..., 0] - 20.0 * labels) < 10  # but where blocks are blended
        assert agreeing.mean() > 0.85
        assert set(np.unique(labels)) <= set(range(VOID + 1))
        assert (labels == VOID).any()


def test_crops_are_mirrored_half_of_the_time():
    rising = np.broadcast_to(np.arange(80, dtype=np.uint8), (60, 80))
    frame = Labelled(np.repeat(rising[..., None], 3, axis=2), np.zeros((60, 80), np.uint8))
    images, _ = Sampler([frame], [], 0, replace(PLAIN, full_height=60)).batch(0, 200)
    mirrored = np.mean(images[:, 0, 0, 0] > images[:, 0, -1, 0])
    assert 0.35 < mirrored < 0.65


def test_scale_is_what_the_frame_is_enlarged_by():
    options = replace(PLAIN, scale=2.0, spread=0.0, scale_limits=(0.5, 2.0), full_height=60, crop=(20, 40))
    for seed in range(20):
        rng = np.random.default_rng(seed)
        left, top, right, bottom = augmentation.random_box(rng, (60, 80), rng.random(2) * (60, 80), options)
        assert 0 <= left < right <= 80
        assert 0 <= top < bottom <= 60
        assert (right - left) * (bottom - top) == pytest.approx(20 * 40 / 4)


def test_frame_smaller_than_the_crop_is_enlarged():
    images, labels = Sampler([coded((20, 20))], [], 0, PLAIN).batch(0, 2)
    assert images.shape == (2, 32, 48, 3)
    assert labels.shape == (2, 32, 48)


@pytest.mark.parametrize("label", augmentation.RARE)
def test_rare_crops_show_their_class(label, monkeypatch):
    labels = np.zeros((100, 100), np.uint8)
    labels[3:11, 90:98] = label  # in a corner, seldom met by chance
    frame = Labelled(np.zeros((100, 100, 3), np.uint8), labels)
    other = Labelled(frame.image, np.zeros_like(labels))
    monkeypatch.setattr(augmentation, "RARE", (label,))
    options = replace(PLAIN, rare=1.0, full_height=100)
    _, found = Sampler([other, frame], [], 0, options).batch(0, 8)
    assert (found == label).any(axis=(1, 2)).all()


def test_pasted_things_keep_their_rows_scale_and_labels():
    labels = np.zeros((60, 80), np.uint8)
    labels[10:30, 40:46] = augmentation.POLE
    labels[5:10, 38:48] = augmentation.SIGN
    source = Labelled(np.where(labels[..., None] > 0, np.uint8(200), np.uint8(100)).repeat(3, axis=2), labels)
    (thing,) = augmentation.find_things([source], (augmentation.POLE, augmentation.SIGN))
    onto = Labelled(
        source.image.mean(axis=(0, 1), keepdims=True).astype(np.uint8).repeat(60, 0).repeat(80, 1), labels * 0
    )
    augmentation.paste(onto, thing, source, 20.0, mirrored=False)
    np.testing.assert_array_equal(onto.labels[:, 15:25], labels[:, 38:48])
    assert np.count_nonzero(onto.labels) == np.count_nonzero(labels)
    assert onto.image[20, 20, 0] == pytest.approx(200, abs=2)
    assert onto.image[20, 30, 0] == onto.image[20, 50, 0]


def test_things_at_the_sides_and_small_ones_are_left_out():
    labels = np.zeros((60, 80), np.uint8)
    labels[10:30, :6] = labels[10:30, -6:] = labels[40:42, 40:42] = augmentation.PEDESTRIAN
    assert (
        augmentation.find_things([Labelled(np.zeros((60, 80, 3), np.uint8), labels)], (augmentation.PEDESTRIAN,)) == []
    )


def test_batch_depends_on_seed_and_step_alone(frames):
    sampler = Sampler(frames, frames[:1], 5, SMALL)
    later = [sampler.batch(step, 2) for step in (3, 4)]
    again = Sampler(frames, frames[:1], 5, SMALL).batch(3, 2)
    for one, other in zip(later[0], again, strict=True):
        assert one.tobytes() == other.tobytes()
    assert again[0].dtype == np.float32
    assert again[0].min() >= 0
    assert again[0].max() <= 255
    assert later[1][0].tobytes() != again[0].tobytes()
    assert Sampler(frames, frames[:1], 6, SMALL).batch(3, 2)[0].tobytes() != again[0].tobytes()


def test_drawn_scenes_have_their_share():
    black, white = (Labelled(np.full((60, 80, 3), v, np.uint8), np.zeros((60, 80), np.uint8)) for v in (0, 255))
    images, _ = Sampler([black], [white], 0, replace(PLAIN, drawn=0.25)).batch(0, 200)
    assert 0.15 < (images > 128).mean() < 0.35


# Loss


def test_class_weights_by_torch(tool):
    labels = [np.repeat(np.arange(12, dtype=np.uint8), 4 ** np.arange(12).clip(0, 6))]
    found = tool.class_weights(labels, (0.5, 4.0)).numpy()
    frequency = 4.0 ** np.arange(11).clip(0, 6)
    np.testing.assert_allclose(found, np.clip(np.sqrt(4.0**5 / frequency), 0.5, 4), rtol=1e-6)


def test_jaccard_loss_of_sharp_predictions_is_one_minus_iou_by_torch(tool):
    torch = require_torch()
    rng = np.random.default_rng(0)
    truth, found = rng.integers(0, 4, (2, 500))
    found = np.where(rng.random(500) < 0.6, truth, found)
    probabilities = torch.tensor(np.eye(6)[found].T)
    loss = importlib.import_module("segmentation_loss").lovasz_softmax(probabilities, torch.tensor(truth))
    ious = [((truth == c) & (found == c)).sum() / ((truth == c) | (found == c)).sum() for c in range(4)]
    assert loss.item() == pytest.approx(1 - np.mean(ious))


def test_void_does_not_count_by_torch(tool):
    torch = require_torch()
    loss = importlib.import_module("segmentation_loss").segmentation_loss
    logits = torch.randn(2, 11, 12, 15, generator=torch.Generator().manual_seed(0))
    labels = torch.randint(0, 11, (2, 12, 15), generator=torch.Generator().manual_seed(0))
    labels[:, 4:] = VOID
    changed = logits.clone()
    changed[:, :, 4:] = 7.0
    weights = torch.rand(11)
    assert loss(logits, labels, weights, 1.0) == loss(changed, labels, weights, 1.0)
    assert loss(logits, labels, weights, 1.0) > loss(logits, labels, weights, 0.0)


# Runs


def run_tool(tool, folder, run, more=""):
    return tool.main([str(folder), str(run), *OPTIONS.split(), *more.split()])


def checkpoint(run):
    return importlib.import_module("camvid_run").read_state(run / "checkpoint.pt")


def test_interrupted_run_goes_on_with_the_same_bits_by_torch(tool, folder, tmp_path, monkeypatch):
    torch = require_torch()
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert run_tool(tool, folder, whole, "--steps 2 --decay-steps 2") == 0
    step = tool.Run.train_step

    def interrupted(run, *batch):
        if run.step == 2:
            signal.raise_signal(signal.SIGTERM)
        return step(run, *batch)

    monkeypatch.setattr(tool.Run, "train_step", interrupted)
    assert run_tool(tool, folder, parts, "--steps 2 --decay-steps 2") == 0
    assert checkpoint(parts)["step"] == 3
    monkeypatch.setattr(tool.Run, "train_step", step)
    assert run_tool(tool, folder, parts) == 0
    once, resumed = checkpoint(whole), checkpoint(parts)
    assert once["step"] == resumed["step"] == 4
    for name in ("net", "average"):
        for key, value in once[name].items():
            assert torch.equal(value, resumed[name][key]), f"{name} {key}"
    assert sorted(path.name for path in parts.iterdir()) == ["checkpoint.pt", "log.txt"]


def test_scenes_are_drawn_once_and_kept_by_torch(tool, tmp_path, monkeypatch):
    (scene,) = tool.drawn_scenes(tmp_path, 1, SIZE)
    for found, expected in zip(scene, streets.draw_street(1, SIZE), strict=True):
        np.testing.assert_array_equal(found, expected)
    monkeypatch.setattr(tool, "draw_street", None)
    (again,) = tool.drawn_scenes(tmp_path, 1, SIZE)
    assert again.image.tobytes() == scene.image.tobytes()
    assert tool.drawn_scenes(tmp_path / "none", 0) == []


def test_rate_warms_up_stays_and_decays_torch(tool):
    run = tool.Run(tool.Settings(rate=1.0, warmup=2), "cpu")
    assert tool.plan(run, 4, 4) == 8
    rates = []
    for run.step in range(8):
        rates.append(run.rate())
    assert rates == [0.5, 1, 1, 1, 1, 0.75, 0.5, 0.25]
    assert tool.plan(run, None, None) == 8
    run.step = 6
    assert tool.plan(run, None, 2) == 8  # the decay planned anew from the rate it has
    assert run.rate() == 0.5


def test_final_weights_make_the_same_network_in_minicam_torch(tool, frames, tmp_path):
    torch = require_torch()
    settings = tool.Settings(crop=(32, 48), full_height=48)
    run = tool.Run(settings, "cpu")
    for module in run.average.modules():  # or half of the network would be multiplied by zero
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.ones_(module.weight)
    tool.STATISTICS_BATCHES, batches = 4, tool.STATISTICS_BATCHES
    state = tool.final_state(run, Sampler(frames, [], 0, settings))
    tool.STATISTICS_BATCHES = batches
    tool.write(state, tmp_path / "out.h5", "a test")
    net = load(tmp_path / "out.h5", device="cpu")
    image = frames[0].image[None]
    pixels = np.moveaxis(image, 3, 1).astype(np.float64)
    expected = forward(net.parameters(np.float64), torch.tensor(pixels))
    twin = importlib.import_module("deeplab_twin")
    module = twin.DeepLab()
    module.load_state_dict(state, strict=False)
    with torch.no_grad():
        logits = module.double().eval()(twin.normalised(image.astype(np.float64)))
    np.testing.assert_allclose(logits, expected["dec_crop2"], atol=1e-9)
    found = net.forward(pixels, ["dec_crop2"])["dec_crop2"]
    np.testing.assert_allclose(found, logits, atol=1e-5 * np.abs(logits.numpy()).max())
    channels = expected["bn_conv1"].numpy()
    assert np.abs(channels.mean(axis=(0, 2, 3))).max() < 1.0  # statistics of such frames
    assert 0.3 < channels.std() < 3


BAD = {
    "label": ("labels/1.png", lambda path: Image.fromarray(np.full(SIZE, 77, np.uint8)).save(path), "label 77"),
    "size": ("labels/1.png", lambda path: Image.fromarray(np.zeros((9, 9), np.uint8)).save(path), "9 x 9"),
    "missing": ("images/1.png", lambda path: path.parent.with_name("labels").joinpath("1.png").unlink(), "no labels"),
    "damaged": ("images/1.png", lambda path: path.write_bytes(path.read_bytes()[:200]), "cannot be read"),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_frame_stops_before_the_first_step_torch(tool, frames, kind, tmp_path, caplog):
    name, spoil, words = BAD[kind]
    write_frames(tmp_path, frames)
    spoil(tmp_path / name)
    assert run_tool(tool, tmp_path, tmp_path / "run") == 1
    (message,) = (record.getMessage() for record in caplog.records if record.levelname == "ERROR")
    assert str(tmp_path / name) in message
    assert words in message
    assert not (tmp_path / "run" / "checkpoint.pt").exists()


def test_start_of_another_network_is_refused_torch(tool, folder, tmp_path, caplog):
    torch = require_torch()
    torch.save({"conv1.weight": torch.zeros(1)}, tmp_path / "other.pt")
    assert run_tool(tool, folder, tmp_path / "run", f"--scenes 0 --start {tmp_path / 'other.pt'}") == 1
    assert "other.pt: not a state_dict of this network" in caplog.text


def test_crop_of_odd_size_is_refused_torch(tool, folder, tmp_path, caplog):
    require_torch()
    assert run_tool(tool, folder, tmp_path / "run", "--crop 40 48") == 1
    assert "crop (40, 48): expected multiples of 16" in caplog.text
