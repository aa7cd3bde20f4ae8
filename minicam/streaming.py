"""Many images: the next ones are read and resized, and on a GPU brought there, while the current ones are computed."""

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, nullcontext
from functools import partial
from typing import Any

import numpy as np

from minicam.errors import ImageError, MinicamError
from minicam.explanation.batches import Batches, Outcome, Work
from minicam.explanation.inputs import Sample, is_batch, single_sample
from minicam.explanation.pipeline import Explaining
from minicam.explanation.result import Explanation
from minicam.explanation.segmentation import Segmenting
from minicam.images import images_in
from minicam.network import CUDA, Network


def segment_all(
    net: Network, images: Any, batch: int | None = None, return_errors: bool = False
) -> Iterator[np.ndarray | MinicamError]:
    """What `segment` gives for each of many images, in their order, as it is computed.

    images: paths, arrays or Pillow images, from any iterable; or a folder, whose images are taken in the order of their
    names. batch: how many of one size are computed together; None: as many as suits the device. While these are
    computed, threads read and resize as many of the next ones, and no more. An image that fails raises its error in
    its place; with return_errors, the MinicamError itself takes that place, and the others go on.

    Raises LayerError if the network labels no positions, MinicamError for a folder without images.
    """
    return _results(outcomes(net, _listed(net, images), Segmenting(net), batch), return_errors)


def explain_all(
    net: Network,
    images: Any,
    targets: Any = None,
    feature_layers: Sequence[str] | None = None,
    reduction_layer: str | None = None,
    batch: int | None = None,
    return_errors: bool = False,
    **options: Any,
) -> Iterator[Explanation | MinicamError]:
    """What `explain` gives for each of many images, in their order, as it is computed.

    images, batch, return_errors: as in `segment_all`; the rest is as in `explain`.
    """
    work = Explaining(net, targets, feature_layers, reduction_layer, **options)
    return _results(outcomes(net, _listed(net, images), work, batch), return_errors)


def outcomes(
    net: Network,
    items: Iterable[Any],
    work: Work,
    batch: int | None = None,
    sample_of: Callable[[Network, Any], Sample] = single_sample,
) -> Generator[Outcome, None, None]:
    """What becomes of each item, in order; an error is the outcome of its item alone. sample_of: reads an item, in
    another thread. Raises MinicamError for a batch that is not a whole number from 1 on."""
    transfers: Any = None
    if CUDA and net.device_name != "cpu":
        from minicam.cuda.transfers import Transfers

        transfers = Transfers()
    return _outcomes(Batches(net, work, batch, transfers), partial(sample_of, net), items, transfers)


def _outcomes(
    batches: Batches, read: Callable[[Any], Sample], items: Iterable[Any], transfers: Any
) -> Generator[Outcome, None, None]:
    threads = min(batches.size, os.cpu_count() or 1)
    with transfers or nullcontext(), closing(ahead(read, items, batches.size, threads)) as samples:
        yield from batches.outcomes(samples)


def ahead(work: Callable[[Any], Any], items: Iterable[Any], depth: int, threads: int = 1) -> Generator[Any, None, None]:
    """work(item) for each of the items, in order, or the exception that it raised; done by threads for the next `depth`
    items while the caller is busy with one. Closing the iterator ends the threads."""
    waiting: deque[Future[Any]] = deque()
    pool = ThreadPoolExecutor(threads, "minicam-ahead")
    try:
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) > depth:
                yield _result(waiting.popleft())
        while waiting:
            yield _result(waiting.popleft())
    finally:
        pool.shutdown(cancel_futures=True)


def _result(future: Future[Any]) -> Any:
    error = future.exception()
    return future.result() if error is None else error


def _results(found: Generator[Outcome, None, None], return_errors: bool) -> Iterator[Any]:
    with closing(found):
        for outcome in found:
            if return_errors and isinstance(outcome.error, MinicamError):
                yield outcome.error
            else:
                yield outcome.result()


def _listed(net: Network, images: Any) -> Iterable[Any]:
    if isinstance(images, str | os.PathLike):
        return images_in(images)
    if hasattr(images, "ndim") and not is_batch(net, images):
        raise ImageError(f"an array of shape {images.shape} is one input; expected several, or a batch of them")
    return images
