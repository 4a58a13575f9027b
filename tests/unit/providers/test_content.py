"""Answers without content are told from those that have some, or a reason for having none, in every dialect."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sidecar.model.classes import Class
from sidecar.providers import catalogue
from sidecar.providers.dialect import Answer, Reader
from tests.wire.test_streams import reader_of
from tests.wire.test_streams import streams as recorded

CASES = Path(__file__).parents[2] / "wire" / "cases"
OPERATIONS = {
    "openai": "chat/completions",
    "anthropic": "messages",
    "gemini": "models/gemini-2.0-flash:generateContent",
}
USAGE = {"usage": {"prompt_tokens": 7, "completion_tokens": 0, "total_tokens": 7}}
OTHER = json.loads((CASES / "gemini-200-no-content-other.json").read_text())["body"]


def read(dialect: str, *said: Any, operation: str = "", stream: bool = False, wants: bool = True) -> Reader:
    kind = "text/event-stream" if stream else "application/json"
    reader = catalogue.DIALECTS[dialect].reader("POST", operation or OPERATIONS[dialect], kind)
    reader.wants_content = wants
    for value in said:
        data = json.dumps(value).encode()
        reader.feed(b"data: " + data + b"\n\n" if stream else data)
    return reader


def kind(reader: Reader) -> Class:
    provider = catalogue.preset("openai").at("https://api.openai.com/v1")
    return reader.outcome(provider, Answer(200, {}, b"", 1_791_300_000.0)).kind


def message(content: Any, reason: str = "stop", **more: Any) -> Any:
    told = {"role": "assistant", "content": content, "refusal": None, "annotations": []} | more
    return {"object": "chat.completion", "choices": [{"index": 0, "message": told, "finish_reason": reason}]} | USAGE


def candidate(reason: str, *parts: Any) -> Any:
    content = {"content": {"role": "model", "parts": [*parts]}} if parts else {"content": {"role": "model"}}
    return {"candidates": [content | {"finishReason": reason}], "usageMetadata": {"promptTokenCount": 7}}


def claude(reason: str, *content: Any) -> Any:
    return {"type": "message", "role": "assistant", "content": [*content], "stop_reason": reason}


EMPTY = [
    ("openai", message("")),
    ("openai", message(None)),
    ("openai", {"object": "chat.completion", "choices": []} | USAGE),
    ("openai", {"object": "text_completion", "choices": [{"text": "", "finish_reason": "stop"}]}),
    ("openai", {"object": "response", "status": "completed", "output": []}),
    ("gemini", OTHER),
    ("gemini", candidate("STOP")),
    ("gemini", candidate("STOP", {"text": ""})),
    ("gemini", candidate("MALFORMED_FUNCTION_CALL")),
    ("gemini", {"usageMetadata": {"promptTokenCount": 7, "totalTokenCount": 7}, "modelVersion": "gemini-2.5-pro"}),
    ("anthropic", claude("end_turn")),
]
FULL = [
    ("openai", message("hello")),
    ("openai", message(None, "tool_calls", tool_calls=[{"id": "c", "function": {"name": "f", "arguments": "{}"}}])),
    ("openai", message(None, refusal="no")),
    ("openai", message("", "length")),
    ("openai", message("", "content_filter")),
    ("openai", {"object": "list", "data": [{"embedding": [0.1]}]}),
    ("openai", {"object": "response", "output": [], "incomplete_details": {"reason": "max_output_tokens"}}),
    ("gemini", candidate("STOP", {"text": "a"})),
    ("gemini", candidate("STOP", {"functionCall": {"name": "f", "args": {}}})),
    ("gemini", candidate("MAX_TOKENS")),
    ("gemini", candidate("SAFETY")),
    ("gemini", {"promptFeedback": {"blockReason": "SAFETY"}}),
    ("gemini", {"totalTokens": 31}),
    ("anthropic", claude("end_turn", {"type": "text", "text": "a"})),
    ("anthropic", claude("max_tokens")),
    ("anthropic", claude("refusal")),
    ("anthropic", {"input_tokens": 31}),
]


@pytest.mark.parametrize(("dialect", "body"), EMPTY)
def test_a_whole_answer_without_content_is_the_providers_failure_where_content_is_wanted(
    dialect: str, body: Any
) -> None:
    reader = read(dialect, body)
    reader.close()
    assert (reader.first, kind(reader)) == ("error", Class.SERVER_ERROR)
    plain = read(dialect, body, wants=False)
    plain.close()
    assert (plain.first, kind(plain)) == ("event", Class.OK)


@pytest.mark.parametrize(("dialect", "body"), FULL)
def test_content_or_a_reason_for_none_is_an_answer(dialect: str, body: Any) -> None:
    reader = read(dialect, body)
    reader.close()
    assert reader.first == "event"
    assert kind(reader) in {Class.OK, Class.BLOCKED}


def chunk(delta: Any, reason: str | None = None) -> Any:
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": reason}]}


HOLLOW: dict[str, list[Any]] = {
    "openai": [chunk({"role": "assistant", "content": ""}), chunk({}, "stop"), {"choices": []} | USAGE],
    "gemini": [{"usageMetadata": {"promptTokenCount": 7}}, candidate("STOP", {"text": ""})],
    "anthropic": [
        {"type": "message_start", "message": {"content": [], "usage": {"input_tokens": 7}}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 1}},
        {"type": "message_stop"},
    ],
}
SAYING = {
    "openai": chunk({"content": "a"}),
    "gemini": candidate("STOP", {"text": "a"}),
    "anthropic": {"type": "content_block_delta", "delta": {"type": "text_delta", "text": "a"}},
}


@pytest.mark.parametrize("dialect", HOLLOW)
def test_a_hollow_stream_is_held_back_to_its_end_and_fails(dialect: str) -> None:
    said, operation = HOLLOW[dialect], OPERATIONS[dialect].replace("generate", "streamGenerate")
    reader = read(dialect, *said, operation=operation, stream=True)
    assert reader.first == "waiting"
    reader.close()
    assert (reader.first, kind(reader)) == ("error", Class.SERVER_ERROR)
    saying = read(dialect, said[0], SAYING[dialect], operation=operation, stream=True)
    assert saying.first == "event"


@pytest.mark.parametrize(("about", "data"), recorded())
def test_recorded_streams_are_shown_as_early_where_content_is_wanted(about: dict[str, Any], data: bytes) -> None:
    """All of them have content, or say why not."""
    plain, wanting = reader_of(about), reader_of(about)
    wanting.wants_content = True
    for at in range(len(data)):
        plain.feed(data[at : at + 1])
        wanting.feed(data[at : at + 1])
        assert wanting.first == plain.first
    plain.close()
    wanting.close()
    assert (wanting.first, kind(wanting)) == (plain.first, kind(plain))
