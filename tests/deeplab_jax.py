"""DeepLabv3+ on ResNet-18 in JAX, float64: an independent twin of `minicam.zoo.deeplab`.

Written from the published table of layers, without minicam. Parameters are a dict layer -> parameter -> array with
weight (K, C/groups, height, width), transposed convolutions (C, K/groups, height, width).
"""

import jax
import jax.numpy as jnp
from jax import lax

jax.config.update("jax_enable_x64", True)


def forward(parameters, image, tap=None):
    """image (N, 3, H, W), raw pixel scale -> layer name -> array.

    tap: layer name -> array that is added to the layer; the gradient with respect to a tap of zeros is the gradient
    at that layer.
    """
    net = _Layers(parameters, tap or {})
    net.normalize("data", image)
    net.conv("conv1", "data", stride=2, padding=3)
    net.norm("bn_conv1", "conv1")
    net.relu("conv1_relu", "bn_conv1")
    net.max_pool("pool1", "conv1_relu")

    net.plain_block("2a", "pool1")
    net.plain_block("2b", "res2a_relu")
    net.projected_block("3a", "res2b_relu", stride=2, padding=1)
    net.plain_block("3b", "res3a_relu")
    net.projected_block("4a", "res3b_relu", stride=2, padding=(0, 1))
    net.plain_block("4b", "res4a_relu")
    net.projected_block("5a", "res4b_relu", stride=1, padding=1, second_dilation=2)
    net.plain_block("5b", "res5a_relu", dilation=2)

    for branch, dilation, padding in ((1, 1, 0), (2, 6, 6), (3, 12, 12), (4, 18, 18)):
        net.conv(f"aspp_Conv_{branch}", "res5b_relu", dilation=dilation, padding=padding)
        net.norm(f"aspp_BatchNorm_{branch}", f"aspp_Conv_{branch}")
        net.relu(f"aspp_Relu_{branch}", f"aspp_BatchNorm_{branch}")
    net.concat("catAspp", "aspp_Relu_1", "aspp_Relu_2", "aspp_Relu_3", "aspp_Relu_4")

    net.conv("dec_c1", "catAspp")
    net.norm("dec_bn1", "dec_c1")
    net.relu("dec_relu1", "dec_bn1")
    net.upsample("dec_upsample1", "dec_relu1")
    net.conv("dec_c2", "res2b_relu")
    net.norm("dec_bn2", "dec_c2")
    net.relu("dec_relu2", "dec_bn2")
    net.crop("dec_crop1", "dec_upsample1", "dec_relu2")
    net.concat("dec_cat1", "dec_relu2", "dec_crop1")
    net.conv("dec_c3", "dec_cat1", padding=1)
    net.norm("dec_bn3", "dec_c3")
    net.relu("dec_relu3", "dec_bn3")
    net.conv("dec_c4", "dec_relu3", padding=1)
    net.norm("dec_bn4", "dec_c4")
    net.relu("dec_relu4", "dec_bn4")
    net.conv("scorer", "dec_relu4")
    net.upsample("dec_upsample2", "scorer")
    net.crop("dec_crop2", "dec_upsample2", "data")
    net.softmax("softmax-out", "dec_crop2")
    return net.layers


class _Layers:
    """The layers computed so far; each method adds one."""

    def __init__(self, parameters, tap):
        self.parameters = parameters
        self.tap = tap
        self.layers = {}

    def normalize(self, name, image):
        p = self.parameters[name]
        self._put(name, (image - p["mean"][:, None, None]) / p["std"][:, None, None])

    def conv(self, name, source, stride=1, padding=0, dilation=1):
        """padding: one number, or (top and left, bottom and right)."""
        p = self.parameters[name]
        pair = padding if isinstance(padding, tuple) else (padding, padding)
        y = lax.conv_general_dilated(
            self.layers[source], p["weight"], (stride, stride), (pair, pair), rhs_dilation=(dilation, dilation)
        )
        self._put(name, y + p["bias"][:, None, None])

    def norm(self, name, source):
        mean, variance, scale, offset = (
            self.parameters[name][key][:, None, None] for key in ("mean", "variance", "scale", "offset")
        )
        self._put(name, (self.layers[source] - mean) / jnp.sqrt(variance + 1e-5) * scale + offset)

    def relu(self, name, source):
        self._put(name, jax.nn.relu(self.layers[source]))

    def max_pool(self, name, source):
        window, strides, padding = (1, 1, 3, 3), (1, 1, 2, 2), ((0, 0), (0, 0), (1, 1), (1, 1))
        self._put(name, lax.reduce_window(self.layers[source], -jnp.inf, lax.max, window, strides, padding))

    def add(self, name, one, other):
        self._put(name, self.layers[one] + self.layers[other])

    def concat(self, name, *sources):
        self._put(name, jnp.concatenate([self.layers[source] for source in sources], axis=1))

    def upsample(self, name, source):
        """Transposed convolution, 8 x 8, stride 4, cropped by 2, each channel alone.

        As a convolution: the input spread out with 3 zeros between neighbours, the kernel turned by 180 degrees, and
        a full padding of 7 less the 2 that are cropped.
        """
        p = self.parameters[name]
        x = self.layers[source]
        turned = p["weight"][:, :, ::-1, ::-1]
        y = lax.conv_general_dilated(
            x, turned, (1, 1), ((5, 5), (5, 5)), lhs_dilation=(4, 4), feature_group_count=x.shape[1]
        )
        self._put(name, y + p["bias"][:, None, None])

    def crop(self, name, source, reference):
        x = self.layers[source]
        height, width = self.layers[reference].shape[2:]
        top, left = (x.shape[2] - height) // 2, (x.shape[3] - width) // 2
        self._put(name, x[:, :, top : top + height, left : left + width])

    def softmax(self, name, source):
        self._put(name, jax.nn.softmax(self.layers[source], axis=1))

    def plain_block(self, block, source, dilation=1):
        """A residual block with the identity as its shortcut."""
        self._branch2(block, source, stride=1, padding=dilation, dilation=dilation, second_dilation=dilation)
        self.add(f"res{block}", f"bn{block}_branch2b", source)
        self.relu(f"res{block}_relu", f"res{block}")

    def projected_block(self, block, source, stride, padding, second_dilation=1):
        """A residual block with a 1 x 1 convolution as its shortcut."""
        self._branch2(block, source, stride, padding, dilation=1, second_dilation=second_dilation)
        self.conv(f"res{block}_branch1", source, stride=stride)
        self.norm(f"bn{block}_branch1", f"res{block}_branch1")
        self.add(f"res{block}", f"bn{block}_branch2b", f"bn{block}_branch1")
        self.relu(f"res{block}_relu", f"res{block}")

    def _branch2(self, block, source, stride, padding, dilation, second_dilation):
        self.conv(f"res{block}_branch2a", source, stride, padding, dilation)
        self.norm(f"bn{block}_branch2a", f"res{block}_branch2a")
        self.relu(f"res{block}_branch2a_relu", f"bn{block}_branch2a")
        self.conv(f"res{block}_branch2b", f"res{block}_branch2a_relu", 1, second_dilation, second_dilation)
        self.norm(f"bn{block}_branch2b", f"res{block}_branch2b")

    def _put(self, name, value):
        self.layers[name] = value + self.tap[name] if name in self.tap else value
