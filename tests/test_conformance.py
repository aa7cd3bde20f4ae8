"""ONNX's own tests against minicam; the published table says what they find."""

import re

import pytest

pytest.importorskip("onnx")

import conformance
import onnx

PUBLISHED = conformance.DOCUMENT.read_text()
SAME_ONNX = f"onnx {onnx.__version__}," in PUBLISHED


@pytest.fixture(scope="module")
def outcomes():
    return [conformance.outcome(case) for case in conformance.cases(whole=False)]


def failed(outcomes):
    return [(found.case.name, found.status, found.reason) for found in outcomes if found.status in ("refused", "wrong")]


def test_every_applicable_case_passes(outcomes):
    assert not failed(outcomes)
    assert sum(found.status == "passed" for found in outcomes) > 500


@pytest.mark.skipif(not SAME_ONNX, reason="the page was made with another version of onnx")
def test_the_published_table_is_what_is_found(outcomes):
    assert PUBLISHED.startswith(conformance.op_part(outcomes)), "run tools/conformance.py"


@pytest.mark.slow
def test_whole_networks_pass():
    found = [conformance.outcome(case) for case in conformance.cases() if case.op == conformance.WHOLE]
    assert not failed(found)
    assert re.search(rf"^{len(found)} passed of {len(found)} ", PUBLISHED, re.MULTILINE)


def test_a_wrong_output_is_noticed():
    """The comparison itself can fail: by value, by shape, by type."""
    case = next(case for case in conformance.cases(whole=False) if case.name == "test_relu")
    ((inputs, (expected,)),) = case.data
    for wrong in (expected + 0.01, expected[None], expected.astype("float64")):
        spoiled = conformance.Case(case.suite, case.name, case.op, case.model, [(inputs, [wrong])], 1e-3, 1e-7)
        assert conformance.outcome(spoiled).status == "wrong"
