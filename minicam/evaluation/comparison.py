"""Running a network over labelled frames, and what comes out of it."""

from collections.abc import Iterable
from contextlib import closing

import numpy as np

from minicam.errors import LayerError, MinicamError
from minicam.evaluation.boundaries import boundary_f1
from minicam.evaluation.frames import Frame, check_labels, scored_pixels
from minicam.evaluation.metrics import confusion_matrix
from minicam.evaluation.result import Evaluation
from minicam.explanation.inputs import Sample, single_sample
from minicam.explanation.segmentation import Segmenting, label_layer
from minicam.network import Network
from minicam.resizing import imresize
from minicam.streaming import outcomes

SIZES = ("network", "frame")


def evaluate(
    net: Network,
    frames: Iterable[Frame],
    ignored: int | None = None,
    at: str = "network",
    batch: int | None = None,
) -> Evaluation:
    """Label the frames as `segment` does and compare with their labels.

    ignored: the label of pixels to leave out; None: the number of classes. Labels beyond the classes, such as 255, are
    left out too. at: the size at which labels are compared. "network": the network's input size, to which the frame's
    labels are resized (nearest: each is repeated where they grow); "frame": the frame's own, to which the network's
    are resized, as `segment` gives them. The same where the network takes any size. batch: how many frames are computed
    together; None: as many as suits the device. The next ones are read meanwhile, see `streaming.outcomes`.

    Raises LayerError for a network that does not label pixels, ImageError for a frame that is wrong or has the wrong
    labels, and MinicamError if there are no frames, or nothing in them to compare.
    """
    if at not in SIZES:
        raise MinicamError(f"at is {at!r}; expected one of {SIZES}")
    classes = class_count(net)
    names, scores, devices = [], [], []
    confusion, left_out = np.zeros((classes, classes), np.int64), 0

    def read(net: Network, frame: Frame) -> Sample:
        image, truth = frame.read()
        check_labels(truth, classes, ignored, frame.labels)
        sample = single_sample(net, image)
        size = sample.space if at == "frame" else sample.x.shape[2:]
        return Sample(sample.x, size, (frame.name, imresize(truth, size, method="nearest")))

    with closing(outcomes(net, frames, Segmenting(net), batch, read)) as found:
        for outcome in found:
            predicted = outcome.result()
            name, truth = outcome.given
            confusion += confusion_matrix(truth, predicted, classes, ignored)
            left_out += int(np.count_nonzero(~scored_pixels(truth, classes, ignored)))
            scores.append(boundary_f1(truth, predicted, classes, ignored))
            names.append(name)
            devices.append(outcome.device)
    if not confusion.any():
        raise MinicamError(f"in {len(names)} frames there is no pixel of any class; expected some to compare")
    named = net.classes[:classes]
    named += tuple(f"class {c}" for c in range(len(named), classes))
    return Evaluation(named, tuple(names), confusion, left_out, np.stack(scores), at, tuple(devices))


def class_count(net: Network) -> int:
    """How many classes the network tells apart at every pixel. Raises LayerError if it does not label pixels."""
    output = label_layer(net)
    classes = net.graph.shapes(net.graph.inputs)[output][0] if output else None
    if len(net.input_shape) != 3 or classes is None:
        raise LayerError(
            f"the output {net.graph.outputs[0]!r} does not label the pixels of an image; expected a network for "
            "segmentation, whose output is (classes, height, width)"
        )
    return classes
