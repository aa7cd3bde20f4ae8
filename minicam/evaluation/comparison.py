"""Running a network over labelled frames, and what comes out of it."""

from collections.abc import Iterable

import numpy as np

from minicam.errors import LayerError, MinicamError
from minicam.evaluation.boundaries import boundary_f1
from minicam.evaluation.frames import Frame, check_labels, scored_pixels
from minicam.evaluation.metrics import confusion_matrix
from minicam.evaluation.result import Evaluation
from minicam.explanation.inputs import samples
from minicam.explanation.segmentation import label_layer, labels
from minicam.network import Network
from minicam.resizing import imresize

SIZES = ("network", "frame")


def evaluate(net: Network, frames: Iterable[Frame], ignored: int | None = None, at: str = "network") -> Evaluation:
    """Label the frames as `segment` does and compare with their labels.

    ignored: the label of pixels to leave out; None: the number of classes. Labels beyond the classes, such as 255, are
    left out too. at: the size at which labels are compared. "network": the network's input size, to which the frame's
    labels are resized (nearest: each is repeated where they grow); "frame": the frame's own, to which the network's
    are resized, as `segment` gives them. The same where the network takes any size.

    Raises LayerError for a network that does not label pixels, ImageError for a frame that is wrong or has the wrong
    labels, and MinicamError if there are no frames, or nothing in them to compare.
    """
    if at not in SIZES:
        raise MinicamError(f"at is {at!r}; expected one of {SIZES}")
    output, classes = _label_output(net)
    names, scores = [], []
    confusion, left_out = np.zeros((classes, classes), np.int64), 0
    for frame in frames:
        image, truth = frame.read()
        check_labels(truth, classes, ignored, frame.labels)
        (sample,) = samples(net, image)
        size = sample.space if at == "frame" else sample.x.shape[2:]
        predicted = labels(net, net.forward(sample.x, keep=[output])[output][0], size)
        truth = imresize(truth, size, method="nearest")
        confusion += confusion_matrix(truth, predicted, classes, ignored)
        left_out += int(np.count_nonzero(~scored_pixels(truth, classes, ignored)))
        scores.append(boundary_f1(truth, predicted, classes, ignored))
        names.append(frame.name)
    if not confusion.any():
        raise MinicamError(f"in {len(names)} frames there is no pixel of any class; expected some to compare")
    named = net.classes[:classes]
    named += tuple(f"class {c}" for c in range(len(named), classes))
    return Evaluation(named, tuple(names), confusion, left_out, np.stack(scores), at)


def class_count(net: Network) -> int:
    """How many classes the network tells apart at every pixel. Raises LayerError if it does not label pixels."""
    return _label_output(net)[1]


def _label_output(net: Network) -> tuple[str, int]:
    """The output that labels pixels, and its number of channels. Raises as `class_count` does."""
    output = label_layer(net)
    classes = net.graph.shapes(net.graph.inputs)[output][0] if output else None
    if len(net.input_shape) != 3 or output is None or classes is None:
        raise LayerError(
            f"the output {net.graph.outputs[0]!r} does not label the pixels of an image; expected a network for "
            "segmentation, whose output is (classes, height, width)"
        )
    return output, classes
