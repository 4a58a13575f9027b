"""What a request counts once its provider has told what it cost."""

from __future__ import annotations

import pytest

from sidecar.model.amounts import amounts, no_less
from sidecar.model.words import Estimate, Usage

ESTIMATE = Estimate(100, 1024)
NO_OUTPUT = Estimate(100, 0)


@pytest.mark.parametrize(
    ("usage", "counted"),
    [
        (None, (1, 1124, 100, 1024, 1124, 100)),
        (Usage(), (1, 1124, 100, 1024, 1124, 100)),
        (Usage(12, 6, 18), (1, 18, 12, 6, 18, 12)),
        (Usage(12, 6, 18, cached=10, reasoning=4), (1, 18, 12, 6, 8, 2)),
        (Usage(10, 48, 598, reasoning=540), (1, 598, 10, 588, 598, 10)),
        (Usage(8, 11, 1061), (1, 1061, 8, 1053, 1061, 8)),
        (Usage(0, 0, 0), (1, 0, 0, 0, 0, 0)),
        (Usage(input=12), (1, 1036, 12, 1024, 1036, 12)),
        (Usage(output=6), (1, 106, 100, 6, 106, 100)),
        (Usage(output=6, total=18), (1, 18, 12, 6, 18, 12)),
        (Usage(total=2000), (1, 2000, 100, 1900, 2000, 100)),
        (Usage(total=30), (1, 30, 30, 0, 30, 30)),
        (Usage(12, 6, 10), (1, 18, 12, 6, 18, 12)),
        (Usage(12, 6, 18, cached=50), (1, 18, 12, 6, 6, 0)),
    ],
)
def test_what_the_usage_does_not_say_keeps_the_estimate(usage: Usage | None, counted: tuple[int, ...]) -> None:
    """And thoughts are output, also where only the total has them; no part is ever more than the whole."""
    assert amounts(usage, ESTIMATE) == counted


def test_an_embedding_has_no_output() -> None:
    assert amounts(Usage(8, None, 8), NO_OUTPUT) == (1, 8, 8, 0, 8, 8)
    assert amounts(Usage(input=26), NO_OUTPUT) == (1, 26, 26, 0, 26, 26)


@pytest.mark.parametrize(
    ("usage", "counted"),
    [
        (Usage(50, 5, 958), {"input": 50, "output": 908}),
        (Usage(10, 48, 598, reasoning=540), {"input": 10, "output": 588, "reasoning": 540}),
        (Usage(12, 6, 18, cached=10, reasoning=4), {"input": 12, "output": 6, "cached": 10, "reasoning": 4}),
        (Usage(12, 6, 10), {"input": 12, "output": 6}),
        (Usage(8, None, 8), {"input": 8}),
        (Usage(output=6), {"output": 6}),
        (Usage(total=30), {}),
    ],
    ids=["in the total alone", "beside the output", "within it", "a total too small", "none", "no total", "no parts"],
)
def test_usage_counts_the_same_output_as_the_budgets(usage: Usage, counted: dict[str, int]) -> None:
    assert dict(usage.kinds) == counted
    if usage.input is not None and usage.output is not None:
        _, _, read, written, _, _ = amounts(usage, ESTIMATE)
        assert (read, written) == (counted["input"], counted["output"])


@pytest.mark.parametrize(
    ("usage", "counted"),
    [
        (None, (1, 1124, 100, 1024, 1124, 100)),
        (Usage(25, 1, 26), (1, 1049, 25, 1024, 1049, 25)),
        (Usage(25, 1, 26, cached=20), (1, 1049, 25, 1024, 1029, 5)),
        (Usage(25, 10, 4025), (1, 4025, 25, 4000, 4025, 25)),
        (Usage(total=30), (1, 1124, 100, 1024, 1124, 100)),
    ],
)
def test_what_is_told_before_the_end_is_not_all_that_was_written(usage: Usage | None, counted: tuple[int, ...]) -> None:
    """What was read is known by then."""
    assert amounts(no_less(usage, ESTIMATE), ESTIMATE) == counted
