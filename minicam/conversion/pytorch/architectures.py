"""The networks that weights can be read for: how each is recognised and built, and what its weights do not say."""

from collections.abc import Callable
from dataclasses import dataclass

from minicam.conversion.pytorch import names
from minicam.conversion.pytorch.names import Part, State
from minicam.errors import ConversionError, close_names
from minicam.graph import Graph
from minicam.ops import Shape
from minicam.zoo import CAMVID_CLASSES, CAMVID_COLORS, deeplabv3plus_resnet18, resnet18
from minicam.zoo.smp import RATES, smp_deeplabv3plus_resnet18, smp_unet_resnet18
from minicam.zoo.torchvision import torchvision_googlenet, torchvision_squeezenet1_1

MEAN = tuple(255 * value for value in (0.485, 0.456, 0.406))
STD = tuple(255 * value for value in (0.229, 0.224, 0.225))
"""ImageNet's, of RGB pixels from 0 to 255."""
PROBABILITIES = "probabilities are computed from the scores, with which the PyTorch network ends"
ENCODER = f"{PROBABILITIES}; an activation of its own is not in the weights"


@dataclass(frozen=True)
class Architecture:
    """A network that weights can be read for.

    sign: an entry that no other network here has. first, head: the entries that have the input's channels on axis 1,
    and the classes on axis 0. build: (classes, input shape, state) -> graph. module: (layer, state) -> what holds its
    parameters. space: the input's size. ignored: starts of entries that act in training only. mean, std: of the pixels
    that the published weights were trained on. notes: what the weights do not say.
    """

    sign: str
    first: str
    head: str
    build: Callable[[int, Shape, State], Graph]
    module: Callable[[str, State], str | Part]
    space: tuple[int, ...] = (224, 224)
    ignored: tuple[str, ...] = ()
    mean: tuple[float, ...] = MEAN
    std: tuple[float, ...] = STD
    classes: tuple[str, ...] = ()
    colors: tuple[tuple[int, int, int], ...] = ()
    notes: tuple[str, ...] = (PROBABILITIES,)


def size(state: State, entry: str, axis: int = 0) -> int:
    """The length of an axis of an entry; ConversionError where there is none."""
    if entry not in state or state[entry].ndim <= axis:
        raise ConversionError(f"its state dict has no {entry} with {axis + 1} axes or more, which a size follows from")
    return state[entry].shape[axis]


def _smp_deeplab(classes: int, shape: Shape, state: State) -> Graph:
    channels = size(state, f"{names.PROJECTION}.weight")
    return smp_deeplabv3plus_resnet18(classes, shape, channels, names.is_separable(state))


def _smp_unet(classes: int, shape: Shape, state: State) -> Graph:
    filters = [size(state, f"decoder.blocks.{i}.conv1.0.weight") for i in range(5)]
    return smp_unet_resnet18(classes, shape, filters)


ARCHITECTURES = {
    "resnet18": Architecture(
        sign="layer1.0.conv1.weight",
        first="conv1.weight",
        head="fc.weight",
        build=lambda classes, shape, state: resnet18(classes, shape),
        module=names.resnet18,
    ),
    "squeezenet1_1": Architecture(
        sign="features.6.squeeze.weight",
        first="features.0.weight",
        head="classifier.1.weight",
        build=lambda classes, shape, state: torchvision_squeezenet1_1(classes, shape),
        module=names.squeezenet1_1,
    ),
    "googlenet": Architecture(
        sign="inception3a.branch1.conv.weight",
        first="conv1.conv.weight",
        head="fc.weight",
        build=lambda classes, shape, state: torchvision_googlenet(classes, shape),
        module=names.googlenet,
        ignored=("aux1.", "aux2."),
        mean=(127.5,) * 3,
        std=(127.5,) * 3,
        notes=(
            PROBABILITIES,
            "the auxiliary classifiers, which act in training only, are left out",
            "pixels are scaled to -1 ... 1, as torchvision does for its own weights (transform_input=True)",
        ),
    ),
    "smp_deeplabv3plus_resnet18": Architecture(
        sign="decoder.aspp.0.convs.0.0.weight",
        first="encoder.conv1.weight",
        head="segmentation_head.0.weight",
        build=_smp_deeplab,
        module=names.smp_deeplab,
        space=(512, 512),
        ignored=("classification_head.",),
        notes=(ENCODER, f"the rates {RATES} and the output stride 16, which the weights do not tell, are assumed"),
    ),
    "smp_unet_resnet18": Architecture(
        sign="decoder.blocks.0.conv1.0.weight",
        first="encoder.conv1.weight",
        head="segmentation_head.0.weight",
        build=_smp_unet,
        module=names.smp_unet,
        space=(512, 512),
        ignored=("classification_head.",),
        notes=(ENCODER, "upsampling to the nearest neighbour, which the weights do not tell, is assumed"),
    ),
    "deeplabv3plus_resnet18": Architecture(
        sign="aspp_Conv_1.weight",
        first="conv1.weight",
        head="scorer.weight",
        build=lambda classes, shape, state: deeplabv3plus_resnet18(classes, shape),
        module=names.twin,
        space=(720, 960),
        mean=(105.0, 109.0, 110.0),
        std=(75.0, 75.0, 75.0),
        classes=CAMVID_CLASSES,
        colors=CAMVID_COLORS,
        notes=(PROBABILITIES, "the two upsamplers are the fixed bilinear ones"),
    ),
}
"""Name -> network. The names of `minicam.zoo` without the package that they come from, where that is torchvision."""


def architecture_of(state: State, name: str | None) -> tuple[str, Architecture]:
    """The network of that name, or the one that the entries belong to, with its name. ConversionError if there is
    none, or no one."""
    if name is not None:
        if name not in ARCHITECTURES:
            raise ConversionError(f"there is no architecture {name!r}{close_names(name, ARCHITECTURES)}")
        return name, ARCHITECTURES[name]
    found = [item for item in ARCHITECTURES.items() if item[1].sign in state]
    if len(found) != 1:
        known = ", ".join(ARCHITECTURES)
        start = ", ".join(list(state)[:5]) or "nothing"
        raise ConversionError(
            f"holds {len(state)} weights ({start} ...), which are not those of a network known here: {known}. Weights "
            "alone do not say how layers are connected: export the network as ONNX, torch.onnx.export, instead"
        )
    return found[0]
