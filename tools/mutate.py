"""Mutation test of the backward passes: spoil one place of one formula at a time, and see that the op cases notice.

    python tools/mutate.py [--op Conv] [--list]

The places are the methods `backward` and `backward_params` of every op, and every function of minicam.ops and
minicam.windows that they call, however indirectly; a new op is covered as soon as it is registered and has a case
(tests/cases.py). In each place one sign is flipped, one factor or term is dropped, one comparison, index or truth value
is changed (`spoiled`). A mutant is killed if a case then raises an error, or deviates from JAX by more than the tests
allow. The exit status is 1 if any survives. Mutants that compute the same in another way are in `EQUIVALENT`, with the
reason.
"""

import argparse
import ast
import copy
import inspect
import sys
import textwrap
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path += [str(ROOT), str(ROOT / "tests")]  # last, so that an installed minicam comes first

import numpy as np  # noqa: E402
from cases import CASES, Case  # noqa: E402
from references import TOLERANCE, by_jax, by_op, worst_error  # noqa: E402

from minicam.ops import OPS, Op  # noqa: E402
from minicam.windows import Window  # noqa: E402

MATHEMATICS = ("minicam.ops", "minicam.windows")
"""The modules whose functions are spoiled."""


def normal(source: str) -> str:
    """The source as ast.unparse writes it, which depends on Python's version."""
    return ast.unparse(ast.parse(source))


PADDED = "xp.pad(x, ((0, 0), (0, 0), *_pairs(window)), constant_values=fill)"
ANY = "any(any(pair) for pair in window.padding)"
ZEROS = "xp.broadcast_to(xp.zeros((), dy.dtype), (len(dy), *x.shape[1:]))"
NO_X, NO_REFERENCE, NO_LABELS = "no_gradient(dy, x)", "no_gradient(dy, reference)", "no_gradient(dy, labels)"
NO_A, NO_B, NO_CONDITION = "no_gradient(dy, a)", "no_gradient(dy, b)", "no_gradient(dy, condition)"
SIDES = "sum_stretched(da, a.shape), sum_stretched(db, b.shape)"
BEFORE = "xp.concatenate([xp.ones_like(rows[..., :1]), rows[..., :-1].cumprod(axis=-1)], axis=-1)"
KEYS = "np.where(t <= 1, ((a + 2) * t - (a + 3)) * t * t + 1, ((t - 5) * t + 8) * a * t - 4 * a)"
SURPLUS = "abs(scale * size_in - size_out)"
EQUIVALENT = {
    (place, normal(before), normal(after)): reason
    for place, before, after, reason in (
        ("unfold", f"{PADDED} if _pads(window) else x", PADDED, "the condition only saves a copy where nothing pads"),
        ("_pads", f"return {ANY}", f"return -{ANY}", "-True is as true as True"),
        ("_keys", "t <= 1", "t < 1", "at t = 1 both pieces are 0"),
        ("LpPool.backward", "0", "1", "what the padding receives is dropped"),
        ("norm_slope", "1", "2", "0 divided by anything is 0"),
        (
            "_products_before",
            f"return {BEFORE}",
            f"return -{BEFORE}",
            "multiplied by another, it changes the sign twice",
        ),
        ("resizing_matrix", f"{SURPLUS} > WHOLE", f"{SURPLUS} >= WHOLE", "no surplus is the limit itself"),
        ("resizing_matrix", "2", "3", "further taps have weight 0"),
        ("resizing_matrix", "1", "2", "further taps have weight 0"),
        ("_keys", f"return {KEYS}", f"return -{KEYS}", "the sum that the weights are divided by changes its sign too"),
        ("no_gradient", f"return {ZEROS}", f"return -{ZEROS}", "-0 equals 0"),
        ("Constant.backward", f"return ({NO_X},)", f"return (-{NO_X},)", "-0 equals 0"),
        ("Sign.backward", f"return ({NO_X},)", f"return (-{NO_X},)", "-0 equals 0"),
        ("Greater.backward", f"return {NO_A}, {NO_B}", f"return -{NO_A}, {NO_B}", "-0 equals 0"),
        ("Greater.backward", f"return {NO_A}, {NO_B}", f"return {NO_A}, -{NO_B}", "-0 equals 0"),
        ("Where.backward", f"return {NO_CONDITION}, {SIDES}", f"return -{NO_CONDITION}, {SIDES}", "-0 equals 0"),
        ("Crop.backward", f"return dx, {NO_REFERENCE}", f"return dx, -{NO_REFERENCE}", "-0 equals 0"),
        ("CrossEntropy.backward", f"return dx, {NO_LABELS}", f"return dx, -{NO_LABELS}", "-0 equals 0"),
    )
}
"""(function, before, after) -> why no result can differ."""


