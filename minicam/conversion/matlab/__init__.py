"""MATLAB's networks: .mat files, exported packages, and the files of tools/export_matlab.m."""

from pathlib import Path

from minicam.conversion.matlab.exported import read_exported
from minicam.conversion.matlab.mat import read_mat
from minicam.conversion.matlab.package import read_package
from minicam.conversion.reading import Converted, Options

__all__ = ["read"]


def read(path: Path, options: Options) -> Converted:
    """The network in a .mat file, in a folder or file of exportNetworkToTensorFlow, or in a file of export_matlab.m."""
    if path.is_dir() or path.name in ("model.py", "weights.h5"):
        return read_package(path, options)
    with path.open("rb") as file:
        start = file.read(8)
    return read_exported(path, options) if start == b"\x89HDF\r\n\x1a\n" else read_mat(path, options)
