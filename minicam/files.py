"""Files that appear whole or not at all."""

import contextlib
import os
import uuid
from collections.abc import Iterator

from minicam.errors import MinicamError


@contextlib.contextmanager
def replaced_when_written(path: str | os.PathLike[str], error: type[MinicamError] = MinicamError) -> Iterator[str]:
    """A temporary name beside `path`, which takes its place when the block ends well, and is removed when not.

    Operating-system errors, such as a missing folder, are raised as `error` naming the path.
    """
    path = os.fspath(path)
    temporary = f"{path}.{uuid.uuid4().hex[:8]}.partial"
    try:
        yield temporary
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as problem:
        raise error(f"{path}: cannot be written: {problem.strerror or problem}") from problem
    finally:
        with contextlib.suppress(OSError):
            os.remove(temporary)
