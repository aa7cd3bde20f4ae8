"""The networks of `minicam.zoo` in JAX, float64: independent twins.

Written from the published tables of layers, without minicam. Parameters are a dict layer -> parameter -> array with
weight (K, C, *kernel), transposed convolutions (C, K, *kernel), fully connected layers (K, C * space). The functions
under NETWORKS add layers by name to an object with the methods of `Layers`, of which `zoo_torch` has another.
"""

import deeplab_jax
import jax.numpy as jnp
from jax import lax


def forward(network, parameters, x, tap=None):
    """x (N, C, *space), raw scale -> layer name -> array. tap: as in `deeplab_jax.forward`."""
    return run(Layers(parameters, tap or {}), network, x)


def run(net, network, x):
    net.layers["input"] = x
    NETWORKS[network](net)
    return {name: value for name, value in net.layers.items() if name != "input"}


def resnet18(net):
    net.normalize("data", "input")
    net.conv("conv1", "data", stride=2, padding=3)
    net.norm("bn_conv1", "conv1")
    net.relu("conv1_relu", "bn_conv1")
    net.max_pool("pool1", "conv1_relu", size=3, padding=(1, 1))
    net.plain_block("2a", "pool1")
    net.plain_block("2b", "res2a_relu")
    net.projected_block("3a", "res2b_relu", stride=2, padding=1)
    net.plain_block("3b", "res3a_relu")
    net.projected_block("4a", "res3b_relu", stride=2, padding=1)
    net.plain_block("4b", "res4a_relu")
    net.projected_block("5a", "res4b_relu", stride=2, padding=1)
    net.plain_block("5b", "res5a_relu")
    net.global_average("pool5", "res5b_relu")
    net.dense("fc1000", "pool5")
    net.softmax("prob", "fc1000")


def squeezenet1_1(net):
    net.normalize("data", "input")
    net.conv("conv1", "data", stride=2)
    net.relu("relu_conv1", "conv1")
    net.max_pool("pool1", "relu_conv1", size=3)
    source = "pool1"
    for fire in range(2, 10):
        for part, parent in (("squeeze1x1", source), ("expand1x1", "squeeze1x1"), ("expand3x3", "squeeze1x1")):
            parent = f"fire{fire}-relu_{parent}" if parent == "squeeze1x1" else parent
            net.conv(f"fire{fire}-{part}", parent, padding=1 if part == "expand3x3" else 0)
            net.relu(f"fire{fire}-relu_{part}", f"fire{fire}-{part}")
        source = f"fire{fire}-concat"
        net.concat(source, f"fire{fire}-relu_expand1x1", f"fire{fire}-relu_expand3x3")
        if fire in (3, 5):
            net.max_pool(f"pool{fire}", source, size=3, padding=(0, 1))
            source = f"pool{fire}"
    net.dropout("drop9", source)
    net.conv("conv10", "drop9")
    net.relu("relu_conv10", "conv10")
    net.global_average("pool10", "relu_conv10")
    net.softmax("prob", "pool10")


