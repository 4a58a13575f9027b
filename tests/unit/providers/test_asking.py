"""The body of a stream asks for its usage, wherever its options stand, and all else in it stays."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.providers.catalogue import DIALECTS
from tests.unit.providers.test_jsonhead import bodies

OPENAI = DIALECTS["openai"]
ON = {"include_usage": True}


@given(bodies, st.sampled_from([None, {}, {"include_usage": False}, {"include_usage": None, "x": [1]}]), st.booleans())
def test_usage_is_asked_for_and_all_else_stays(value: dict[str, Any], options: Any, named: bool) -> None:
    """Also where other options stand, or none."""
    value = {"model": "m"} | {key: held for key, held in value.items() if key != "stream_options"}
    body = json.dumps(value | ({"stream_options": options} if named else {})).encode()
    pieces = OPENAI.ask_usage("chat/completions", body)
    assert pieces is not None
    assert json.loads(b"".join(pieces)) == value | {"stream_options": ((options if named else None) or {}) | ON}


@pytest.mark.parametrize("options", [b'{"include_usage":true}', b'"yes"', b"[]"])
def test_what_asks_already_or_cannot_stays(options: bytes) -> None:
    assert OPENAI.ask_usage("chat/completions", b'{"model":"m","stream_options":%s}' % options) is None


@pytest.mark.parametrize("operation", ["responses", "audio/transcriptions", "images/generations"])
def test_streams_that_tell_their_usage_unasked_are_not_asked(operation: str) -> None:
    assert OPENAI.ask_usage(operation, b'{"model":"m","stream":true}') is None
