"""What an answer cost is read while it passes, as its dialect tells it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sidecar.model.classes import Class
from sidecar.model.words import Usage
from sidecar.providers.catalogue import DIALECTS
from tests.unit.providers.answered import outcome, read


@pytest.mark.parametrize(
    ("dialect", "body", "usage"),
    [
        (
            "openai",
            {
                "choices": [],
                "usage": {
                    "prompt_tokens": 3,
                    "completion_tokens": 2,
                    "total_tokens": 5,
                    "prompt_tokens_details": {"cached_tokens": 1},
                    "completion_tokens_details": {"reasoning_tokens": 2},
                },
            },
            Usage(3, 2, 5, 1, 2),
        ),
        ("openai", {"object": "list", "data": [], "usage": {"prompt_tokens": 8, "total_tokens": 8}}, Usage(8, None, 8)),
        (
            "openai",
            {
                "object": "response",
                "usage": {
                    "input_tokens": 3,
                    "output_tokens": 2,
                    "input_tokens_details": {"cached_tokens": 2},
                    "output_tokens_details": {"reasoning_tokens": 1},
                },
            },
            Usage(3, 2, 5, 2, 1),
        ),
        ("openai", {"text": "x", "usage": {"type": "duration", "seconds": 9}}, None),
        (
            "openai",
            {"created": 1, "data": [], "usage": {"input_tokens": 9, "output_tokens": 272, "total_tokens": 281}},
            Usage(9, 272, 281),
        ),
        ("plain", {"embeddings": [], "meta": {"billed_units": {"input_tokens": 4}}}, Usage(4, None, None)),
        ("plain", {"results": [], "meta": {"billed_units": {"search_units": 1}}}, None),
        ("plain", {"object": "list", "usage": {"total_tokens": 26}}, Usage(None, None, 26)),
        (
            "anthropic",
            {"type": "message", "usage": {"input_tokens": 15, "cache_read_input_tokens": 4, "output_tokens": 9}},
            Usage(19, 9, 28, 4),
        ),
        (
            "anthropic",
            {
                "type": "message",
                "usage": {
                    "input_tokens": 15,
                    "cache_creation_input_tokens": 100,
                    "cache_read_input_tokens": 4,
                    "output_tokens": 9,
                },
            },
            Usage(119, 9, 128, 4),
        ),
        (
            "openai",
            {"usage": {"prompt_tokens": 15, "cache_read_input_tokens": 4, "completion_tokens": 9}},
            Usage(15, 9, 24, 4),
        ),
        (
            "gemini",
            {
                "candidates": [],
                "usageMetadata": {
                    "promptTokenCount": 8,
                    "candidatesTokenCount": 7,
                    "totalTokenCount": 35,
                    "thoughtsTokenCount": 20,
                    "cachedContentTokenCount": 3,
                },
            },
            Usage(8, 7, 35, 3, 20),
        ),
        (
            "gemini",
            {"usageMetadata": {"promptTokenCount": 8, "toolUsePromptTokenCount": 30, "totalTokenCount": 38}},
            Usage(38, None, 38),
        ),
        ("gemini", {"totalTokens": 31}, None),
        ("plain", {"embeddings": [], "prompt_eval_count": 26}, Usage(26)),
        (
            "plain",
            {
                "message": {},
                "usage": {
                    "billed_units": {"input_tokens": 7},
                    "tokens": {"input_tokens": 502, "output_tokens": 24},
                    "cached_tokens": 448,
                },
            },
            Usage(502, 24, 526, 448),
        ),
        ("plain", {"meta": {"tokens": {"input_tokens": 5.0, "output_tokens": 2.0}}}, Usage(5, 2, 7)),
        ("plain", {"model": "llama3", "done": True, "prompt_eval_count": 26, "eval_count": 298}, Usage(26, 298, 324)),
        ("plain", {"usageMetadata": {"promptTokenCount": 8, "totalTokenCount": 9}}, Usage(8, None, 9)),
        ("plain", {"usage": "none of yours", "meta": 3}, None),
        ("openai", {"usage": {"prompt_tokens": True, "completion_tokens": -1, "total_tokens": "5"}}, None),
    ],
)
def test_usage_of_a_whole_body(dialect: str, body: Any, usage: Usage | None) -> None:
    """Each provider's own names; what is no count is none."""
    reader = read(dialect, body)
    assert reader.usage == usage
    assert (reader.first, reader.complete, outcome(reader).kind) == ("event", True, Class.OK)


@pytest.mark.parametrize(
    ("dialect", "operation"),
    [
        ("openai", "chat/completions"),
        ("openai", "embeddings/"),
        ("openai", "v1/responses"),
        ("openai", "openai/deployments/d/images/edits"),
        ("openai", "responses/compact"),
        ("openai", "decisions"),
        ("openai", "threads/runs"),
        ("openai", "threads/thread_1/runs"),
        ("openai", "threads/thread_1/runs/run_1/submit_tool_outputs"),
        ("anthropic", "messages"),
        ("gemini", "models/m:generateContent"),
        ("gemini", "interactions"),
        ("gemini", "cachedContents"),
        ("gemini", "decisions"),
    ],
)
def test_what_generates_costs(dialect: str, operation: str) -> None:
    """Wherever it lies; what was stored costs nothing when it is read again."""
    body = {"id": "x", "object": "y", "usage": {"total_tokens": 3}}
    assert read(dialect, body, operation=operation).usage == Usage(total=3)
    assert read(dialect, body, operation=f"{operation.strip('/')}/x_1").usage is None
    assert read(dialect, body, operation=operation, method="GET").usage is None


@pytest.mark.parametrize(
    ("dialect", "method", "operation"),
    [
        ("openai", "POST", "chat/completions/chatcmpl-1"),
        ("openai", "POST", "batches/batch_1/cancel"),
        ("openai", "POST", "threads/thread_1/runs/run_1"),
        ("anthropic", "GET", "sessions/sesn_1"),
        ("anthropic", "POST", "sessions/sesn_1"),
        ("anthropic", "GET", "messages/batches/msgbatch_1/results"),
        ("gemini", "GET", "cachedContents/c"),
        ("gemini", "PATCH", "cachedContents/c"),
        ("gemini", "GET", "interactions/v1_x"),
        ("gemini", "POST", "interactions/v1_x/cancel"),
        ("plain", "GET", "things/x"),
        ("plain", "PUT", "things/x"),
    ],
)
def test_the_usage_of_what_is_only_looked_at_is_not_the_calls(dialect: str, method: str, operation: str) -> None:
    """Nor of what is changed or cancelled: who polls pays once."""
    assert read(dialect, {"id": "x", "usage": {"total_tokens": 3}}, operation=operation, method=method).usage is None


def test_a_streams_later_usage_keeps_what_its_first_told_of_the_cache() -> None:
    """Anthropic's last event may tell the output alone."""
    reader = DIALECTS["anthropic"].reader("POST", "messages", "text/event-stream")
    told = {"input_tokens": 15, "cache_creation_input_tokens": 7, "cache_read_input_tokens": 4, "output_tokens": 1}
    delta = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 9}}
    for event in ({"type": "message_start", "message": {"usage": told}}, delta):
        reader.feed(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode())
    assert reader.usage == Usage(26, 9, 35, 4)
