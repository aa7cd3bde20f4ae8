"""A `cupy` made of NumPy and a C++ compiler, so that what runs on a GPU is tested without one.

`standin.install()` puts it into place. It is at least as strict as CuPy: see `arrays`.
"""
