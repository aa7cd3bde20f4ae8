"""JAX on the CPU: forward pass and job, each compiled as one function."""

import importlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from minicam.bench.contestant import Contestant
from minicam.bench.task import FEATURE_LAYERS, Answer, class_channels, resize_matrices
from minicam.bench.translation import folded, steps, untranslatable
from minicam.graph import Node
from minicam.network import Network
from minicam.ops import Add, BatchNorm, Concat, Conv, ConvTranspose, Crop, Dropout, MaxPool, Normalize, Relu, Softmax


class Jax(Contestant):
    """Threads: JAX takes one per core that the process may use; the worker limits those."""

    packages = ("jax",)

    def prepare(self, network: Network, image: np.ndarray) -> None:
        self.jax: Any = importlib.import_module("jax")
        network = folded(network, FEATURE_LAYERS)  # exact, and the compiler does not do it
        (source,), self.image, self.channels = network.graph.inputs, image, class_channels(network)
        self.source, self.output = source, network.graph.outputs[0]
        self.nodes = [step.node for step in steps(network.graph, {self.output, *FEATURE_LAYERS})]
        # Arguments, not constants: as constants they make compiling slower, not running faster.
        self.parameters = self.jax.device_put(network.parameters())
        shapes = network.graph.shapes({source: image.shape[1:]})
        self.shapes = {layer: (len(image), *shapes[layer]) for layer in FEATURE_LAYERS}
        self.matrices = {layer: resize_matrices(shapes[layer][1:], image.shape[2:]) for layer in FEATURE_LAYERS}

    def compile(self) -> None:
        arguments = self.parameters, self.image
        self._forward = self.jax.jit(self._scores).lower(*arguments).compile()
        self._job = self.jax.jit(self._explained).lower(*arguments).compile()

    def forward(self) -> np.ndarray:
        return np.asarray(self._forward(self.parameters, self.image))

    def job(self) -> Answer:
        labels, maps = self._job(self.parameters, self.image)
        return Answer(labels=np.asarray(labels), maps=np.asarray(maps))

    def _scores(self, parameters: Any, image: Any, taps: Mapping[str, Any] | None = None) -> Any:
        """The output; or, where taps are added to the feature layers, the output and these layers."""
        values = {self.source: image.astype(np.float32)}
        for node in self.nodes:
            xs = [values[name] for name in node.inputs]
            values[node.name] = jax_value(node, parameters.get(node.name, {}), *xs)
            if taps and node.name in taps:
                values[node.name] += taps[node.name]
        return (values[self.output], {name: values[name] for name in taps}) if taps else values[self.output]

    def _explained(self, parameters: Any, image: Any) -> tuple[Any, Any]:
        jnp = self.jax.numpy
        # The gradient at a layer is that with respect to zeros added to it; the compiler removes the zeros.
        taps = {layer: jnp.zeros(shape, np.float32) for layer, shape in self.shapes.items()}
        scores, backward, features = self.jax.vjp(lambda t: self._scores(parameters, image, t), taps, has_aux=True)
        maps: list[list[Any]] = []
        for channel in self.channels:
            (gradients,) = backward(jnp.zeros_like(scores).at[:, channel].set(1))
            maps.append([])
            for layer in FEATURE_LAYERS:
                alpha = gradients[layer].mean(axis=(2, 3))
                raw = jnp.einsum("nk,nkhw->hw", alpha, features[layer])
                rows, columns = self.matrices[layer]
                maps[-1].append(rows @ jnp.maximum(raw, 0) @ columns.T)
        labels = scores[0].argmax(axis=0).astype(np.uint8)
        return labels, jnp.stack([jnp.stack(of_class) for of_class in zip(*maps, strict=True)])


