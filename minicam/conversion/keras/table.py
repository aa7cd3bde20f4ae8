"""The layers of Keras that are known, by class name: what each becomes."""

from minicam.conversion.keras.activations import activation_layer, elu, identity, leaky_relu, prelu, relu, softmax
from minicam.conversion.keras.convolutions import (
    average_pool,
    convolution,
    dense,
    depthwise,
    global_pool,
    max_pool,
    separable,
    transposed,
)
from minicam.conversion.keras.layer import Translator
from minicam.conversion.keras.norms import batch_norm, group_norm, layer_norm, normalization, rescaling, response_norm
from minicam.conversion.keras.shaping import (
    concatenate,
    cropping,
    flatten,
    joined,
    permute,
    reshape,
    resizing,
    upsampling,
    zero_padding,
)
from minicam.ops import Average, GlobalAveragePool, GlobalMaxPool, Maximum, Minimum, Multiply, Subtract, Sum

MODELS = frozenset(("Functional", "Sequential", "Model"))
INPUT = "InputLayer"
TRAINING_ONLY = (
    *("Dropout", "SpatialDropout1D", "SpatialDropout2D", "SpatialDropout3D", "AlphaDropout", "ActivityRegularization"),
    *("GaussianDropout", "GaussianNoise", "RandomFlip", "RandomRotation", "RandomZoom", "RandomTranslation"),
    *("RandomContrast", "RandomBrightness"),
)
"""Layers that are the identity once the network is trained."""
LAYERS: dict[str, Translator] = {
    **{f"Conv{rank}D": convolution for rank in (1, 2, 3)},
    **{f"Conv{rank}DTranspose": transposed for rank in (1, 2, 3)},
    **{f"DepthwiseConv{rank}D": depthwise for rank in (1, 2)},
    **{f"SeparableConv{rank}D": separable for rank in (1, 2)},
    **{f"MaxPooling{rank}D": max_pool for rank in (1, 2, 3)},
    **{f"AveragePooling{rank}D": average_pool for rank in (1, 2, 3)},
    **{f"GlobalAveragePooling{rank}D": global_pool(GlobalAveragePool) for rank in (1, 2, 3)},
    **{f"GlobalMaxPooling{rank}D": global_pool(GlobalMaxPool) for rank in (1, 2, 3)},
    **{f"ZeroPadding{rank}D": zero_padding for rank in (1, 2, 3)},
    **{f"Cropping{rank}D": cropping for rank in (1, 2, 3)},
    **{f"UpSampling{rank}D": upsampling for rank in (1, 2, 3)},
    "Dense": dense,
    "BatchNormalization": batch_norm,
    "LayerNormalization": layer_norm,
    "GroupNormalization": group_norm,
    "tf.nn.local_response_normalization": response_norm,
    "Rescaling": rescaling,
    "Normalization": normalization,
    "Activation": activation_layer,
    "ReLU": relu,
    "LeakyReLU": leaky_relu,
    "PReLU": prelu,
    "ELU": elu,
    "Softmax": softmax,
    "Add": joined(Sum),
    "Subtract": joined(Subtract),
    "Multiply": joined(Multiply),
    "Average": joined(Average),
    "Maximum": joined(Maximum),
    "Minimum": joined(Minimum),
    "Concatenate": concatenate,
    "Flatten": flatten,
    "Reshape": reshape,
    "Permute": permute,
    "Resizing": resizing,
    **dict.fromkeys(TRAINING_ONLY, identity),
}
KEEP_ORDER = frozenset((*TRAINING_ONLY, "Activation", "ReLU", "LeakyReLU", "ELU", "Softmax"))
"""Layers that treat all elements of a vector alike, so that these may be in any order."""
