"""Networks that are useful without training, for the examples: random layers, and a last layer in closed form.

A network whose layers were never trained still turns its input into many different features. The last fully connected
layer is then fitted to them by ridge regression, which takes seconds. That is enough for simple tasks, and for looking
at maps whose right answer is known; it does not replace a trained network.
"""

import numpy as np

import minicam as mc
from minicam.ops import Dense
from minicam.zoo import initial_parameters

CHUNK = 250
RIDGE = 1e-4  # relative to the mean square of a feature


def fitted(graph: mc.Graph, inputs: np.ndarray, wanted: np.ndarray, classes=(), seed: int = 0) -> mc.Network:
    """The graph with random parameters, and with a last Dense layer that answers `wanted` (N, units) to `inputs`.

    With f[n,k] the mean over all positions of channel k of what that layer is given for sample n, its weights are those
    that minimise sum over n of |wanted[n] - U f[n]|^2 + ridge |U|^2. There is one weight per channel, alike at every
    position, and no bias, so that the answer is the sum of what the positions contribute: the signed Grad-CAM map.
    """
    parameters = initial_parameters(graph, seed)
    layer = next(node for node in reversed(graph.nodes) if isinstance(node.op, Dense))
    features = outputs(mc.Network(graph, parameters), layer.inputs[0], inputs)
    positions = features[0, 0].size
    means = features.reshape(*features.shape[:2], -1).mean(axis=2, dtype=np.float64)
    gram = means.T @ means
    ridge = RIDGE * np.trace(gram) / len(gram)
    weights = np.linalg.solve(gram + ridge * np.eye(len(gram)), means.T @ wanted).T
    parameters[layer.name]["weight"] = np.repeat(weights / positions, positions, axis=1).astype(np.float32)
    return mc.Network(graph, parameters, classes)


def outputs(net: mc.Network, layer: str, inputs: np.ndarray) -> np.ndarray:
    """What a layer gives for inputs (N, C, *space), computed in parts to save memory."""
    parts = [inputs[start : start + CHUNK] for start in range(0, len(inputs), CHUNK)]
    return np.concatenate([net.forward(part, keep=[layer])[layer] for part in parts])


def logits(count: int, right: np.ndarray) -> np.ndarray:
    """What a classifier's last layer is fitted to, (N, count): the right class 5 above the others, with mean 0."""
    return 5 * (np.eye(count)[right] - 1 / count)


def share(values: np.ndarray, inside: np.ndarray) -> float:
    """The part of a map's mass that lies where `inside` is True; 0 for an empty map."""
    mass = np.maximum(values, 0)
    return float(mass[inside].sum() / mass.sum()) if mass.any() else 0.0