def googlenet(net):
    net.normalize("data", "input")
    net.conv("conv1-7x7_s2", "data", stride=2, padding=3)
    net.relu("conv1-relu_7x7", "conv1-7x7_s2")
    net.max_pool("pool1-3x3_s2", "conv1-relu_7x7", size=3, padding=(0, 1))
    net.response_norm("pool1-norm1", "pool1-3x3_s2")
    net.conv("conv2-3x3_reduce", "pool1-norm1")
    net.relu("conv2-relu_3x3_reduce", "conv2-3x3_reduce")
    net.conv("conv2-3x3", "conv2-relu_3x3_reduce", padding=1)
    net.relu("conv2-relu_3x3", "conv2-3x3")
    net.response_norm("conv2-norm2", "conv2-relu_3x3")
    net.max_pool("pool2-3x3_s2", "conv2-norm2", size=3, padding=(0, 1))
    source = "pool2-3x3_s2"
    for block in ("3a", "3b", "4a", "4b", "4c", "4d", "4e", "5a", "5b"):
        name = f"inception_{block}"
        net.max_pool(f"{name}-pool", source, size=3, stride=1, padding=(1, 1))
        for part, parent, padding in (
            ("1x1", source, 0),
            ("3x3_reduce", source, 0),
            ("3x3", f"{name}-relu_3x3_reduce", 1),
            ("5x5_reduce", source, 0),
            ("5x5", f"{name}-relu_5x5_reduce", 2),
            ("pool_proj", f"{name}-pool", 0),
        ):
            net.conv(f"{name}-{part}", parent, padding=padding)
            net.relu(f"{name}-relu_{part}", f"{name}-{part}")
        source = f"{name}-output"
        net.concat(source, *(f"{name}-relu_{part}" for part in ("1x1", "3x3", "5x5", "pool_proj")))
        if block in ("3b", "4e"):
            pool = {"3b": "pool3-3x3_s2", "4e": "pool4-3x3_s2"}[block]
            net.max_pool(pool, source, size=3, padding=(0, 1))
            source = pool
    net.global_average("pool5-7x7_s1", source)
    net.dropout("pool5-drop_7x7_s1", "pool5-7x7_s1")
    net.dense("loss3-classifier", "pool5-drop_7x7_s1")
    net.softmax("prob", "loss3-classifier")


def unet(net):
    """Of depth 3."""
    net.normalize("data", "input")
    for level, source in ((1, "data"), (2, "encoder1_pool"), (3, "encoder2_pool")):
        net.double_conv(f"encoder{level}", source)
        net.max_pool(f"encoder{level}_pool", f"encoder{level}_relu2", size=2)
    net.double_conv("bottleneck", "encoder3_pool")
    for level, source in ((3, "bottleneck_relu2"), (2, "decoder3_relu2"), (1, "decoder2_relu2")):
        net.double(f"decoder{level}_up", source)
        net.concat(f"decoder{level}_concat", f"encoder{level}_relu2", f"decoder{level}_up")
        net.double_conv(f"decoder{level}", f"decoder{level}_concat")
    net.conv("scorer", "decoder1_relu2")
    net.softmax("softmax-out", "scorer")


def digits_regression(net):
    net.normalize("imageinput", "input")
    for i, source in enumerate(("imageinput", "avgpool2d_1", "avgpool2d_2", "relu_3"), start=1):
        net.conv(f"conv_{i}", source, padding=1)
        net.norm(f"batchnorm_{i}", f"conv_{i}")
        net.relu(f"relu_{i}", f"batchnorm_{i}")
        if i in (1, 2):
            net.halving_average(f"avgpool2d_{i}", f"relu_{i}")
    net.dropout("dropout", "relu_4")
    net.dense("fc", "dropout")


def vowels_classifier(net):
    for i, source in ((1, "input"), (2, "layernorm_1")):
        net.conv(f"conv1d_{i}", source, padding=(2, 0))
        net.relu(f"relu_{i}", f"conv1d_{i}")
        net.layer_norm(f"layernorm_{i}", f"relu_{i}")
    net.global_average("globalavgpool1d", "layernorm_2")
    net.dense("fc", "globalavgpool1d")
    net.softmax("softmax", "fc")


def volume_classifier(net):
    net.normalize("image3dinput", "input")
    for i, source in enumerate(("image3dinput", "maxpool3d_1", "maxpool3d_2", "relu_3"), start=1):
        net.conv(f"conv_{i}", source, padding=1)
        net.norm(f"batchnorm_{i}", f"conv_{i}")
        net.relu(f"relu_{i}", f"batchnorm_{i}")
        if i in (1, 2):
            net.max_pool(f"maxpool3d_{i}", f"relu_{i}", size=2)
    net.global_average("globalavgpool3d", "relu_4")
    net.dense("fc", "globalavgpool3d")
    net.softmax("softmax", "fc")


