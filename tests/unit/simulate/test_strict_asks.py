"""What the strict provider writes where a call asks for a form of its answer."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sidecar.simulate.asks import Form, fill, form
from sidecar.simulate.calls import Call

WORDS: Any = [{"role": "user", "content": "hi"}]
TOOLS = [{"type": "function", "function": {"name": name, "parameters": {"type": "object"}}} for name in ("a", "b")]


def asked(**fields: Any) -> Form | None:
    call = Call(0, "POST", "/v1/chat/completions", "", ())
    call.read(json.dumps({"model": "m", "messages": WORDS} | fields).encode())
    return form(call)


@pytest.mark.parametrize(
    ("choice", "called"),
    [
        (None, "a"),
        ("required", "a"),
        ({"type": "function", "function": {"name": "b"}}, "b"),
        ("none", None),
        ({"type": "function", "function": {"name": "c"}}, None),
    ],
)
def test_the_first_function_is_called_or_the_one_that_is_chosen(choice: object, called: str | None) -> None:
    found = asked(tools=TOOLS, tool_choice=choice)
    assert (found.function if found else None) == called


def test_what_a_function_came_to_is_answered_in_words() -> None:
    assert asked(tools=TOOLS, messages=[*WORDS, {"role": "tool", "content": "fine"}]) is None


@pytest.mark.parametrize("fields", [{"tools": 5}, {"tools": [{}]}, {"messages": [], "tools": TOOLS}])
def test_what_no_dialect_has_is_answered_in_words(fields: dict[str, Any]) -> None:
    assert asked(**fields) is None


def test_a_schema_is_filled_with_the_least_that_it_allows() -> None:
    named = {"type": "object", "properties": {"name": {"type": "STRING"}, "kind": {"enum": ["x", "y"]}}}
    schema = {
        "type": "OBJECT",
        "$defs": {"Named": named},
        "properties": {
            "all": {"type": "array", "items": {"$ref": "#/$defs/Named"}},
            "some": {"anyOf": [{"type": "number"}, {"type": "null"}]},
            "sure": {"type": "boolean"},
        },
    }
    assert fill(schema) == {"all": [{"name": "simulated", "kind": "x"}], "some": 1, "sure": True}
