"""Run ONNX's own tests, which come with the onnx package, against minicam, and write docs/conformance.md.

    python tools/conformance.py [--check]

Which cases are applicable is decided here, before anything is run and without asking minicam: by the kind of op, by the
types and sizes of the tensors, and by whether a network is in training. All others have to pass.
"""

import argparse
import re
import sys
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx.backend.test.case.node import collect_testcases
from onnx.backend.test.runner import Runner

from minicam.conversion.onnx.backend import MinicamBackend
from minicam.errors import MinicamError

DOCUMENT = Path(__file__).parent.parent / "docs" / "conformance.md"
DATA = Path(onnx.__file__).parent / "backend" / "test" / "data"
FOLDERS = ("simple", "pytorch-converted", "pytorch-operator")
WHOLE = "whole networks"

NEEDED = {
    *("Conv", "ConvTranspose", "Gemm", "MatMul", "Resize", "Upsample", "DepthToSpace", "SpaceToDepth"),
    *("BatchNormalization", "InstanceNormalization", "GroupNormalization", "LayerNormalization", "RMSNormalization"),
    *("LpNormalization", "MeanVarianceNormalization", "LRN"),
    *("MaxPool", "AveragePool", "LpPool", "GlobalMaxPool", "GlobalAveragePool"),
    *("Relu", "LeakyRelu", "PRelu", "Elu", "Celu", "Selu", "ThresholdedRelu", "Shrink", "Gelu", "Clip"),
    *("Sigmoid", "HardSigmoid", "HardSwish", "Swish", "Mish", "Softplus", "Softsign", "Tanh", "Softmax", "LogSoftmax"),
    *("Erf", "Exp", "Log", "Sqrt", "Abs", "Neg", "Reciprocal", "Pow", "Sin", "Cos", "Sign"),
    *("Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Where"),
    *("Add", "Sub", "Mul", "Div", "Sum", "Mean", "Max", "Min", "Identity", "Dropout", "Cast", "CastLike"),
    *("Concat", "Split", "Slice", "Pad", "Transpose", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Expand", "Tile"),
    *("Gather", "ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1", "ReduceL2"),
    *("ReduceLogSum", "ReduceLogSumExp", "ReduceSumSquare"),
}
"""What a network of convolutions, pooling, normalisation, activations and fully connected layers is made of."""

NOT_NEEDED = {
    "piecewise constant, so that it has no gradient": "Ceil Floor Round Hardmax ArgMax ArgMin Mod Binarizer",
    "truth values": "And Or Not Xor Equal IsInf IsNaN",
    "bits": "BitShift BitwiseAnd BitwiseNot BitwiseOr BitwiseXor BitCast",
    "shapes and constants: the converter works them out beforehand, and no layer results": (
        "Constant ConstantOfShape Range EyeLike Shape Size OneHot HannWindow HammingWindow BlackmanWindow "
        "MelWeightMatrix"
    ),
    "quantised numbers": (
        "QuantizeLinear DequantizeLinear DynamicQuantizeLinear QLinearConv QLinearMatMul ConvInteger MatMulInteger"
    ),
    "recurrent, or a scan along a sequence": (
        "LSTM GRU RNN CumSum CumProd ReverseSequence CausalConvWithState LinearAttention TensorScatter"
    ),
    "control flow": "If Loop Scan",
    "sequences, optional values, dictionaries": (
        "SequenceMap SequenceInsert SplitToSequence OptionalHasElement OptionalGetElement SequenceConstruct "
        "SequenceEmpty"
    ),
    "text": "StringConcat StringSplit StringNormalizer RegexFullMatch TfIdfVectorizer LabelEncoder",
    "random": "Bernoulli",
    "losses, optimisers, gradients: training": (
        "SoftmaxCrossEntropyLoss NegativeLogLikelihoodLoss Adam Adagrad Momentum Gradient"
    ),
    "shapes or places that depend on the values": (
        "NonZero Unique Compress TopK NonMaxSuppression GatherElements GatherND Scatter ScatterElements ScatterND "
        "MaxUnpool"
    ),
    "attention and its relatives": "Attention FlexAttention RotaryEmbedding SwiGLU",
    "sampling at computed places": "GridSample AffineGrid RoiAlign DeformConv Col2Im CenterCropPad",
    "signals and linear algebra": "DFT STFT Det Einsum Trilu",
    "trigonometric and hyperbolic functions, which no layer has": "Acos Acosh Asin Asinh Atan Atanh Cosh Sinh Tan",
    "decision trees and other classical learning": "TreeEnsemble ArrayFeatureExtractor",
    "reads pictures": "ImageDecoder",
}
REASONS = {op: reason for reason, ops in NOT_NEEDED.items() for op in ops.split()}
FLOATING = ("float16", "float32", "float64", "bfloat16")

INTRODUCTION = """# Conformance to ONNX

The tests that come with onnx {version}, run against minicam by `tools/conformance.py`, which wrote this page:
**{passed} passed of {applicable} applicable ones**, {total} in all. Each compares outputs with expected ones, by the
tolerances of the test itself.

A case is applicable if its op is one that networks of convolutions, pooling, normalisation, activations and fully
connected layers are made of, its data is floating point, finite and not empty, and nothing is being trained. The lists
are in the script; they do not ask what minicam can do.

minicam's layers treat every sample alone. A test whose op acts along the axis of the samples runs with an axis of
length 1 put in front of every tensor. Weights, axes and shapes that a test hands over as inputs are taken as constants.
Of ops that ONNX defines by others, the definitions are run as well.
"""


@dataclass(frozen=True)
class Case:
    """One test: a model, the sets of inputs and outputs, and the op that it is about."""

    suite: str
    name: str
    op: str
    model: Any
    data: list[tuple[list[Any], list[Any]]]
    rtol: float
    atol: float


@dataclass(frozen=True)
class Outcome:
    """status: "passed", "refused", "wrong" or "not applicable"."""

    case: Case
    status: str
    reason: str = ""


def cases(whole: bool = True) -> Iterator[Case]:
    """All test cases whose data is in the onnx package. whole: whether those of whole networks are among them."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # of onnx's own formulas
        found = collect_testcases(None)
    ops = {case.name: _op(case.model) for case in found}
    for case in found:
        plain = re.sub(r"_expanded(_ver\d+)?$", "", case.name)
        suite = "node" if plain == case.name else "node, by the definition of the op"
        data = [([_array(a) for a in inputs], [_array(a) for a in outputs]) for inputs, outputs in case.data_sets or ()]
        yield Case(suite, case.name, ops.get(plain, _op(case.model)), case.model, data, case.rtol, case.atol)
    for folder in FOLDERS:
        for path in sorted((DATA / folder).glob("*/model.onnx")):
            model = onnx.load(path)
            data = [(_read(d, "input"), _read(d, "output")) for d in sorted(path.parent.glob("test_data_set_*"))]
            yield Case(folder, path.parent.name, _op(model), model, data, 1e-3, 1e-7)
    for path in sorted((DATA / "light").glob("*.onnx")) if whole else ():
        model = onnx.load(path)
        initial = {tensor.name for tensor in model.graph.initializer}
        given = [value for value in model.graph.input if value.name not in initial]
        inputs = [Runner.generate_dummy_data(value, seed=0, name="", random=False) for value in given]
        output = onnx.load_tensor(path.with_name(f"{path.stem}_output_0.pb"))
        yield Case("light", path.stem, WHOLE, model, [(inputs, [_array(output)])], 1e-3, 1e-7)


def _op(model: Any) -> str:
    """The kind of the first node that is no constant."""
    kinds = [node.op_type for node in model.graph.node]
    return next((kind for kind in kinds if kind != "Constant"), kinds[0])


def _read(folder: Path, what: str) -> list[Any]:
    count = len(list(folder.glob(f"{what}_*.pb")))
    try:
        return [_array(onnx.load_tensor(folder / f"{what}_{i}.pb")) for i in range(count)]
    except Exception:  # a sequence, which onnx stores in the same way
        return [None] * count


def _array(value: Any) -> Any:
    return onnx.numpy_helper.to_array(value) if isinstance(value, onnx.TensorProto) else value


def not_applicable(case: Case) -> str | None:
    """Why minicam need not pass a case; None where it has to."""
    if case.op in REASONS:
        return REASONS[case.op]
    if case.op not in NEEDED | {WHOLE}:
        return None  # an op that these lists do not know yet has to pass, or to be put into one of them
    inner = {node.op_type for node in case.model.graph.node} & REASONS.keys()
    inner -= {"Constant", "ConstantOfShape", "Range", "Shape", "Size"}
    if inner:
        return f"other ops in it: {', '.join(sorted(inner))}"
    return next(filter(None, (_type_reason(case, *arrays) for arrays in case.data)), None)


def _type_reason(case: Case, inputs: list[Any], outputs: list[Any]) -> str | None:
    arrays = [*inputs[:1], *outputs]
    if not all(isinstance(array, np.ndarray | np.generic) for array in arrays):
        return "sequences, optional values, dictionaries"
    kinds = [array.dtype.name for array in arrays]
    if _trains(case, inputs):
        return "in training"
    for kind in kinds:
        if kind not in FLOATING:
            return "numbers that are not floating point of 16 bits or more: whole numbers, truth values, 8 bits"
    if any(np.size(array) == 0 for array in (*inputs[:1], *outputs)):
        return "tensors without elements"
    if not all(np.isfinite(np.asarray(array, np.float64)).all() for array in inputs[:1]):
        return "NaN or infinity as input, which minicam refuses"
    modes = [
        a.s for node in case.model.graph.node for a in node.attribute if a.name == "coordinate_transformation_mode"
    ]
    return "a region of interest, as detectors have" if b"tf_crop_and_resize" in modes else None


def _trains(case: Case, inputs: list[Any]) -> bool:
    """Whether the model says that it is being trained."""
    node = case.model.graph.node[0]
    if any(attribute.name == "training_mode" and attribute.i for attribute in node.attribute):
        return True
    return node.op_type == "Dropout" and len(inputs) > 2 and bool(inputs[2])


def outcome(case: Case) -> Outcome:
    """What becomes of a case."""
    reason = not_applicable(case)
    if reason:
        return Outcome(case, "not applicable", reason)
    try:
        for inputs, outputs in case.data:
            with np.errstate(all="ignore"):  # the tests take logarithms of 0
                found = MinicamBackend.run_model(case.model, inputs)
            difference = _difference(case, found, outputs)
            if difference:
                return Outcome(case, "wrong", difference)
    except MinicamError as error:
        return Outcome(case, "refused", str(error).splitlines()[-1].strip())
    return Outcome(case, "passed")


def _difference(case: Case, found: Iterable[Any], expected: Iterable[Any]) -> str:
    """What is wrong with the outputs, by the tolerances of the test; "" if nothing is."""
    for ours, theirs in zip(found, expected, strict=True):
        if ours.shape != theirs.shape or ours.dtype != theirs.dtype:
            return f"gives {ours.dtype} {ours.shape}; expected {theirs.dtype} {theirs.shape}"
        a, b = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
        if not np.allclose(a, b, case.rtol, case.atol, equal_nan=True):
            return f"differs by {np.abs(a - b).max():.1e}"
    return ""


def document(outcomes: list[Outcome]) -> str:
    """The text of docs/conformance.md."""
    light = [found for found in outcomes if found.case.op == WHOLE]
    passed = sum(found.status == "passed" for found in light)
    lines = [
        *("## Whole networks", ""),
        f"{passed} passed of {len(light)} (AlexNet, VGG-19, ResNet-50, Inception v1 and v2, DenseNet-121, ShuffleNet, "
        "SqueezeNet, ZFNet). Their weights are all equal, so that they test shapes and wiring more than numbers.",
        "",
    ]
    return op_part([found for found in outcomes if found.case.op != WHOLE]) + "\n".join(lines)


def op_part(outcomes: list[Outcome]) -> str:
    """The page without the whole networks."""
    total, by_op = Counter(found.status for found in outcomes), defaultdict(Counter)
    by_suite, reasons = defaultdict(Counter), defaultdict(Counter)
    for found in outcomes:
        by_op[found.case.op][found.status] += 1
        by_suite[found.case.suite][found.status] += 1
        if found.status == "not applicable":
            reasons[found.reason][found.case.op] += 1
    rest = [found for found in outcomes if found.status in ("refused", "wrong")]
    lines = [
        INTRODUCTION.format(
            version=onnx.__version__,
            passed=total["passed"],
            applicable=len(outcomes) - total["not applicable"],
            total=len(outcomes),
        ),
        *_table("suite", by_suite),
        "",
        *_table("op", {op: count for op, count in by_op.items() if count["not applicable"] < count.total()}),
        *("", "## Applicable and not passed", ""),
        *([f"- {o.case.op}, `{o.case.name}` ({o.status}): {o.reason}" for o in rest] or ["None."]),
        *("", "## Not applicable", ""),
        *(
            f"- {reason} ({count.total()}): {', '.join(f'{op} {n}' for op, n in sorted(count.items()))}"
            for reason, count in sorted(reasons.items(), key=lambda item: (-item[1].total(), item[0]))
        ),
        *("", ""),
    ]
    return "\n".join(lines)


def _table(head: str, counts: dict[str, Counter]) -> list[str]:
    rows = [f"| {head} | passed | applicable | total |", "|---|---:|---:|---:|"]
    for name, count in sorted(counts.items()):
        applicable = count.total() - count["not applicable"]
        rows.append(f"| {name} | {count['passed']} | {applicable} | {count.total()} |")
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare with the document instead of writing it")
    check = parser.parse_args().check
    outcomes = [outcome(case) for case in cases()]
    text = document(outcomes)
    if check:
        same = DOCUMENT.read_text() == text
        print("as published" if same else f"{DOCUMENT} is out of date: run tools/conformance.py")
        return 0 if same else 1
    DOCUMENT.write_text(text)
    counts = Counter(o.status for o in outcomes)
    print(f"{DOCUMENT}: {dict(counts)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
