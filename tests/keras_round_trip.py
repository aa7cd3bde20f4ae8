"""A Keras model, channels last, saved as .keras and as ONNX, and its Grad-CAM by autograd. With KERAS_BACKEND=torch

    python keras_round_trip.py FOLDER

writes m.keras and m.onnx, in float32, and autograd.npz, in float64: the input x, what the layers give, and for each of
`classes` the channel weights and the raw map of its logit at the layer "features". All has channels last.
"""

import sys
from pathlib import Path

import keras
import numpy as np
import torch
from keras import layers

SHAPE, CLASSES, NAMES = (18, 22, 3), (0, 2), ("features", "logits", "softmax")


def build(dtype):
    keras.config.set_floatx(dtype)
    keras.config.set_dtype_policy(dtype)
    image = keras.Input(SHAPE, name="image")
    x = layers.Conv2D(6, 3, strides=2, padding="same", name="conv_1")(image)
    x = short = layers.ReLU(name="relu_1")(layers.BatchNormalization(name="norm_1")(x))
    x = layers.Conv2D(6, 3, padding="same", use_bias=False, name="conv_2")(x)
    x = layers.Add(name="add")([layers.BatchNormalization(name="norm_2")(x), short])
    x = layers.MaxPooling2D(2, name="pool")(layers.ReLU(name="relu_2")(x))
    x = layers.ELU(name="elu")(layers.Conv2D(7, 2, name="conv_3")(x))
    x = layers.ReLU(name="features")(layers.Conv2D(8, 3, padding="same", name="conv_4")(x))
    x = layers.Dense(4, name="logits")(layers.GlobalAveragePooling2D(name="gap")(x))
    return keras.Model(image, layers.Softmax(name="softmax")(x))


def randomise(model):
    """Values of one size throughout, for an input from 0 to 255."""
    random = np.random.default_rng(1)
    for variable in model.weights:
        fans = max(1, np.prod(variable.shape[:-1])) * (100**2 if variable.path == "conv_1/kernel" else 1)
        values = random.normal(0, np.sqrt(2 / fans), variable.shape)
        variable.assign(random.uniform(0.2, 1, variable.shape) if "variance" in variable.path else values)


def explained(model, x):
    """Arrays by name, in the type of the model."""
    every = keras.Model(model.input, [model.get_layer(name).output for name in NAMES])
    found = dict(zip(NAMES, every(torch.tensor(x), training=False), strict=True))
    features = found["features"]
    for c in CLASSES:
        (gradient,) = torch.autograd.grad(found["logits"][0, c], features, retain_graph=True)
        alpha = gradient.mean(dim=(1, 2), keepdim=True)
        found |= {f"alpha{c}": alpha.reshape(-1), f"raw{c}": (alpha * features).sum(dim=-1)[0]}
    return {name: tensor.detach().numpy() for name, tensor in found.items()}


def main(folder):
    model = build("float32")
    randomise(model)
    x = np.random.default_rng(2).integers(0, 256, (1, *SHAPE)).astype(np.float64)
    model(x.astype(np.float32))  # Keras exports only what has been called
    model.save(folder / "m.keras")
    model.export(folder / "m.onnx", format="onnx", verbose=False)
    exact = build("float64")
    exact.set_weights(model.get_weights())
    np.savez(folder / "autograd.npz", x=x, classes=CLASSES, **explained(exact, x))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
