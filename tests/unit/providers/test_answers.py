"""A 2xx is held back as long as it may still be an error."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sidecar.model.classes import Class, Scope
from sidecar.model.outcomes import Outcome
from sidecar.model.words import Usage
from sidecar.providers.catalogue import DIALECTS
from sidecar.providers.dialect import HEAD_BYTES
from tests.unit.providers.answered import outcome, read


@pytest.mark.parametrize(
    ("dialect", "body", "kind", "scope"),
    [
        ("openai", {"error": {"message": "Internal Server Error", "code": 500}}, Class.SERVER_ERROR, Scope.PROVIDER),
        ("openai", {"error": {"message": "Rate limited", "code": 429}}, Class.RATE_LIMIT_MINUTE, Scope.KEY_MODEL),
        ("openai", {"error": {"message": "x", "type": "insufficient_quota"}}, Class.BILLING, Scope.KEY),
        ("openai", {"error": {"message": "No auth", "code": "401"}}, Class.INVALID_KEY, Scope.KEY),
        (
            "openai",
            [{"error": {"code": 503, "status": "UNAVAILABLE", "message": "x"}}],
            Class.OVERLOADED,
            Scope.PROVIDER,
        ),
        ("openai", {"error": "out of memory"}, Class.SERVER_ERROR, Scope.PROVIDER),
        (
            "openai",
            {"object": "error", "message": "x", "type": "BadRequestError", "code": 400},
            Class.BAD_REQUEST,
            Scope.REQUEST,
        ),
        (
            "anthropic",
            {"type": "error", "error": {"type": "overloaded_error", "message": "x"}},
            Class.OVERLOADED,
            Scope.PROVIDER,
        ),
        (
            "gemini",
            {"error": {"code": 429, "status": "RESOURCE_EXHAUSTED", "message": "x"}},
            Class.RATE_LIMIT_MINUTE,
            Scope.KEY_MODEL,
        ),
        ("plain", {"error": {"message": "x", "type": "server_error"}}, Class.SERVER_ERROR, Scope.PROVIDER),
    ],
)
def test_error_in_a_200(dialect: str, body: Any, kind: Class, scope: Scope) -> None:
    """It is an error, as if it had come with its status."""
    reader = read(dialect, body)
    assert reader.first == "error"
    assert (outcome(reader).kind, outcome(reader).scope) == (kind, scope)


@pytest.mark.parametrize(
    ("dialect", "operation", "body"),
    [
        (
            "openai",
            "fine_tuning/jobs/f",
            {"object": "fine_tuning.job", "status": "failed", "error": {"code": "x", "message": "y"}},
        ),
        (
            "openai",
            "responses/r",
            {"id": "r", "object": "response", "status": "failed", "error": {"code": "server_error"}},
        ),
        ("openai", "files/f/content", {"id": "b", "custom_id": "1", "error": {"code": "429", "message": "no"}}),
        ("gemini", "operations/o", {"name": "operations/o", "done": True, "error": {"code": 3, "message": "x"}}),
        ("plain", "rpc", {"jsonrpc": "2.0", "id": 1, "error": {"code": -32601, "message": "no such method"}}),
        ("plain", "things", {"error": None, "things": []}),
        ("openai", "chat/completions", {"choices": [{"message": {"content": "x"}}], "error": None}),
    ],
)
def test_error_of_what_was_asked_for_is_an_answer(dialect: str, operation: str, body: Any) -> None:
    """A failed job, retrieved, is a success; and its usage is not this call's."""
    reader = read(dialect, body, operation=operation)
    assert (reader.first, outcome(reader).kind) == ("event", Class.OK)


