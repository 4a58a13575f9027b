"""A 2xx is held back as long as it may still be an error, and its cost is read while it passes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sidecar.model.classes import Class, Scope
from sidecar.model.words import Outcome, Usage
from sidecar.providers.catalogue import DIALECTS, preset
from sidecar.providers.dialect import HEAD_BYTES, Answer, Reader

PROVIDER = preset("openai").at("https://api.openai.com/v1")


def outcome(reader: Reader) -> Outcome:
    return reader.outcome(PROVIDER, Answer(200, {}, b"", 1_791_300_000.0))


def read(dialect: str, body: object, content_type: str = "application/json", operation: str = "") -> Reader:
    """A body that comes in two pieces."""
    operation = operation or {"anthropic": "messages", "gemini": "models/g:generateContent"}.get(
        dialect, "chat/completions"
    )
    reader = DIALECTS[dialect].reader(operation, content_type)
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    reader.feed(data[: len(data) // 2])
    reader.feed(data[len(data) // 2 :])
    reader.close()
    return reader


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


@pytest.mark.parametrize(
    "operation", ["chat/completions", "embeddings/", "v1/responses", "openai/deployments/d/images/edits"]
)
def test_what_generates_costs(operation: str) -> None:
    """Wherever it lies; what was stored costs nothing when it is read again."""
    body = {"id": "x", "object": "y", "usage": {"total_tokens": 3}}
    assert read("openai", body, operation=operation).usage == Usage(total=3)
    assert read("openai", body, operation=f"{operation.strip('/')}/x_1").usage is None


def test_body_is_held_to_its_end_or_to_the_bound() -> None:
    """White space that keeps a connection alive shows nothing; a long body is shown once it cannot be held."""
    reader = DIALECTS["openai"].reader("embeddings", "application/json")
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
    reader = DIALECTS["openai"].reader("audio/speech", content_type)
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
    reader = DIALECTS[dialect].reader("chat/completions", "text/event-stream")
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


def test_a_streams_later_usage_keeps_what_its_first_told_of_the_cache() -> None:
    """Anthropic's last event may tell the output alone."""
    reader = DIALECTS["anthropic"].reader("messages", "text/event-stream")
    told = {"input_tokens": 15, "cache_creation_input_tokens": 7, "cache_read_input_tokens": 4, "output_tokens": 1}
    delta = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 9}}
    for event in ({"type": "message_start", "message": {"usage": told}}, delta):
        reader.feed(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode())
    assert reader.usage == Usage(26, 9, 35, 4)


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
