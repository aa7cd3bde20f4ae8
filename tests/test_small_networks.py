"""The two small networks that minicam trains itself: drawn digits, speakers, their trainers and their weights."""

from pathlib import Path

import digits
import numpy as np
import pytest
import train_digits
import train_vowels
from PIL import Image

import minicam as mc
from minicam.zoo import initial_parameters, vowels_classifier

ROOT = Path(__file__).parents[1]
WEIGHTS = {name: ROOT / "weights" / f"{name}.h5" for name in ("digits", "vowels")}
VOWELS = ROOT.parent / "shared" / "vowels" / "train.npz"


# ---------------------------------------------------------------------------------------------- drawn digits


def test_drawn_digits_are_white_on_black_and_in_the_middle():
    pictures = digits.draw(np.linspace(-45, 45, 300), np.random.default_rng(3))
    assert pictures.shape == (300, 1, 28, 28)
    assert pictures.dtype == np.uint8
    peaks = pictures.max(axis=(1, 2, 3))
    assert peaks.min() > 50
    assert peaks.max() == 255
    assert np.median(pictures, axis=(1, 2, 3)).max() == 0  # more black than not, in every picture
    where = np.indices((28, 28)).reshape(2, -1) - 13.5
    weights = pictures.reshape(300, -1) / pictures.sum(axis=(1, 2, 3))[:, None]
    middles = weights @ where.T
    assert abs(middles).max() < 7
    np.testing.assert_allclose(middles.mean(axis=0), 0, atol=0.5)


def test_the_same_state_draws_the_same_bytes():
    first, again, other = (digits.draw(np.zeros(20), np.random.default_rng(seed)) for seed in (5, 5, 6))
    assert first.tobytes() == again.tobytes()
    assert (first != other).any(axis=(1, 2, 3)).all()


@pytest.mark.parametrize("angle", [-40, -15, 30])
def test_positive_angles_turn_counter_clockwise(angle):
    """Image.rotate is documented as counter-clockwise, about the middle of the picture."""
    upright, turned = (digits.draw(np.full(60, a), np.random.default_rng(1)) for a in (0, angle))

    def likeness(by):
        rotated = [np.asarray(Image.fromarray(p).rotate(by, Image.Resampling.BILINEAR)) for p in upright[:, 0]]
        return [np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in zip(rotated, turned[:, 0], strict=True)]

    assert np.mean(likeness(angle)) > 0.97
    assert np.mean(likeness(-angle)) < 0.8


def test_random_angles_fill_the_range():
    angles = digits.random_angles(2000, np.random.default_rng(0))
    assert -45 <= angles.min() < -44
    assert 44 < angles.max() <= 45
    assert np.histogram(angles, 9)[0].min() > 150


def test_every_digit_is_drawn_as_asked():
    """Each digit resembles the mean of its kind most, or in part: a test of the shapes by nearest mean."""
    wanted = np.repeat(np.arange(10), 60)
    pictures = digits.draw(np.zeros(len(wanted)), np.random.default_rng(2), wanted).reshape(len(wanted), -1) / 255
    means = pictures.reshape(10, 60, -1).mean(axis=1)
    nearest = ((pictures[:, None] - means) ** 2).sum(axis=2).argmin(axis=1)
    assert (nearest == wanted).mean() > 0.6  # chance: 0.1
    pieces, which = digits.shapes()
    assert set(which) == set(range(10))
    assert abs(pieces).max() < 0.56  # a digit is one height high
    tops, bottoms = pieces[..., 1].min(axis=(1, 2)), pieces[..., 1].max(axis=(1, 2))
    np.testing.assert_allclose(bottoms - tops, 1, atol=0.1)


def test_the_sheet_of_digits(tmp_path):
    digits.main(tmp_path / "sheet.png", 0)
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.size == (20 * 28, 10 * 28)
        first = np.asarray(sheet)[:28, :28]
    angles = np.tile(np.linspace(-45, 45, 20), 10)
    np.testing.assert_array_equal(
        first, digits.draw(angles, np.random.default_rng(0), np.repeat(np.arange(10), 20))[0, 0]
    )


