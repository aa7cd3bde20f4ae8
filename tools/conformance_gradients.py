"""Write docs/conformance-gradients.md: what PyTorch's own sample inputs say about values and gradients.

    python tools/conformance_gradients.py [OUT.md]

Needs PyTorch and the package expecttest, which PyTorch's test utilities import. One minute.
"""

import sys
import warnings
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path += [str(ROOT), str(ROOT / "tests")]  # last, so that an installed minicam comes first

import torch  # noqa: E402
from opinfo import EXCEPTIONS, LIMIT, Outcome, outcomes  # noqa: E402
from opinfo_adapters import ADAPTERS  # noqa: E402

HEAD = """# Conformance: gradients

Written by `tools/conformance_gradients.py`. The samples are those with which PyTorch tests its own operators (its
OpInfo database, {version}), in float64. For each, one of minicam's ops, or a few in a row, compute the same;
values are compared, and the gradients of all inputs and parameters for a random cotangent. The deviation is the largest
over an operator's samples, relative to the largest expected value (to 1 where that is smaller). The limit is {limit:g};
{exceptions}.
Ties and kinks follow PyTorch but for what [conventions](conventions.md) says.

**{compared:,} samples of {operators} operators compared, {left_out:,} not applicable, for the reasons below.**
"""


def table(found: dict[str, Outcome]) -> str:
    lines = ["| operator | compared | not applicable | largest deviation |", "|---|---:|---:|---:|"]
    for name, outcome in sorted(found.items()):
        left_out = sum(outcome.reasons.values()) or ""
        lines.append(f"| {name} | {outcome.compared} | {left_out} | {outcome.worst:.0e} |")
    return "\n".join(lines)


def reasons(found: dict[str, Outcome]) -> str:
    total: Counter[str] = sum((outcome.reasons for outcome in found.values()), Counter())
    lines = ["| not applicable, because the sample asks for, or has | samples |", "|---|---:|"]
    return "\n".join([*lines, *(f"| {reason} | {count} |" for reason, count in total.most_common())])


def text(found: dict[str, Outcome]) -> str:
    head = HEAD.format(
        version=f"version {torch.__version__.split('+')[0]}",
        limit=LIMIT,
        exceptions="; ".join(f"for {name} {limit:g}, since {why}" for name, (limit, why) in EXCEPTIONS.items()),
        compared=sum(outcome.compared for outcome in found.values()),
        operators=len(found),
        left_out=sum(sum(outcome.reasons.values()) for outcome in found.values()),
    )
    return f"{head}\n{table(found)}\n\n{reasons(found)}\n"


def main(arguments: list[str]) -> None:
    out = Path(arguments[0]) if arguments else ROOT / "docs" / "conformance-gradients.md"
    warnings.simplefilter("ignore")  # PyTorch's, while it makes its samples
    out.write_text(text(outcomes(ADAPTERS)), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