@dataclass(frozen=True)
class Mutant:
    """One change in one function, and the ops that call it."""

    function: FunctionType
    line: int
    before: str
    after: str
    code: CodeType
    ops: tuple[str, ...]

    @property
    def key(self) -> tuple[str, str, str]:
        return self.function.__qualname__, self.before, self.after

    @contextmanager
    def active(self) -> Iterator[None]:
        """The function computes the spoiled formula, under whatever name it was imported."""
        original = self.function.__code__
        self.function.__code__ = self.code
        try:
            yield
        finally:
            self.function.__code__ = original


# Which functions


def called(function: FunctionType, op: type[Op]) -> Iterator[FunctionType]:
    """Our functions that occur in the function: by their name, or as a method of the op or of a window."""
    for node in ast.walk(definition(function)):
        if isinstance(node, ast.Name):
            found = function.__globals__.get(node.id)
        elif isinstance(node, ast.Attribute):
            found = getattr(op, node.attr, getattr(Window, node.attr, None))
        else:
            continue
        if inspect.isfunction(found) and found.__module__.startswith(MATHEMATICS):
            yield found


def behind_backward(op: type[Op]) -> list[FunctionType]:
    """`backward`, `backward_params` and all that they call."""
    functions = [op.backward] if op.backward_params is Op.backward_params else [op.backward, op.backward_params]
    for function in functions:  # which grows meanwhile
        functions += [found for found in dict.fromkeys(called(function, op)) if found not in functions]
    return functions


def definition(function: FunctionType) -> ast.FunctionDef:
    tree = ast.parse(textwrap.dedent(inspect.getsource(function))).body[0]
    assert isinstance(tree, ast.FunctionDef)
    return tree


# Which changes

SWAPS: dict[type[ast.AST], tuple[type[ast.AST], ...]] = {
    ast.Add: (ast.Sub,),
    ast.Sub: (ast.Add,),
    ast.Mult: (ast.Div,),
    ast.Div: (ast.Mult,),
    ast.Gt: (ast.Lt, ast.GtE),
    ast.GtE: (ast.Lt, ast.Gt),
    ast.Lt: (ast.Gt, ast.LtE),
    ast.LtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.And: (ast.Or,),
    ast.Or: (ast.And,),
}


def spoiled(node: ast.AST) -> Iterator[ast.AST]:
    """The node with one thing wrong, in every way that we know."""
    match node:
        case ast.BinOp(left, operator, right):
            yield from (ast.BinOp(left, swap(), right) for swap in SWAPS.get(type(operator), ()))
            if not isinstance(operator, ast.MatMult):
                yield left
            if isinstance(operator, ast.Add | ast.Mult):
                yield right
        case ast.BoolOp(operator, values):
            yield from (ast.BoolOp(swap(), values) for swap in SWAPS[type(operator)])
        case ast.Compare(left, [operator], rights):
            yield from (ast.Compare(left, [swap()], rights) for swap in SWAPS.get(type(operator), ()))
        case ast.UnaryOp(ast.USub() | ast.Not(), operand):
            yield operand
        case ast.IfExp(_, body, otherwise):
            yield from (body, otherwise)
        case ast.AugAssign(target, ast.Add(), value):
            yield ast.AugAssign(target, ast.Sub(), value)
            yield ast.Assign([target], value, lineno=node.lineno)
        case ast.Constant(bool(value)):
            yield ast.Constant(not value)
        case ast.Constant(int(value)):
            yield ast.Constant(value + 1)
        case ast.Return(ast.Tuple(elements)):
            for i, element in enumerate(elements):
                if not isinstance(element, ast.Starred):
                    negative = ast.UnaryOp(ast.USub(), element)
                    yield ast.Return(ast.Tuple([*elements[:i], negative, *elements[i + 1 :]], ast.Load()))
        case ast.Return(ast.Dict(keys, values)):
            for i, value in enumerate(values):
                negative = ast.UnaryOp(ast.USub(), value)
                yield ast.Return(ast.Dict(keys, [*values[:i], negative, *values[i + 1 :]]))
        case ast.Return(ast.expr() as value):
            yield ast.Return(ast.UnaryOp(ast.USub(), value))


