"""A pool's `outcomes:` decide before the dialect; the wait is still the answer's own."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from sidecar.model.classes import Class, Scope
from sidecar.model.configured import Override
from sidecar.model.outcomes import Outcome
from sidecar.providers.catalogue import DIALECTS, preset
from sidecar.providers.dialect import Answer
from tests.unit.providers.told import NOW_S, google, openai, retry

DAY = Override(Class.RATE_LIMIT_DAY, Scope.KEY, other=True, body="resource exhausted")
DEAD = Override(Class.INVALID_KEY, Scope.KEY, other=True, statuses=frozenset({402}))


def answered(
    *overrides: Override, status: int = 400, body: object = b"", headers: dict[str, str] | None = None
) -> Outcome:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    known = preset("openai")
    provider = replace(known.at(known.base_url or ""), overrides=overrides)
    return DIALECTS["openai"].classify(provider, Answer(status, headers or {}, data, NOW_S))


@pytest.mark.parametrize(
    "body",
    [
        b"Resource Exhausted",
        {"error": {"message": "RESOURCE EXHAUSTED for today"}},
        {"weird": {"inner": ["resource exhausted"]}},
        b'{"error": {"message": "\\u0072esource exhausted"}}',  # escaped, as some write it
    ],
)
def test_words_are_found_anywhere_in_the_body_whatever_their_case(body: object) -> None:
    assert answered(DAY, body=body).kind is Class.RATE_LIMIT_DAY


def test_what_no_override_fits_is_the_dialects() -> None:
    assert answered(DAY, DEAD, status=429, body=openai("Slow")).kind is Class.RATE_LIMIT_MINUTE
    assert answered(DAY, DEAD, status=402).kind is Class.INVALID_KEY
    assert answered(status=402).kind is Class.BILLING


def test_the_first_that_fits_decides() -> None:
    later = Override(Class.BAD_REQUEST, Scope.REQUEST, other=False, statuses=frozenset({400, 402}))
    assert answered(DEAD, later, status=402).kind is Class.INVALID_KEY
    assert answered(later, DEAD, status=402).kind is Class.BAD_REQUEST


def test_status_and_words_must_both_fit() -> None:
    both = replace(DAY, statuses=frozenset({400}))
    assert answered(both, body=b"resource exhausted").kind is Class.RATE_LIMIT_DAY
    assert answered(both, status=403, body=b"resource exhausted").kind is Class.PERMISSION
    assert answered(both, body=b"something else").kind is Class.BAD_REQUEST


@pytest.mark.parametrize(
    ("override", "headers", "body", "expected"),
    [
        # a day that names nothing ends at midnight
        (DAY, {}, b"resource exhausted", (None, "midnight")),
        (DAY, {"retry-after": "7200"}, b"resource exhausted", (7200.0, None)),
        # Google's seconds say nothing of a day, here as elsewhere
        (DAY, {}, google("resource exhausted", "RESOURCE_EXHAUSTED", retry("20s")), (None, "midnight")),
        # a delay of the pool's is for answers that name none
        (replace(DAY, delay_s=600.0), {}, b"resource exhausted", (600.0, None)),
        (replace(DAY, delay_s=600.0), {"retry-after": "7200"}, b"resource exhausted", (7200.0, None)),
        (replace(DAY, kind=Class.RATE_LIMIT_MINUTE), {}, b"resource exhausted, try again in 12s", (12.0, None)),
        (replace(DAY, kind=Class.RATE_LIMIT_MINUTE), {}, b"resource exhausted", (None, None)),
        (replace(DAY, kind=Class.RATE_LIMIT_MINUTE, delay_s=5.0), {}, b"resource exhausted", (5.0, None)),
        (
            replace(DAY, kind=Class.RATE_LIMIT_TOKENS),
            {
                "x-ratelimit-remaining-tokens": "0",
                "x-ratelimit-reset-tokens": "9s",
                "x-ratelimit-remaining-requests": "0",
                "x-ratelimit-reset-requests": "90s",
            },
            b"resource exhausted",
            (9.0, None),
        ),
        (replace(DAY, kind=Class.BILLING), {}, b"resource exhausted: monthly quota", (None, "month")),
        (replace(DAY, kind=Class.BILLING, delay_s=600.0), {}, b"resource exhausted: monthly quota", (600.0, None)),
        (
            replace(DAY, kind=Class.BILLING, delay_s=600.0),
            {"retry-after": "7200"},
            b"resource exhausted",
            (7200.0, None),
        ),
        (replace(DAY, kind=Class.BILLING, delay_s=600.0), {"retry-after": "1"}, b"resource exhausted", (600.0, None)),
        (replace(DAY, kind=Class.OVERLOADED), {"retry-after": "3"}, b"resource exhausted", (3.0, None)),
    ],
)
def test_how_long_it_rests_is_read_from_the_answer_as_its_class_has_it(
    override: Override, headers: dict[str, str], body: object, expected: tuple[float | None, str | None]
) -> None:
    found = answered(override, body=body, headers=headers)
    assert (found.kind, found.delay_s, found.until) == (override.kind, *expected)


def read(body: bytes, *overrides: Override, content_type: str = "application/json") -> tuple[str, Outcome]:
    """A 2xx through its reader: when it may be shown, and what it came to."""
    known = preset("openai")
    provider = replace(known.at(known.base_url or ""), overrides=overrides)
    reader = DIALECTS["openai"].reader("POST", "chat/completions", content_type)
    reader.feed(body)
    reader.close()
    return reader.first, reader.outcome(provider, Answer(200, {}, b"", NOW_S))


@pytest.mark.parametrize("statuses", [(), (200,), (429,)])
@pytest.mark.parametrize("stream", [False, True])
def test_an_error_inside_a_200_is_met_by_either_status(statuses: tuple[int, ...], stream: bool) -> None:
    """The one that it came with, and the one that it names."""
    error: dict[str, Any] = {"error": {"code": 429, "message": "Resource exhausted"}}
    body = json.dumps(error).encode()
    override = replace(DAY, statuses=frozenset(statuses))
    data = b"data: " + body + b"\n\n" if stream else body
    first, outcome = read(data, override, content_type="text/event-stream" if stream else "application/json")
    assert (first, outcome.kind) == ("error", Class.RATE_LIMIT_DAY)


def test_a_success_is_no_error_unless_an_override_names_its_status() -> None:
    """A model may well speak of exhausted resources."""
    body = {"choices": [{"message": {"content": "resource exhausted"}}]}
    assert answered(DAY, status=200, body=body).kind is Class.OK
    assert answered(replace(DAY, statuses=frozenset({200})), status=200, body=body).kind is Class.RATE_LIMIT_DAY
