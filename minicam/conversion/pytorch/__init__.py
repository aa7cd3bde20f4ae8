"""Weights that PyTorch trained: .pt, .pth and .safetensors files of networks that are known here."""

from minicam.conversion.pytorch.reader import read, read_safetensors

__all__ = ["read", "read_safetensors"]
