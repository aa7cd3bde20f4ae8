"""Which function translates which kind of node."""

from minicam.conversion.onnx.arithmetic import ARITHMETIC
from minicam.conversion.onnx.call import Translate
from minicam.conversion.onnx.comparisons import COMPARISONS
from minicam.conversion.onnx.elementwise import ELEMENTWISE
from minicam.conversion.onnx.norms import NORMS
from minicam.conversion.onnx.products import PRODUCTS
from minicam.conversion.onnx.rearranging import REARRANGING
from minicam.conversion.onnx.resizing import RESIZING
from minicam.conversion.onnx.shaping import SHAPING
from minicam.conversion.onnx.windows import WINDOWS

TRANSLATIONS: dict[str, Translate] = {
    **WINDOWS,
    **ELEMENTWISE,
    **ARITHMETIC,
    **COMPARISONS,
    **NORMS,
    **PRODUCTS,
    **REARRANGING,
    **SHAPING,
    **RESIZING,
}
