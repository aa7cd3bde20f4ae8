"""OpenVINO on the CPU, from the same ONNX model as ONNX Runtime. It has no backward pass."""

import importlib
from typing import Any

import numpy as np

from minicam.bench.contestant import Contestant
from minicam.bench.onnx_model import onnx_model
from minicam.network import Network


class OpenVino(Contestant):
    packages = ("openvino", "onnx")
    kinds = ("forward",)

    def load(self, threads: int) -> str:
        self.library: Any = importlib.import_module("openvino")
        self.options = {
            "INFERENCE_NUM_THREADS": threads,  # as many as everybody else
            "PERFORMANCE_HINT": "LATENCY",  # all threads on one image
            "INFERENCE_PRECISION_HINT": "f32",  # else it computes in bfloat16 where the processor can
        }
        return self.library.__version__

    def prepare(self, network: Network, image: np.ndarray) -> None:
        self.image = image
        self.model = onnx_model(network, image.shape)

    def compile(self) -> None:
        core = self.library.Core()
        # Fixed shapes, so that it can choose its kernels and memory before the first run.
        self.compiled = core.compile_model(core.read_model(self.model, b""), "CPU", self.options)
        self.request = self.compiled.create_infer_request()
        del self.model

    def forward(self) -> np.ndarray:
        (found,) = self.request.infer([self.image.astype(np.float32)]).values()
        return found
