"""Values and gradients against PyTorch on the samples of its own OpInfo database; see opinfo.py."""

import warnings

import pytest
from references import require_torch

require_torch()
pytest.importorskip("expecttest")  # PyTorch's test utilities need it

from opinfo import EXCEPTIONS, LIMIT, Outcome, outcomes  # noqa: E402
from opinfo_adapters import ADAPTERS  # noqa: E402

MAX_POOLS = {f"nn.functional.max_pool{rank}d" for rank in (1, 2, 3)}
"""Nearly three quarters of the samples."""


def run(names: set[str]) -> dict[str, Outcome]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch's, while it makes its samples
        return outcomes({name: ADAPTERS[name] for name in names})


def check(found: dict[str, Outcome], compared: int) -> None:
    """Every operator has samples and agrees on them. `compared` is their number with PyTorch 2.13: no fewer."""
    assert not [name for name, outcome in found.items() if not outcome.compared]
    wrong = {name: o.worst for name, o in found.items() if not o.worst < EXCEPTIONS.get(name, (LIMIT, ""))[0]}
    assert not wrong
    assert sum(outcome.compared for outcome in found.values()) >= compared


def test_values_and_gradients_equal_torch_on_its_own_samples():
    found = run(ADAPTERS.keys() - MAX_POOLS)
    assert found.keys() == ADAPTERS.keys() - MAX_POOLS
    check(found, 1_180)


@pytest.mark.slow
def test_maximum_pooling_equals_torch_on_its_own_samples():
    check(run(MAX_POOLS), 2_880)


def test_a_wrong_gradient_is_noticed(monkeypatch):
    """The comparison itself can fail."""
    from minicam.ops import Softsign

    monkeypatch.setattr(Softsign, "backward", lambda op, dy, y, x: (dy / (1 + abs(x)),))
    with pytest.raises(AssertionError, match="softsign"):
        check(run({"nn.functional.softsign"}), 0)