def jax_value(node: Node, p: Mapping[str, Any], *xs: Any) -> Any:
    """What the node gives for xs (N, C, H, W)."""
    jax = importlib.import_module("jax")
    op, x = node.op, xs[0]
    p = {name: array if name == "weight" else array[:, None, None] for name, array in p.items()}
    if isinstance(op, Conv):
        return (
            _conv(jax, x, p["weight"], op.stride, op.padding, op.dilation, (1,) * len(op.kernel), op.groups) + p["bias"]
        )
    if isinstance(op, ConvTranspose):
        each_channel = op.groups == op.filters == x.shape[1] and set(op.dilation) == {1} and len(op.kernel) == 2
        return (_upsampled if each_channel else _transposed)(jax, x, p["weight"], op) + p["bias"]
    if isinstance(op, BatchNorm):
        return p["scale"] / jax.numpy.sqrt(p["variance"] + op.epsilon) * (x - p["mean"]) + p["offset"]
    if isinstance(op, MaxPool):
        padding = ((0, 0), (0, 0), *op.padding)
        return jax.lax.reduce_window(x, -np.inf, jax.lax.max, (1, 1, *op.kernel), (1, 1, *op.stride), padding)
    if isinstance(op, Normalize):
        return (x - p["mean"]) / p["std"]
    if isinstance(op, Crop):
        starts = [(a - b) // 2 for a, b in zip(x.shape[2:], xs[1].shape[2:], strict=True)]
        ends = [start + size for start, size in zip(starts, xs[1].shape[2:], strict=True)]
        return x[:, :, starts[0] : ends[0], starts[1] : ends[1]]
    simple = {
        Relu: lambda: jax.nn.relu(x),
        Softmax: lambda: jax.nn.softmax(x, axis=1),
        Add: lambda: sum(xs[1:], start=x),
        Concat: lambda: jax.numpy.concatenate(xs, axis=1),
        Dropout: lambda: x,
    }
    if type(op) not in simple:
        raise untranslatable(node, "into JAX")
    return simple[type(op)]()


def _conv(jax: Any, x: Any, weight: Any, stride: Any, padding: Any, dilation: Any, spread: Any, groups: int) -> Any:
    return jax.lax.conv_general_dilated(
        x, weight, stride, padding, lhs_dilation=spread, rhs_dilation=dilation, feature_group_count=groups
    )


def _transposed(jax: Any, x: Any, weight: Any, op: ConvTranspose) -> Any:
    """As a convolution: the input spread out by the stride, the kernel turned by 180 degrees, its two channel axes
    exchanged within each group, and a full padding less the cropping."""
    grouped = weight.reshape(op.groups, -1, *weight.shape[1:]).swapaxes(1, 2)
    turned = grouped.reshape(-1, grouped.shape[2], *op.kernel)[:, :, ::-1, ::-1]
    reach = [d * (k - 1) for d, k in zip(op.dilation, op.kernel, strict=True)]
    padding = [(r - low, r - high) for r, (low, high) in zip(reach, op.cropping, strict=True)]
    return _conv(jax, x, turned, (1,) * len(op.kernel), padding, op.dilation, op.stride, op.groups)


def _upsampled(jax: Any, x: Any, weight: Any, op: ConvTranspose) -> Any:
    """Each channel alone, which JAX's grouped convolution takes seconds for: with a kernel of q times the stride, every
    output is a sum of q x q products, of the inputs around it and the taps that belong to its place between them."""
    stride, space = op.stride, x.shape[2:]
    reach = [-(-k // s) for k, s in zip(op.kernel, stride, strict=True)]
    more = [(0, q * s - k) for q, s, k in zip(reach, stride, op.kernel, strict=True)]
    taps = jax.numpy.pad(weight[:, 0], ((0, 0), *more)).reshape(-1, reach[0], stride[0], reach[1], stride[1])
    padded = jax.numpy.pad(x, ((0, 0), (0, 0), *((q - 1, q - 1) for q in reach)))
    cells = [n + q - 1 for n, q in zip(space, reach, strict=True)]
    total: Any = 0
    for i in range(reach[0]):
        for j in range(reach[1]):
            top, left = reach[0] - 1 - i, reach[1] - 1 - j
            inputs = padded[:, :, top : top + cells[0], left : left + cells[1]]
            total += inputs[:, :, :, None, :, None] * taps[:, i, None, :, j][:, :, :, None, :]
    full = total.reshape(*x.shape[:2], cells[0] * stride[0], cells[1] * stride[1])
    height, width = op.output_shape(x.shape[1:])[1:]
    (top, _), (left, _) = op.cropping
    return full[:, :, top : top + height, left : left + width]
