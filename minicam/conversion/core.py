"""A conversion from start to end: find the kind, read, check, write."""

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from minicam.conversion.checking import Check, check
from minicam.conversion.kinds import kind_of
from minicam.conversion.reading import Options
from minicam.errors import ConversionError, LayerError, MinicamError, ModelFileError
from minicam.network import Network
from minicam.ops import Shape
from minicam.store import save

log = logging.getLogger("minicam")


@dataclass(frozen=True)
class Conversion:
    """The network, what it was made from, remarks on how it differs from that, and how the check went."""

    network: Network
    source: str
    kind: str
    notes: tuple[str, ...]
    check: Check

    def save(self, out: str | os.PathLike[str], force: bool = False) -> None:
        """Write the network, with the check's input and outputs. ConversionError where OUT exists, unless `force`."""
        refuse_existing(out, force)
        save(self.network, out, source=f"{self.kind}: {Path(self.source).name}", check=self.check.example)


def convert(
    source: str | os.PathLike[str],
    out: str | os.PathLike[str] | None = None,
    *,
    kind: str | None = None,
    force: bool = False,
    check: bool = True,
    architecture: str | None = None,
    input_shape: Shape | None = None,
    classes: Sequence[str] = (),
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> Network:
    """The network in another framework's file; written to `out` as well where that is given.

    kind: of the file; None: found by its content and name. force: whether `out` may be replaced. check: whether to
    compare the result with the framework itself, where that is installed; how it went is logged. architecture: of a
    file that holds weights alone. input_shape: (C, *space), where the file leaves it open or has another one. classes:
    names of the output channels. mean, std: of the input on its raw scale, one number per channel or one for all, where
    the file holds weights alone.

    Nothing that a file holds is executed. Raises ConversionError, naming the file and the reason, for what cannot be
    read, has ops that minicam lacks (all of them are listed), or differs from its source; then nothing is written.
    """
    if out is not None:
        refuse_existing(out, force)
    statistics = (None if numbers is None else tuple(map(float, numbers)) for numbers in (mean, std))
    options = Options(architecture, input_shape, tuple(classes), True, *statistics)
    found = conversion(source, options, kind=kind, checked=check)
    for note in found.notes:
        log.info("%s: %s", source, note)
    log.info("%s: %s", source, found.check)
    if out is not None:
        found.save(out, force)
    return found.network


def conversion(
    source: str | os.PathLike[str], options: Options, *, kind: str | None = None, checked: bool = True
) -> Conversion:
    """The same with all that there is to know about it, and without writing. Errors as for `convert`."""
    found = kind_of(source, kind)
    try:
        converted = found.read(Path(source), options)
        outcome = check(converted if checked else replace(converted, run=None, runner="it was not asked for"))
    except MinicamError as error:
        if isinstance(error, ConversionError | ModelFileError | LayerError):
            raise ConversionError(f"{source}: {error}") from error
        raise
    return Conversion(converted.network, os.fspath(source), found.name, converted.notes, outcome)


def refuse_existing(out: str | os.PathLike[str], force: bool) -> None:
    """ConversionError where a file cannot be written: asked before the work, and again after it."""
    path = Path(out)
    if path.is_dir():
        raise ConversionError(f"{path}: is a folder; expected the path of the file to write")
    if path.exists() and not force:
        raise ConversionError(f"{path}: exists; it is replaced only with force (on the command line --force)")
    if not path.parent.is_dir():
        raise ConversionError(f"{path}: there is no folder {path.parent}; create it first")