def places(body: list[ast.stmt]) -> Iterator[tuple[ast.AST, Callable[[ast.AST], None]]]:
    """Every node of the body, with a function that puts another in its place.

    But not the value of strict=..., which computes nothing, nor the number under a minus: its sign is changed anyway,
    and in `reshape` all negative numbers mean the same.
    """
    for parent in ast.walk(ast.Module(body, [])):
        for field, value in ast.iter_fields(parent):
            if isinstance(value, ast.Constant) and (
                isinstance(parent, ast.UnaryOp) or (isinstance(parent, ast.keyword) and parent.arg == "strict")
            ):
                continue
            if isinstance(value, ast.AST):
                yield value, partial(setattr, parent, field)
            elif isinstance(value, list):
                yield from ((node, partial(value.__setitem__, i)) for i, node in enumerate(value) if node is not None)


def mutants_of(function: FunctionType, ops: tuple[str, ...]) -> Iterator[Mutant]:
    tree = definition(function)
    tree.decorator_list = []
    for node, put in list(places(tree.body)):
        for wrong in spoiled(node):
            put(wrong)
            # Within a class, so that the code has a place for __class__ if and only if the original has one.
            module = ast.parse("class Holder: pass")
            module.body[0].body = [copy.deepcopy(tree)]
            put(node)
            ast.fix_missing_locations(module)
            names: dict[str, Any] = dict(function.__globals__)
            exec(compile(module, inspect.getfile(function), "exec"), names)
            line = function.__code__.co_firstlineno - 1 + node.lineno
            code = getattr(names["Holder"], function.__name__).__code__
            yield Mutant(function, line, ast.unparse(node), ast.unparse(wrong), code, ops)


def all_mutants(only: str | None = None) -> list[Mutant]:
    """The mutants of every op, or of one; a function that several ops call is spoiled once, for all of them."""
    callers: dict[FunctionType, list[str]] = {}
    for name, op in OPS.items():
        if only in (None, name):
            for function in behind_backward(op):
                callers.setdefault(function, []).append(name)
    return [mutant for function, ops in callers.items() for mutant in mutants_of(function, tuple(ops))]


# Running them


def verdict(case: Case) -> str | None:
    """What kills the active mutant on this case, if anything does."""
    try:
        error = worst_error(by_op(case), by_jax(case))
    except Exception as raised:  # a spoiled formula can fail in any way
        return type(raised).__name__
    return f"error {error:.0e}" if error > TOLERANCE else None


def kill(mutant: Mutant) -> str | None:
    """What kills the mutant; None if it survives."""
    with mutant.active(), warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        cases = (case for case in CASES if type(case.op).__name__ in mutant.ops)
        return next((f"{found}  ({case.id})" for case in cases if (found := verdict(case))), None)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--op", choices=OPS, help="only the backward pass of this op")
    parser.add_argument("--list", action="store_true", help="show the mutants without running them")
    options = parser.parse_args(arguments)

    mutants = all_mutants(options.op)
    if not options.list:  # what JAX says must not be computed while a mutant is active
        checked = {case.id: verdict(case) for case in CASES if options.op in (None, type(case.op).__name__)}
        failed = [name for name, found in checked.items() if found]
        if failed:
            parser.error(f"the ops are wrong already, without a mutant: {', '.join(failed)}")

    outcomes: Counter[str] = Counter()
    for mutant in mutants:
        reason = EQUIVALENT.get(mutant.key)
        if options.list:
            outcome, detail = "", ""
        elif reason:
            outcome, detail = "equivalent", reason
        else:
            found = kill(mutant)
            outcome, detail = ("killed", found) if found else ("SURVIVED", "")
        outcomes[outcome] += 1
        place = f"{Path(inspect.getfile(mutant.function)).name}:{mutant.line} {mutant.function.__qualname__}"
        print(f"{outcome:10} {place:50} {mutant.before}  ->  {mutant.after}  {detail and f'[{detail}]'}")
    counts = (f"{count} {outcome}" for outcome, count in outcomes.items() if outcome)
    print(f"{len(mutants)} mutants", *counts, sep=", ")
    return 1 if outcomes["SURVIVED"] else 0


if __name__ == "__main__":
    sys.exit(main())
