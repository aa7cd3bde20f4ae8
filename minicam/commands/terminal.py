"""What the commands share: exit statuses, the network asked for, messages and progress on the standard error."""

import argparse
import sys
from collections.abc import Iterable
from typing import Any

DONE, SOME_FAILED, WRONG_USAGE = 0, 1, 2


def complain(error: object, status: int) -> int:
    print(f"minicam: error: {error}", file=sys.stderr)
    return status


def loaded(options: argparse.Namespace) -> Any:
    """The network of --weights, --device and --precision."""
    import minicam as mc

    return mc.load(options.weights, device=options.device, precision=options.precision)


def progress(items: list, quiet: bool) -> Iterable:
    """A progress bar on a terminal, for more than one image."""
    if len(items) < 2 or quiet:
        return items
    from minicam.images import optional_module

    return optional_module("tqdm").tqdm(items, unit="image", disable=None)
