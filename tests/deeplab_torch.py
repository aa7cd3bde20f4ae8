"""DeepLabv3+ on ResNet-18 in PyTorch: a second independent twin of `minicam.zoo.deeplab`.

Written from the published table of layers, without minicam. PyTorch is optional: tests that need it call
`require_torch` first.
"""

from references import require_torch


def forward(parameters, image):
    """image (N, 3, H, W), raw pixel scale -> layer name -> tensor, of the type of the image and the parameters.

    parameters: layer -> parameter -> array or tensor. `torch.autograd.grad` of any layer with respect to any earlier
    one works if `image` requires a gradient.
    """
    torch = require_torch()
    functional = torch.nn.functional
    p = {layer: {name: torch.as_tensor(a) for name, a in arrays.items()} for layer, arrays in parameters.items()}
    layers = {}

    def conv(name, x, stride=1, low=0, high=0, dilation=1):
        padded = functional.pad(x, (low, high, low, high))  # left, right, top, bottom
        layers[name] = functional.conv2d(padded, p[name]["weight"], p[name]["bias"], stride, 0, dilation)
        return layers[name]

    def norm(name, x):
        q = p[name]
        layers[name] = functional.batch_norm(x, q["mean"], q["variance"], q["scale"], q["offset"], eps=1e-5)
        return layers[name]

    def relu(name, x):
        layers[name] = torch.relu(x)
        return layers[name]

    def upsample(name, x):
        layers[name] = functional.conv_transpose2d(
            x, p[name]["weight"], p[name]["bias"], stride=4, padding=2, groups=x.shape[1]
        )
        return layers[name]

    def crop(name, x, like):
        top, left = ((x.shape[axis] - like.shape[axis]) // 2 for axis in (2, 3))
        layers[name] = x.narrow(2, top, like.shape[2]).narrow(3, left, like.shape[3])
        return layers[name]

    def block(name, x, stride=1, first=(1, 1, 1), second_dilation=1, projected=False):
        """A residual block; first: low padding, high padding and dilation of its first convolution."""
        low, high, dilation = first
        y = conv(f"res{name}_branch2a", x, stride, low, high, dilation)
        y = relu(f"res{name}_branch2a_relu", norm(f"bn{name}_branch2a", y))
        y = conv(f"res{name}_branch2b", y, 1, second_dilation, second_dilation, second_dilation)
        y = norm(f"bn{name}_branch2b", y)
        shortcut = norm(f"bn{name}_branch1", conv(f"res{name}_branch1", x, stride)) if projected else x
        layers[f"res{name}"] = y + shortcut
        return relu(f"res{name}_relu", layers[f"res{name}"])

    mean, std = (p["data"][key].reshape(1, 3, 1, 1) for key in ("mean", "std"))
    data = layers["data"] = (image - mean) / std
    x = relu("conv1_relu", norm("bn_conv1", conv("conv1", data, 2, 3, 3)))
    x = layers["pool1"] = functional.max_pool2d(x, 3, 2, 1)
    skip = block("2b", block("2a", x))
    x = block("3b", block("3a", skip, stride=2, projected=True))
    x = block("4b", block("4a", x, stride=2, first=(0, 1, 1), projected=True))
    x = block("5a", x, second_dilation=2, projected=True)
    x = block("5b", x, first=(2, 2, 2), second_dilation=2)

    pyramid = [conv("aspp_Conv_1", x)]
    pyramid += [conv(f"aspp_Conv_{i}", x, 1, rate, rate, rate) for i, rate in ((2, 6), (3, 12), (4, 18))]
    pyramid = [relu(f"aspp_Relu_{i}", norm(f"aspp_BatchNorm_{i}", y)) for i, y in enumerate(pyramid, start=1)]
    x = layers["catAspp"] = torch.cat(pyramid, dim=1)

    x = upsample("dec_upsample1", relu("dec_relu1", norm("dec_bn1", conv("dec_c1", x))))
    low_level = relu("dec_relu2", norm("dec_bn2", conv("dec_c2", skip)))
    x = layers["dec_cat1"] = torch.cat([low_level, crop("dec_crop1", x, low_level)], dim=1)
    x = relu("dec_relu3", norm("dec_bn3", conv("dec_c3", x, 1, 1, 1)))
    x = relu("dec_relu4", norm("dec_bn4", conv("dec_c4", x, 1, 1, 1)))
    x = crop("dec_crop2", upsample("dec_upsample2", conv("scorer", x)), data)
    layers["softmax-out"] = torch.softmax(x, dim=1)
    return layers
