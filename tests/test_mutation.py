"""The mutation script: the op cases notice whatever is spoiled in a backward pass."""

import mutate
import pytest

from minicam.ops import OPS


@pytest.fixture(scope="module")
def mutants():
    return mutate.all_mutants()


def test_the_backward_of_every_op_has_mutants(mutants):
    assert len(mutants) >= 300
    spoiled = {mutant.function.__qualname__ for mutant in mutants}
    assert spoiled >= {op.backward.__qualname__ for op in OPS.values()}
    assert spoiled >= {"fold", "unfold", "correlate", "correlate_adjoint", "correlate_weight", "Window.taps"}


def test_every_excuse_belongs_to_a_mutant(mutants):
    assert mutate.EQUIVALENT.keys() <= {mutant.key for mutant in mutants}


def test_a_mutant_is_active_only_within_its_context(mutants):
    original = mutants[0].function.__code__
    with mutants[0].active():
        assert mutants[0].function.__code__ is mutants[0].code
    assert mutants[0].function.__code__ is original


@pytest.mark.slow
def test_every_mutant_is_killed(capsys):
    status = mutate.main([])
    survivors = [line for line in capsys.readouterr().out.splitlines() if line.startswith("SURVIVED")]
    assert (status, survivors) == (0, [])