# --------------------------------------------------------------------------------------- the digits network


def test_digits_weights_reach_the_stated_error():
    net = mc.load(WEIGHTS["digits"])
    found = train_digits.errors(net, *train_digits.sample(500, np.random.default_rng(12345)))
    assert train_digits.root_mean_square(found) < 5
    assert abs(found.mean()) < 1


def test_digits_weights_are_small_and_check_themselves():
    report = mc.verify(WEIGHTS["digits"])
    assert report.check is not None
    assert report.bytes < 3e6
    assert mc.load(WEIGHTS["digits"]).input_shape == (1, 28, 28)


def test_training_on_digits_writes_the_same_bytes_again(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(train_digits, "ASKED", 20)
    monkeypatch.setattr(train_digits, "BATCH", 4)
    for name in ("first.h5", "again.h5"):
        train_digits.main(tmp_path / name, steps=3)
    train_digits.main(tmp_path / "other.h5", steps=3, seed=1)
    first, again, other = ((tmp_path / f"{name}.h5").read_bytes() for name in ("first", "again", "other"))
    assert first == again != other
    assert "error on 20 unseen digits" in capsys.readouterr().out
    net = mc.load(tmp_path / "first.h5")
    before = train_digits.start(0).parameters()
    for layer, arrays in net.parameters().items():
        changed = any((arrays[name] != before[layer][name]).any() for name in arrays)
        assert changed == (layer != "imageinput"), layer
    assert 10 < net.parameters()["imageinput"]["mean"].item() < 60
    assert net.parameters()["imageinput"]["std"].item() == 1


def test_digits_that_are_unseen_are_in_no_batch():
    """The generators differ, so that the first angles of each step differ from those that are asked about."""
    asked = train_digits.unseen(50, 0)[1][:, 0]
    for step in range(20):
        assert not np.isin(digits.random_angles(50, np.random.default_rng([0, step])), asked).any()


# ------------------------------------------------------------------------------------------------- speakers


def made_up(seed=0, each=4):
    """values, lengths, labels of made-up utterances: speaker k says k at every time step."""
    random = np.random.default_rng(seed)
    labels = np.repeat(np.arange(1, 10, dtype=np.uint8), each)
    lengths = random.integers(7, 27, len(labels)).astype(np.int32)
    values = np.repeat(labels, lengths)[:, None] * np.ones(12)
    return {"values": values.astype(np.float32), "lengths": lengths, "labels": labels}


@pytest.fixture
def written(tmp_path):
    def write(**changes):
        arrays = {**made_up(), **changes}
        np.savez(tmp_path / "train.npz", **{name: array for name, array in arrays.items() if array is not None})
        return tmp_path / "train.npz"

    return write


def test_utterances_are_read(written):
    utterances = train_vowels.read(written())
    assert [len(sequence) for sequence in utterances.sequences] == made_up()["lengths"].tolist()
    assert utterances.speakers.tolist() == [k for k in range(9) for _ in range(4)]
    for sequence, speaker in zip(utterances.sequences, utterances.speakers, strict=True):
        np.testing.assert_array_equal(sequence, np.full((len(sequence), 12), speaker + 1, np.float32))


DATA = made_up()
BAD = {
    "no labels": ({"labels": None}, "expected an .npz file with values, lengths and labels.*labels"),
    "eleven channels": (
        {"values": DATA["values"][:, :11]},
        r"values has the shape \(\d+, 11\); expected \(steps, 12\)",
    ),
    "whole numbers": ({"values": DATA["values"].astype(int)}, "values is of the type int64"),
    "pickled": ({"values": np.array([{}, 1], object)}, "Object arrays cannot be loaded"),
    "fewer labels": ({"labels": DATA["labels"][:-1]}, "there are 36 lengths and 35 labels"),
    "labels in a table": ({"labels": DATA["labels"].reshape(6, 6)}, r"labels is uint8 \(6, 6\)"),
    "labels as text": ({"labels": DATA["labels"].astype(str)}, "labels is <U"),
    "label 0": ({"labels": np.where(DATA["labels"] == 9, 0, DATA["labels"])}, "4 labels are not 1 to 9, the first"),
    "nobody speaks as 9": ({"labels": np.minimum(DATA["labels"], 8)}, r"nothing from the speakers \[9\]"),
    "lengths too long": ({"lengths": DATA["lengths"] + 1}, r"the lengths add up to \d+, but there are \d+ time steps"),
    "an empty utterance": ({"lengths": DATA["lengths"] * 0}, "holds no utterance, or an empty one"),
    "NaN": (
        {"values": np.where(np.arange(len(DATA["values"]))[:, None] == 7, np.nan, DATA["values"])},
        r"1 time steps.*\[7\]",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_utterances_stop_before_the_first_step(name, written, tmp_path):
    changes, message = BAD[name]
    with pytest.raises(mc.MinicamError, match=rf"train\.npz: .*{message}"):
        train_vowels.main(written(**changes), tmp_path / "out.h5", steps=1, folds=0)
    assert not (tmp_path / "out.h5").exists()


@pytest.mark.parametrize("content", [None, b"", b"not an archive", b"PK\x03\x04 cut off"])
def test_files_that_are_no_archives(content, tmp_path):
    path = tmp_path / "data.npz"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(mc.MinicamError, match=r"data\.npz: expected an .npz file with values, lengths and labels"):
        train_vowels.read(path)


def test_a_folder_that_is_not_there_stops_before_the_first_step(written, tmp_path):
    gone = tmp_path / "gone" / "out.h5"
    with pytest.raises(mc.ModelFileError, match=r"there is no folder .*gone; nothing was trained"):
        train_vowels.main(written(), gone)
    with pytest.raises(mc.ModelFileError, match=r"there is no folder .*gone; nothing was trained"):
        train_digits.main(gone)


def test_batches_hold_parts_of_utterances_of_about_one_length(written, monkeypatch):
    """Without disturbances: a rising coefficient tells which part of which utterance each row is."""
    for name in ("MIX", "NOISE", "OFFSET"):
        monkeypatch.setattr(train_vowels, name, 0.0)
    lengths = DATA["lengths"]
    rising = DATA["values"].copy()
    rising[:, 1] = np.concatenate([np.arange(length) for length in lengths])
    utterances = train_vowels.read(written(values=rising))
    varied = train_vowels.Varied(utterances)
    counts = set()
    for seed in range(40):
        x, speakers = varied(np.random.default_rng(seed))
        assert x.shape[:2] == (train_vowels.BATCH, 12)
        counts.add(count := x.shape[2])
        x = x * varied.scale[:, None]
        np.testing.assert_allclose(x[:, 0], np.repeat(speakers + 1.0, count, axis=1), rtol=1e-6)
        time = x[:, 1]
        kept = 1 + time[:, -1] - time[:, 0]
        even = np.repeat((kept[:, None] - 1) / (count - 1), count - 1, axis=1)
        np.testing.assert_allclose(np.diff(time, axis=1), even, rtol=1e-5)
        assert np.all(abs(kept - count) <= train_vowels.STRETCH * count + 1e-6)
        assert time.min() >= 0
        longest = [lengths[DATA["labels"] == speaker + 1].max() for speaker in speakers[:, 0]]
        assert np.all(time[:, -1] <= np.array(longest) - 1 + 1e-6)
    assert len(counts) > 8


def test_mixing_stays_with_the_speaker(written, monkeypatch):
    """Each speaker's utterances are constants of their own: what is mixed lies around those constants, and varies."""
    for name in ("NOISE", "OFFSET"):
        monkeypatch.setattr(train_vowels, name, 0.0)
    of_utterance = DATA["labels"] * 10.0 + np.arange(len(DATA["labels"])) % 4
    data = written(values=np.repeat(of_utterance, DATA["lengths"])[:, None] * np.ones(12))
    varied = train_vowels.Varied(train_vowels.read(data))
    x, speakers = varied(np.random.default_rng(0))
    beyond = (x * varied.scale[:, None])[:, 0, 0] - 10 * (speakers[:, 0] + 1)
    assert beyond.min() >= -1.5 - 1e-5  # half of the largest difference, 3, beyond 0 to 3
    assert beyond.max() <= 4.5 + 1e-5
    assert (abs(beyond - beyond.round()) > 1e-3).mean() > 0.5


def test_every_speaker_is_in_every_part():
    speakers = np.repeat(np.arange(9), 30)
    part = train_vowels.parts(speakers, 10, 0)
    counts = np.zeros((9, 10), int)
    np.add.at(counts, (speakers, part), 1)
    assert np.all(counts == 3)
    assert (part != train_vowels.parts(speakers, 10, 1)).any()


def test_cross_validation_asks_about_what_was_kept_apart(written, monkeypatch, capsys):
    """Here a stand-in for training hands on what it was given, and only what was not given is a hit."""
    utterances = train_vowels.read(written())
    learned = []
    monkeypatch.setattr(train_vowels, "trained", lambda given, *_, **__: learned.append(given) or given)
    monkeypatch.setattr(
        train_vowels,
        "hits",
        lambda net, asked: np.array([not any(one is two for two in net.sequences) for one in asked.sequences]),
    )
    assert train_vowels.cross_validated(utterances, 4, 1, 0).tolist() == [1, 1, 1, 1]
    assert [len(given.sequences) for given in learned] == [27] * 4
    assert capsys.readouterr().out.count("of 9") == 4


def test_the_scale_goes_into_the_first_layer(written):
    """Untrained, so that the parameters for scaled coefficients are known."""
    random = np.random.default_rng(4)
    values = (DATA["values"] + random.standard_normal(DATA["values"].shape) * np.arange(1, 13)).astype(np.float32)
    utterances = train_vowels.read(written(values=values))
    net = train_vowels.trained(utterances, steps=0, seed=7, progress=False)
    graph = vowels_classifier()
    scaled = mc.Network(graph, initial_parameters(graph, 7))
    x = random.standard_normal((2, 12, 15)) * 5
    expected = scaled.forward(x / values.std(axis=0)[:, None])["softmax"]
    np.testing.assert_allclose(net.forward(x)["softmax"], expected, rtol=1e-4)
    assert net.classes == train_vowels.NAMES


def test_training_on_speakers_learns_and_writes_the_same_bytes_again(written, tmp_path, capsys):
    of_speaker = 3 * np.eye(12)[DATA["labels"]]
    data = written(values=np.repeat(of_speaker, DATA["lengths"], axis=0))
    for name in ("first.h5", "again.h5"):
        train_vowels.main(data, tmp_path / name, steps=40, folds=0)
    assert (tmp_path / "first.h5").read_bytes() == (tmp_path / "again.h5").read_bytes()
    assert "on what it was trained on" in capsys.readouterr().out
    utterances = train_vowels.read(data)
    net = mc.load(tmp_path / "first.h5")
    untrained = train_vowels.trained(utterances, steps=0, seed=0, progress=False)
    assert train_vowels.hits(net, utterances).mean() > 0.5 > train_vowels.hits(untrained, utterances).mean()
    train_vowels.main(data, tmp_path / "measured.h5", steps=2, folds=2)
    assert "by 2-fold cross-validation, stratified; from" in capsys.readouterr().out


def test_vowels_weights_are_small_and_check_themselves():
    report = mc.verify(WEIGHTS["vowels"])
    assert report.check is not None
    assert report.bytes < 3e6
    net = mc.load(WEIGHTS["vowels"])
    assert net.input_shape == (12, None)
    assert net.classes == tuple(f"speaker {number}" for number in range(1, 10))
    for steps in (1, 7, 29, 200):
        scores = net.forward(np.zeros((2, 12, steps)))["softmax"]
        assert scores.shape == (2, 9)
        np.testing.assert_allclose(scores.sum(axis=1), 1)


@pytest.mark.skipif(not VOWELS.exists(), reason=f"needs {VOWELS}, which is not part of the repository")
def test_vowels_weights_know_the_utterances_they_were_trained_on():
    utterances = train_vowels.read(VOWELS)
    assert train_vowels.hits(mc.load(WEIGHTS["vowels"]), utterances).mean() > 0.99
