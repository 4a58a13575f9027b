"""How a call is written in each dialect, and how the stream that answers it says that it is over. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

ANSWER = re.compile(rb'"(?:id|responseId)":"(?:chatcmpl-|msg_|resp_|simulated-)0*(\d+)"')  # the arrival's number
MODEL = re.compile(rb'"(?:model|modelVersion)":"([^"]*)"')
SIGN = b": waiting\n\n"  # a stream's, before its provider says anything

Body = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Dialect:
    """`path` of a model's call, of a stream or not; its body, from text, most tokens and whether it streams; and what
    the data of the last event looks like in a stream that is whole."""

    path: Callable[[str, bool], str]
    body: Callable[[str, str, int, bool], Body]
    is_last: Callable[[bytes], bool]


def _chat(model: str, text: str, most: int, stream: bool) -> Body:
    return {"model": model, "messages": [{"role": "user", "content": text}], "max_tokens": most, "stream": stream}


def _responses(model: str, text: str, most: int, stream: bool) -> Body:
    return {"model": model, "input": text, "max_output_tokens": most, "stream": stream, "store": False}


def _gemini(_model: str, text: str, most: int, _stream: bool) -> Body:
    return {"contents": [{"parts": [{"text": text}]}], "generationConfig": {"maxOutputTokens": most}}


def _verb(model: str, stream: bool) -> str:
    return f"/v1beta/models/{model}:" + ("streamGenerateContent?alt=sse" if stream else "generateContent")


CHAT = Dialect(lambda *_: "/v1/chat/completions", _chat, lambda data: data == b"[DONE]")
RESPONSES = Dialect(
    lambda *_: "/v1/responses", _responses, lambda data: b'"type":"response.' in data[:40] and b'"usage":{' in data
)
MESSAGES = Dialect(lambda *_: "/v1/messages", _chat, lambda data: data == b'{"type":"message_stop"}')
GEMINI = Dialect(_verb, _gemini, lambda data: b'"finishReason"' in data)
DIALECTS: Mapping[str, tuple[Dialect, str]] = {
    "chat": (CHAT, "roomy/gpt-4o"),
    "responses": (RESPONSES, "roomy/gpt-4o"),
    "messages": (MESSAGES, "claude/claude-sonnet"),
    "gemini": (GEMINI, "google/gemini-flash"),
}


@dataclass(frozen=True, slots=True)
class End:
    """How a stream ended: with its last word, with an error, or as if nothing were amiss, though it was not whole."""

    how: Literal["whole", "error", "silent"]
    text: str = ""  # of the error
    status: int = 0  # that it names


def end(dialect: Dialect, body: bytes) -> End:
    """How this stream ended, which HTTP says is all there."""
    events = [event for event in re.split(rb"\r?\n\r?\n", body) if event.strip()]
    last = (
        b"".join(line[5:].strip() for line in events[-1].splitlines() if line.startswith(b"data:")) if events else b""
    )
    if dialect.is_last(last):
        return End("whole")
    try:
        told = json.loads(last)
    except ValueError:
        return End("silent", body[-200:].decode(errors="replace"))
    error = told.get("error") if isinstance(told, dict) else None
    if not isinstance(error, dict):
        return End("silent", body[-200:].decode(errors="replace"))
    status = error.get("status") or told.get("status") or error.get("code")
    return End("error", last.decode(errors="replace")[:300], status if isinstance(status, int) else 0)
