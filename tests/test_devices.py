"""Choosing between CPU and GPU: what is found, and what is said where something is missing."""

import importlib.util
import logging
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from cupy_standin import device, standin
from networks import segmenter

from minicam import DeviceError, backend
from minicam.backend import array_module, device_module


def test_cpu_is_numpy(gpu):
    assert device_module("cpu") is np


@pytest.mark.parametrize("device", ["gpu", "auto"])
def test_the_gpu_is_taken_where_a_device_answers(gpu, device, caplog):
    caplog.set_level(logging.INFO, "minicam")
    assert device_module(device) is gpu
    assert caplog.messages == ["device: gpu"]


@pytest.fixture
def no_cupy(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)  # then it is not found, and `import cupy` fails


def refused(expected: str, caplog) -> None:
    """Check what is said of "gpu", and that "auto" takes the CPU and says why."""
    caplog.set_level(logging.INFO, "minicam")
    with pytest.raises(DeviceError, match=f"^device 'gpu' cannot be used: .*{expected}"):
        device_module("gpu")
    assert device_module("auto") is np
    (said,) = caplog.messages
    assert said.startswith("device: cpu, since ")
    assert expected.replace("\\", "") in said


def test_without_the_package_it_is_said_how_to_install_it(no_cupy, caplog):
    refused(r'CuPy is not installed: pip install "minicam\[cuda12\]" or', caplog)


def test_without_a_driver_cupy_is_not_even_imported(monkeypatch, caplog):
    monkeypatch.setattr(backend, "DRIVERS", ("no-such-driver.so",))
    with standin.install():
        specification = sys.modules["cupy"].__spec__
    monkeypatch.delitem(sys.modules, "cupy", raising=False)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: specification)
    refused("there is no NVIDIA driver: install it, and check that the command nvidia-smi", caplog)
    assert "cupy" not in sys.modules


def test_a_driver_is_told_by_its_library(monkeypatch):
    libraries = {"linux": "libc.so.6", "darwin": "libc.dylib", "win32": "kernel32.dll"}  # there is one everywhere
    monkeypatch.setattr(backend, "DRIVERS", ("no-such-driver.so", libraries[sys.platform]))
    assert backend._has_driver()


@pytest.mark.parametrize(
    ("installed", "expected"),
    [
        ({"error": device.NO_DRIVER}, "cudaErrorInsufficientDriver: .*: update the NVIDIA driver, or install a CuPy"),
        ({"error": device.NO_DEVICE}, "the NVIDIA driver reports no device: check nvidia-smi, and the variable CUDA"),
        ({"devices": 0}, "the NVIDIA driver reports no device: check nvidia-smi"),
    ],
)
def test_what_the_runtime_refuses_is_said(installed, expected):
    with standin.install(**installed):
        with pytest.raises(DeviceError, match=f"^device 'gpu' cannot be used: {expected}"):
            device_module("gpu")
        assert device_module("auto") is np


def test_a_cupy_that_cannot_be_imported_is_said(monkeypatch, tmp_path, caplog):
    (tmp_path / "cupy.py").write_text("raise ImportError('libnvrtc.so is missing')")
    for name in [name for name in sys.modules if name.split(".")[0] == "cupy"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(backend, "_has_driver", lambda: True)
    refused("CuPy is installed, but cannot be imported: libnvrtc.so is missing", caplog)


def test_cupy_as_it_is_without_a_driver():
    """The real one, in a process of its own. Where there is no driver it says so without being imported."""
    if importlib.util.find_spec("cupy") is None or backend._has_driver():
        pytest.skip("needs CuPy, and a machine without an NVIDIA driver")
    program = (
        "import sys, minicam.backend as b; print(b.device_module('auto').__name__, 'cupy' in sys.modules);"
        "import cupy\ntry: b.device_module('gpu')\nexcept b.DeviceError as error: print(error)"
    )
    root = Path(__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=True)
    first, second = done.stdout.splitlines()
    assert first == "numpy False"
    assert second.startswith("device 'gpu' cannot be used: cudaErrorInsufficientDriver: CUDA driver version is")


def test_arrays_on_the_device_are_told_from_others(gpu):
    assert array_module(gpu.zeros(1)) is gpu
    assert array_module(np.zeros(1)) is np


def test_a_network_without_a_gpu_is_refused(no_cupy):
    with pytest.raises(DeviceError, match="device 'gpu' cannot be used: CuPy is not installed"):
        segmenter(device="gpu")
