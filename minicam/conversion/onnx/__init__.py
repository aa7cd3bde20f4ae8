"""ONNX models: files (.onnx) of opset 7 or later whose ops minicam has."""

from pathlib import Path

from minicam.conversion.onnx.model import load
from minicam.conversion.onnx.running import runner_of
from minicam.conversion.onnx.walk import translate
from minicam.conversion.reading import Converted, Options
from minicam.errors import ConversionError


def read(path: Path, options: Options) -> Converted:
    """The network of an ONNX file, and ONNX Runtime, or else onnx's own reference, to compare it with.

    Raises ConversionError for a file that is damaged or reaches outside its folder, and, with the list of all of them,
    for nodes that cannot be translated.
    """
    model = load(path)
    try:
        found = translate(model, options)
    except (ArithmeticError, LookupError, TypeError, ValueError) as error:  # tensors that contradict themselves
        raise ConversionError(f"is not a valid ONNX model ({type(error).__name__}: {error})") from error
    run, runner = runner_of(model, found)
    return Converted(found.network, found.notes, run, runner)
