"""Models that Keras saved: .keras and .h5 files."""

from minicam.conversion.keras.reader import read

__all__ = ["read"]
