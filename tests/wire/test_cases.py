"""Every recorded answer is classified as its file says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sidecar.model.classes import Class, Scope
from sidecar.model.outcomes import Outcome
from sidecar.providers import catalogue
from sidecar.providers.dialect import Answer

CASES = Path(__file__).parent / "cases"
NOW_S = 1_791_300_000.0  # 2026-10-06T15:20:00Z

# The same bytes are recorded twice with two meanings. No reader can tell them apart; the one that was seen counts.
JUDGED_WRONG = {
    "gemini-403-standard-key-rejected": "gemini-403-model",  # "exact body not seen"
    "gemini-429-spend-window": "gemini-429-bare",  # "wording of the message not documented"
}
# What the file leaves to be read: where the quota ends.
ENDS: dict[str, dict[str, Any]] = {
    "gemini-429-rpd-free-25-5s": {"until": "midnight"},
    "gemini-429-rpd-free-250": {"until": "midnight"},
    "gemini-openai-compat-429-array-rpd": {"until": "midnight"},
    "openrouter-429-free-day": {"delay_s": 31_200.0},
    "openrouter-429-free-day-2026-limit-source": {"delay_s": 31_200.0},
    "cohere-429-trial-month": {"until": "month"},
}
DIALECT = {"gemini": "gemini", "vertex": "gemini", "anthropic": "anthropic", "cohere": "plain"}


def cases() -> list[Any]:
    read = [json.loads(path.read_text("utf-8")) for path in sorted(CASES.glob("*.json"))]
    return [pytest.param(case, id=case["id"]) for case in read if case["id"] not in JUDGED_WRONG]


def outcome(case: dict[str, Any], dialect_name: str = "") -> Outcome:
    """Through the dialect in which the call was made; a 2xx as it is read while it passes."""
    name, _, compatible = case["provider"].partition("-")
    preset = catalogue.preset("openai" if name == "any" else name)
    provider = preset.at(preset.base_url or "https://example.com/v1")
    dialect = catalogue.DIALECTS[dialect_name or compatible or DIALECT.get(name, "openai")]
    body = case["body"] if isinstance(case["body"], str) else json.dumps(case["body"])
    answer = Answer(case["status"], case["headers"], body.encode(), NOW_S)
    if case["status"] >= 300:
        return dialect.classify(provider, answer)
    reader = dialect.reader("POST", "chat/completions", case["headers"].get("content-type", ""))
    reader.feed(answer.head)
    reader.close()
    return reader.outcome(provider, answer)


@pytest.mark.parametrize("case", cases())
def test_case_means_what_its_file_says(case: dict[str, Any]) -> None:
    """Class, scope, delay and whether another key may do better."""
    meaning = case["meaning"]
    found = outcome(case)
    assert found.kind == meaning["class"]
    if found.kind is not Class.OK:
        assert found.scope == Scope(meaning["scope"])
    assert found.other == meaning["retry_same_request_with_other_key"]
    ends = ENDS.get(case["id"], {})
    expected = ends.get("delay_s", meaning["retry_after_s"])
    assert found.delay_s == (None if expected is None else pytest.approx(expected, rel=1e-9))
    assert found.until == ends.get("until")


@pytest.mark.parametrize("case", [case for case in cases() if case.values[0]["status"] >= 300])
@pytest.mark.parametrize("dialect", ["openai", "anthropic", "gemini", "plain"])
def test_errors_mean_the_same_in_every_dialect(case: dict[str, Any], dialect: str) -> None:
    """A reseller's error may have any provider's shape, whichever dialect the call was made in."""
    assert outcome(case, dialect) == outcome(case)


@pytest.mark.parametrize(("unverified", "seen"), JUDGED_WRONG.items())
def test_two_meanings_of_the_same_bytes(unverified: str, seen: str) -> None:
    """The cases that are left out are the bytes of another."""
    one, other = (json.loads((CASES / f"{name}.json").read_text("utf-8")) for name in (unverified, seen))
    assert (one["status"], one["body"]) == (other["status"], other["body"])
    assert one["meaning"] != other["meaning"]
