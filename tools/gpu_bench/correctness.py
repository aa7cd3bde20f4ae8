"""Whether minicam's results on the GPU are right, on images never seen before: errors against float64, against the CPU
at full size, and equal bits from run to run."""

from collections.abc import Iterator

import numpy as np

from gpu_bench.agreement import compared, distance
from gpu_bench.bench import Bench
from gpu_bench.inputs import drawn
from gpu_bench.precision import judged
from gpu_bench.rows import Row, row, tried
from gpu_bench.with_minicam import Minicam, on_gpu
from minicam.bench.task import CLASSES, FEATURE_LAYERS, class_channels
from minicam.network import Network


def correctness(bench: Bench) -> Iterator[Row]:
    """Per precision: activations and gradients at reduced size against the plain definitions in float64, and the job at
    full size against the CPU's float32, twice."""
    image = drawn(bench.small, np.random.default_rng(bench.seed + 1))
    exact = Reference(bench.network, image)
    for precision in bench.precisions:
        yield tried("correctness", "activations", lambda p=precision: activations(bench, exact, p), precision=precision)
        yield tried("correctness", "gradients", lambda p=precision: gradients(bench, exact, p), precision=precision)
        yield tried("correctness", "job", lambda p=precision: job(bench, p), precision=precision)
        bench.machine.free_memory()


class Reference:
    """An image, and what the plain definitions give for it in float64. `seed`: of both classes, for the gradients."""

    def __init__(self, network: Network, image: np.ndarray):
        self.network = Network(network.graph, network.parameters(), network.classes, precision="exact")
        self.layers = [*FEATURE_LAYERS, network.graph.outputs[0]]
        self.x = np.ascontiguousarray(image.transpose(2, 0, 1)[None])
        self.values = self.network.forward(self.x.astype(np.float64), self.layers)
        scores = self.values[self.layers[-1]]
        self.seed = np.zeros((len(CLASSES), *scores.shape[1:]))
        self.seed[np.arange(len(CLASSES)), class_channels(network)] = 1
        self.gradients = self.network.backward(self.values, {self.layers[-1]: self.seed}, FEATURE_LAYERS)


def activations(bench: Bench, exact: Reference, precision: str) -> Row:
    bench.machine.need_cupy()
    found = on_gpu(bench.network, precision).forward(exact.x, exact.layers)
    errors = {name: distance(found[name].get(), exact.values[name]) for name in exact.layers}
    return _errors("activations", precision, errors, f"float64, {exact.x.shape[2]} x {exact.x.shape[3]}")


def gradients(bench: Bench, exact: Reference, precision: str) -> Row:
    """From the GPU's own activations."""
    bench.machine.need_cupy()
    network = on_gpu(bench.network, precision)
    values = network.forward(exact.x, exact.layers)
    seeds = {exact.layers[-1]: exact.seed.astype(np.float32)}
    found = network.backward(values, seeds, FEATURE_LAYERS)
    sums = network.channel_sums(values, seeds, FEATURE_LAYERS)
    errors = {name: distance(found[name].get(), exact.gradients[name]) for name in FEATURE_LAYERS}
    errors |= {
        f"sums at {name}": distance(sums[name].get(), exact.gradients[name].sum(axis=(2, 3))) for name in FEATURE_LAYERS
    }
    return _errors("gradients", precision, errors, f"float64, {exact.x.shape[2]} x {exact.x.shape[3]}")


def job(bench: Bench, precision: str) -> Row:
    batches = [bench.inputs.batch(0, 1)]
    contestant = Minicam(bench.machine, bench.network, batches, precision)
    runs = []
    for _ in range(2):
        contestant.job(0)
        runs.append(contestant.answers())
    error, equal = compared(runs[0], [bench.inputs.expected(0, 0)])
    same = all(np.array_equal(getattr(runs[0][0], part), getattr(runs[1][0], part)) for part in ("labels", "maps"))
    bits = "equal bits in two runs" if same else "DIFFERENT BITS IN TWO RUNS"
    note = f"maps against the CPU's, {100 * equal:.3f} % of labels equal; {bits}"
    note = "; ".join(filter(None, (note, judged(error, precision))))
    return row("correctness", "job", precision, 1, error=error, note=note, labels_equal=equal, same_bits=same)


def _errors(name: str, precision: str, errors: dict[str, float], against: str) -> Row:
    worst = max(errors, key=lambda layer: errors[layer])
    note = "; ".join(filter(None, (f"against {against}; the largest, at {worst}", judged(errors[worst], precision))))
    return row("correctness", name, precision, 1, error=errors[worst], note=note, errors=errors)
