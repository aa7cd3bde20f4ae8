"""ONNX Runtime on the CPU. It has no backward pass for inference models, so it takes part in the forward only."""

import importlib
from typing import Any

import numpy as np

from minicam.bench.contestant import Contestant
from minicam.bench.onnx_model import onnx_model
from minicam.network import Network


class OnnxRuntime(Contestant):
    packages = ("onnxruntime", "onnx")
    kinds = ("forward",)

    def load(self, threads: int) -> str:
        self.library: Any = importlib.import_module("onnxruntime")
        self.options = self.library.SessionOptions()
        self.options.intra_op_num_threads = threads  # as many as everybody else
        self.options.inter_op_num_threads = 1  # one layer at a time, each on all threads: the graph is nearly a chain
        # Everything it knows: folding, fusing, and its own blocked memory layouts.
        self.options.graph_optimization_level = self.library.GraphOptimizationLevel.ORT_ENABLE_ALL
        return self.library.__version__

    def prepare(self, network: Network, image: np.ndarray) -> None:
        self.image, (self.input,) = image, network.graph.inputs
        # Its Softmax over channels takes five times as long as the same in five steps.
        self.model = onnx_model(network, image.shape, plain_softmax=False)

    def compile(self) -> None:
        self.session = self.library.InferenceSession(self.model, self.options, providers=["CPUExecutionProvider"])
        del self.model

    def forward(self) -> np.ndarray:
        return self.session.run(None, {self.input: self.image.astype(np.float32)})[0]