@pytest.mark.parametrize(
    ("dialect", "body"),
    [
        ("gemini", {"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}}),
        ("gemini", {"candidates": [{"finishReason": "RECITATION"}]}),
        ("openai", {"choices": [{"message": {"content": ""}, "finish_reason": "content_filter"}]}),
        ("openai", {"object": "response", "status": "incomplete", "incomplete_details": {"reason": "content_filter"}}),
        ("anthropic", {"type": "message", "stop_reason": "refusal", "content": []}),
    ],
)
def test_refusal_to_answer_is_blocked(dialect: str, body: Any) -> None:
    """It is shown, and no other key is asked."""
    reader = read(dialect, body)
    assert reader.first == "event"
    assert outcome(reader) == Outcome(Class.BLOCKED, Scope.REQUEST, other=False)


def test_body_is_held_to_its_end_or_to_the_bound() -> None:
    """White space that keeps a connection alive shows nothing; a long body is shown once it cannot be held."""
    reader = DIALECTS["openai"].reader("POST", "embeddings", "application/json")
    firsts = []
    for piece in (b"\n\n\n", b'{"data":[' + b"1," * (HEAD_BYTES // 4), b"1," * HEAD_BYTES):
        reader.feed(piece)
        firsts.append(reader.first)
    assert firsts == ["waiting", "waiting", "event"]
    reader.feed(b'"a \\"usage\\": {\\"prompt_tokens\\": 1}"],"usage":{"prompt_tokens":8,"total_tokens":8},"x":{"y":1}}')
    reader.close()
    assert reader.usage == Usage(8, None, 8)
    assert reader.complete


@pytest.mark.parametrize("content_type", ["audio/mpeg", "image/png", "application/octet-stream", "text/html"])
def test_binary_is_shown_at_once(content_type: str) -> None:
    """Nothing in it is read."""
    reader = DIALECTS["openai"].reader("POST", "audio/speech", content_type)
    assert reader.first == "event"
    reader.feed(b'{"usage":{"total_tokens":1}}')
    reader.close()
    assert (reader.usage, reader.complete, outcome(reader).kind) == (None, True, Class.OK)


CHUNK = (
    b'data: {"choices":[{"index":0,"delta":{"content":"Hi"},"finish_reason":"stop"}],"usage":{"total_tokens":3}}\n\n'
)


@pytest.mark.parametrize(
    "content_type", ["text/event-stream", "application/json", "text/plain", "", "TEXT/EVENT-STREAM;x=y"]
)
def test_content_types_may_lie(content_type: str) -> None:
    """Events under another name are events, and a body under theirs is a body."""
    stream = read("openai", b"\xef\xbb\xbf: hello\n\n" + CHUNK + b"data: [DONE]\n\n", content_type)
    assert (stream.usage, stream.first, stream.complete) == (Usage(total=3), "event", True)
    error = read("openai", {"error": {"message": "x", "code": 503}}, content_type)
    assert (error.first, outcome(error).kind) == ("error", Class.OVERLOADED)


@pytest.mark.parametrize("content_type", ["application/x-ndjson", "application/jsonl"])
def test_lines_of_json(content_type: str) -> None:
    """Ollama's own stream: the counts stand in its last line."""
    lines = b'{"message":{"content":"Hi"},"done":false}\n{"done":true,"prompt_eval_count":4,"eval_count":2}\n'
    reader = read("plain", lines, content_type)
    assert (reader.usage, reader.first, reader.complete) == (Usage(4, 2, 6), "event", True)


@pytest.mark.parametrize("dialect", ["openai", "anthropic", "gemini"])
@pytest.mark.parametrize("body", [b"", b": keep-alive\n\n: keep-alive\n\n", b"event: ping\n\n", b"\n\n"])
def test_stream_that_says_nothing_is_a_failure(dialect: str, body: bytes) -> None:
    """It may go to another key: nothing was shown."""
    reader = read(dialect, body, "text/event-stream")
    assert reader.first == "error"
    assert outcome(reader) == Outcome(Class.SERVER_ERROR, Scope.PROVIDER, other=True)


@pytest.mark.parametrize(
    "body", [b"", b"  ", b"null", b"[]", b"[0.25, 1]", b'"text"', b"{broken", b'{"a":"\xff"}', b"\xff\xfe"]
)
@pytest.mark.parametrize("dialect", ["openai", "anthropic", "gemini", "plain"])
def test_body_that_is_no_object_passes(dialect: str, body: bytes) -> None:
    """Its length is HTTP's affair."""
    reader = read(dialect, body)
    assert reader.first == "event"
    assert reader.usage is None


@pytest.mark.parametrize(
    ("dialect", "events", "first"),
    [
        ("openai", [b'data: {"choices":[{"delta":{"role":"assistant","content":null}}]}'], "waiting"),
        ("openai", [b'data: {"choices":[],"prompt_filter_results":[{}]}'], "waiting"),
        ("openai", [b'data: {"choices":[{"delta":{"tool_calls":[{"index":0}]}}]}'], "event"),
        ("openai", [b'data: {"choices":[{"delta":{"reasoning_content":"a"}}]}'], "event"),
        ("openai", [b'data: {"choices":[{"text":"a"}]}'], "event"),
        ("openai", [b'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}'], "event"),
        ("openai", [b'data: {"choices":[{"delta":{"content":""}}]}', b'data: {"error":{"message":"x"}}'], "error"),
        ("openai", [b'event: error\ndata: {"type":"error","code":"server_error","message":"x","param":null}'], "error"),
        (
            "openai",
            [
                b'data: {"type":"response.created","response":{}}',
                b'data: {"type":"response.failed","response":{"error":{"code":"rate_limit_exceeded"}}}',
            ],
            "error",
        ),
        ("openai", [b'data: [{"error":{"code":429,"status":"RESOURCE_EXHAUSTED"}}]'], "error"),
        ("openai", [b"data: something else"], "event"),
        ("openai", [b"event: error\ndata: gone"], "error"),
        (
            "anthropic",
            [b'data: {"type":"message_start","message":{}}', b'event: ping\ndata: {"type":"ping"}'],
            "waiting",
        ),
        ("anthropic", [b'data: {"type":"content_block_start","content_block":{"type":"text","text":""}}'], "waiting"),
        ("anthropic", [b'data: {"type":"content_block_stop","index":0}'], "event"),
        ("anthropic", [b'data: {"type":"message_start","message":{}}', b'data: {"type":"error","error":{}}'], "error"),
        ("gemini", [b'data: {"usageMetadata":{"promptTokenCount":7}}'], "waiting"),
        ("gemini", [b'data: {"candidates":[{"content":{"role":"model"}}]}'], "waiting"),
        ("gemini", [b'data: {"candidates":[{"content":{"parts":[]},"finishReason":"MAX_TOKENS"}]}'], "event"),
        ("plain", [b'data: {"type":"message-start"}'], "waiting"),
        ("plain", [b'data: {"whatever":1}'], "event"),
    ],
)
def test_first_event_that_says_something(dialect: str, events: list[bytes], first: str) -> None:
    """Empty beginnings are held; content, a finish and the unknown are shown; an error first is an error."""
    reader = DIALECTS[dialect].reader("POST", "chat/completions", "text/event-stream")
    for event in events:
        reader.feed(event + b"\r\n\r\n")
    assert reader.first == first


def test_error_after_output_counts_and_stays_shown() -> None:
    """What the client has seen cannot be taken back, but the key rests."""
    error = (
        b'data: {"error":{"message":"Rate limit reached. Please try again in 7s.","code":"rate_limit_exceeded"}}\n\n'
    )
    reader = read("openai", CHUNK.replace(b'"stop"', b"null") + error, "text/event-stream")
    assert reader.first == "event"
    assert reader.complete
    assert outcome(reader) == Outcome(Class.RATE_LIMIT_MINUTE, Scope.KEY_MODEL, other=True, delay_s=7.0, bare=True)


def test_words_about_errors_are_no_errors() -> None:
    """The model may write `"error"` and `[DONE]` as it likes."""
    text = json.dumps(
        {"choices": [{"delta": {"content": 'data: [DONE] {"error": {"code": 500}, "usage": {}}'}}]}
    ).encode()
    reader = read("openai", b"data: " + text + b"\n\n" + CHUNK, "text/event-stream")
    assert (outcome(reader).kind, reader.usage) == (Class.OK, Usage(total=3))


def test_the_first_event_that_says_an_error_is_kept_in_part() -> None:
    """What was said before it is not, nor more of it than of any error that is held back."""
    said = json.dumps({"error": {"message": "x" * 2 * HEAD_BYTES}})
    text = f'data: {{"choices":[{{"delta":{{"content":"a"}}}}]}}\n\ndata: {said}\n\ndata: {{"error":{{"code":1}}}}\n\n'
    reader = read("openai", text.encode(), "text/event-stream")
    assert reader.failing == said.encode()[:HEAD_BYTES]
    assert read("openai", b"data: [DONE]\n\n", "text/event-stream").failing == b""


@pytest.mark.parametrize(
    ("dialect", "body"),
    [
        ("plain", {"type": ["string", "null"]}),  # JSON Schema's
        ("plain", {"type": {"name": "x"}}),
        ("anthropic", {"type": ["message"]}),
        ("anthropic", {"type": "message", "content": [], "stop_reason": ["end_turn"]}),
        ("openai", {"choices": [{"text": "", "finish_reason": {"type": "stop"}}]}),
        ("gemini", {"candidates": [{"content": {"parts": [{"text": "x"}]}, "finishReason": ["STOP"]}]}),
        ("gemini", {"candidates": [], "promptFeedback": {"blockReason": {}}, "x": 1}),
    ],
)
@pytest.mark.parametrize("content_type", ["application/json", "text/event-stream"])
def test_a_value_of_another_type_than_its_dialect_has_is_read_all_the_same(
    dialect: str, body: object, content_type: str
) -> None:
    """Who asked gets what came, whatever its fields hold."""
    data = json.dumps(body).encode()
    reader = read(dialect, b"data: %s\n\n" % data if "event" in content_type else data, content_type)
    assert reader.first == "event"


@pytest.mark.parametrize("text", [b"id: 1\nname: x\n", b"data: [1, 2]\n", b"[00:01 hello and so on", b"retry: 3\n"])
@pytest.mark.parametrize("content_type", ["text/plain; charset=utf-8", ""])
def test_a_text_that_only_begins_like_a_stream_is_no_stream_that_was_cut(text: bytes, content_type: str) -> None:
    """A transcript, or a file of any server that calls it a text: nobody asks another key, nothing is added."""
    reader = read("openai", text, content_type, "audio/transcriptions")
    assert (reader.first, reader.is_stream, reader.complete, reader.pending) == ("event", False, True, 0)
    assert outcome(reader).kind is Class.OK


@pytest.mark.parametrize(
    "text", [b"event: x\n", b'data: {"a":1}', b'{"error":{"message":"x","code":429}}', b'{"error":"x"}']
)
@pytest.mark.parametrize("content_type", ["text/plain", "text/event-stream", "application/json"])
@pytest.mark.parametrize("dialect", ["openai", "anthropic"])
def test_what_is_in_a_file_is_its_owners(dialect: str, text: bytes, content_type: str) -> None:
    reader = read(dialect, text, content_type, "files/file-1/content")
    assert (reader.first, reader.is_stream, reader.complete) == ("event", False, True)
    assert outcome(reader).kind is Class.OK
