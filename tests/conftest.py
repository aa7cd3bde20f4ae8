"""Fixtures for every test."""

from backends import gpu, xp

__all__ = ["gpu", "xp"]
