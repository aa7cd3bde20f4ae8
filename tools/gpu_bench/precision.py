"""The precisions of minicam, PyTorch's counterparts, and how PyTorch is told."""

from typing import Any, NamedTuple


class Precision(NamedTuple):
    """torch: the counterpart's name; rate: of which products the floor's rate is a multiple, with the factor;
    bytes: of a number in a feature map; bound: of the relative error of maps, above which a note is made."""

    torch: str
    rates: tuple[tuple[str, float], ...]
    bytes: int
    bound: float


PRECISIONS = {
    "exact": Precision("fp32", (("fp32", 1.0),), 4, 5e-3),
    "fast": Precision("fp32", (("fp32", 1.0), ("tf32", 1 / 3)), 4, 5e-3),
    "tf32": Precision("tf32", (("tf32", 1.0),), 4, 5e-2),
    "fp16": Precision("fp16", (("fp16", 1.0),), 2, 1e-1),
}
"""minicam's precision -> what it is compared with. A float32 class of error can be had by float32 products, or by three
products in TF32: the faster of the two is the floor of "fast". The bounds are those of whole maps, in which ReLUs of
layers before may have fallen on the other side; a wrong kernel is off by far more."""


def minicams(theirs: str) -> str:
    """minicam's precision whose floor and bound are those of PyTorch's."""
    return {"fp32": "fast", "default": "tf32"}.get(theirs, theirs)


def judged(error: float, precision: str) -> str:
    """What there is to say about the relative error of maps in one of minicam's precisions."""
    bound = PRECISIONS[precision].bound
    return "" if error <= bound else f"NOT COMPARABLE: its error is beyond {bound:g}"


def set_torch(torch: Any, precision: str) -> str:
    """Tell PyTorch: TF32 on for "tf32", off for "fp32" and "fp16"; "default": as it comes. Returns its settings."""
    matmul, conv = {"tf32": (True, True), "default": (False, True)}.get(precision, (False, False))
    backends = torch.backends
    if hasattr(backends.cudnn, "allow_tf32"):  # keeps the newer settings in step, which the reverse does not
        backends.cuda.matmul.allow_tf32, backends.cudnn.allow_tf32 = matmul, conv
    else:
        backends.cuda.matmul.fp32_precision = "tf32" if matmul else "ieee"
        backends.cudnn.conv.fp32_precision = "tf32" if conv else "ieee"
    backends.cudnn.benchmark = precision != "default"
    return settings(torch, precision)


def settings(torch: Any, precision: str) -> str:
    """What PyTorch is set to now, for a row."""
    backends = torch.backends
    if hasattr(backends.cudnn, "allow_tf32"):
        matmul, conv = backends.cuda.matmul.allow_tf32, backends.cudnn.allow_tf32
    else:
        matmul, conv = (module.fp32_precision == "tf32" for module in (backends.cuda.matmul, backends.cudnn.conv))
    numbers = "float16 weights and activations, softmax in float32" if precision == "fp16" else "float32"
    return (
        f"torch: {numbers}; TF32 in products {_on(matmul)}, in convolutions {_on(conv)}; "
        f"cudnn.benchmark {_on(backends.cudnn.benchmark)}"
    )


def _on(value: bool) -> str:
    return "on" if value else "off"