NETWORKS = {
    network.__name__: network
    for network in (
        *(resnet18, squeezenet1_1, googlenet, unet),
        *(digits_regression, vowels_classifier, volume_classifier),
    )
}


class Layers(deeplab_jax._Layers):
    """Of any rank; padding is one number, or (low, high), the same on each axis."""

    def normalize(self, name, source):
        x = self.layers[source]
        self._put(name, (x - self._column(name, "mean", x)) / self._column(name, "std", x))

    def conv(self, name, source, stride=1, padding=0, dilation=1):
        x = self.layers[source]
        pair = padding if isinstance(padding, tuple) else (padding, padding)
        rank = x.ndim - 2
        y = lax.conv_general_dilated(
            x, self.parameters[name]["weight"], (stride,) * rank, (pair,) * rank, rhs_dilation=(dilation,) * rank
        )
        self._put(name, y + self._column(name, "bias", x))

    def norm(self, name, source):
        x = self.layers[source]
        mean, variance, scale, offset = (self._column(name, key, x) for key in ("mean", "variance", "scale", "offset"))
        self._put(name, (x - mean) / jnp.sqrt(variance + 1e-5) * scale + offset)

    def layer_norm(self, name, source):
        x = self.layers[source]
        z = (x - x.mean(axis=1, keepdims=True)) / jnp.sqrt(x.var(axis=1, keepdims=True) + 1e-5)
        self._put(name, z * self._column(name, "scale", x) + self._column(name, "offset", x))

    def response_norm(self, name, source):
        """Over 5 neighbouring channels, with the constants of the published network."""
        x = self.layers[source]
        channels = x.shape[1]
        squares = jnp.pad(x**2, ((0, 0), (2, 2), (0, 0), (0, 0)))
        near = sum(squares[:, shift : shift + channels] for shift in range(5))
        self._put(name, x * (1 + 1e-4 / 5 * near) ** -0.75)

    def max_pool(self, name, source, size, stride=2, padding=(0, 0)):
        x = self.layers[source]
        rank = x.ndim - 2
        window, strides = (1, 1, *(size,) * rank), (1, 1, *(stride,) * rank)
        paddings = ((0, 0), (0, 0), *(padding,) * rank)
        self._put(name, lax.reduce_window(x, -jnp.inf, lax.max, window, strides, paddings))

    def halving_average(self, name, source):
        x = self.layers[source]
        n, channels, height, width = x.shape
        x = x[:, :, : height // 2 * 2, : width // 2 * 2]
        self._put(name, x.reshape(n, channels, height // 2, 2, width // 2, 2).mean(axis=(3, 5)))

    def global_average(self, name, source):
        x = self.layers[source]
        self._put(name, x.mean(axis=tuple(range(2, x.ndim)), keepdims=True))

    def dense(self, name, source):
        p, x = self.parameters[name], self.layers[source]
        self._put(name, jnp.einsum("nc,kc->nk", x.reshape(len(x), -1), p["weight"]) + p["bias"])

    def double(self, name, source):
        """Transposed convolution, 2 x 2, stride 2: each position becomes a block of its own."""
        p, x = self.parameters[name], self.layers[source]
        n, _, height, width = x.shape
        blocks = jnp.einsum("nchw,ckij->nkhiwj", x, p["weight"])
        self._put(name, blocks.reshape(n, -1, 2 * height, 2 * width) + self._column(name, "bias", x))

    def dropout(self, name, source):
        """Nothing, outside training."""
        self._put(name, self.layers[source])

    def double_conv(self, name, source):
        for i in (1, 2):
            self.conv(f"{name}_conv{i}", source, padding=1)
            source = f"{name}_relu{i}"
            self.relu(source, f"{name}_conv{i}")

    def _column(self, layer, name, x):
        """A parameter (C,) shaped to broadcast against x (N, C, *space)."""
        return self.parameters[layer][name].reshape(-1, *(1,) * (x.ndim - 2))
