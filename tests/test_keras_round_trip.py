"""A Keras model with channels last, as Keras itself saves it and exports it to ONNX, read here: the same values and the
same Grad-CAM as autograd through Keras."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from references import peak_error, require_torch

import minicam as mc

TOLERANCE = 1e-6
"""Relative to the peak. Keras computes its batch normalisation in float32, also where the model is in float64."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """What keras_round_trip.py writes, in a process of its own, since Keras has one backend for each process."""
    require_torch()
    pytest.importorskip("onnx")
    if importlib.util.find_spec("keras") is None:
        pytest.skip("needs Keras")
    folder = tmp_path_factory.mktemp("keras")
    command = [sys.executable, Path(__file__).with_name("keras_round_trip.py"), folder]
    done = subprocess.run(command, env={**os.environ, "KERAS_BACKEND": "torch"}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder


def layer_of(values, expected):
    """The name of the layer that gives these values; of a channels last array the last axis is the channels here."""
    wanted = np.moveaxis(expected, -1, 1)
    found = [name for name, value in values.items() if peak_error(value, wanted) < TOLERANCE]
    assert found
    return found[-1]


@pytest.mark.parametrize("file", ["m.keras", "m.onnx"])
def test_gradcam_equals_autograd_through_keras(file, folder):
    autograd = np.load(folder / "autograd.npz")
    net = mc.convert(folder / file)
    values = net.forward(np.moveaxis(autograd["x"], -1, 1), net.layers)
    features, logits, softmax = (layer_of(values, autograd[key]) for key in ("features", "logits", "softmax"))
    assert net.graph.outputs == (softmax,)
    for c in autograd["classes"]:
        alpha, raw = autograd[f"alpha{c}"], autograd[f"raw{c}"]
        gradient = net.backward(values, {logits: np.eye(4)[[c]]}, [features])[features]
        found = gradient.mean(axis=(2, 3), keepdims=True)
        assert peak_error(found.ravel(), alpha) < TOLERANCE
        assert peak_error((found * values[features]).sum(axis=1)[0], raw) < TOLERANCE
        cam = mc.gradcam(net, autograd["x"][0].astype(np.uint8), c, features, logits)
        assert peak_error(cam.alpha[0], alpha) < 1e-4
        assert peak_error(cam.raw[0], raw) < 1e-4
