"""Reads what an error body says, whichever shape it has: codes, sentences, Google's typed details, repeated headers.

Seen shapes: an object or a string under `error`, fields at the top, `detail` (Mistral, FastAPI), RFC 7807 `title`, all
of it in an array (Google's OpenAI-compatible paths), an error written out as a string inside another's `message` or
`metadata.raw` (OpenRouter, gateways), an event of a stream, plain text, HTML, nothing. Content types are not asked.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from sidecar.providers import delays
from sidecar.providers.dialect import Answer
from sidecar.providers.signs import Sign

_SENTENCES = frozenset(
    {"message", "detail", "details", "error", "error_description", "error_message", "msg", "title", "raw", "errors"}
)
_CODES = frozenset({"type", "code", "status", "reason", "error_type", "error_code", "limit_source", "errorcode"})
_WAITS = {
    "retry_after": "retry-after",
    "retry_after_seconds": "retry-after",
    "retryafter": "retry-after",
    "resets_in_seconds": "retry-after",
    "reset_after": "retry-after",
    "resets_at": "retry-after",
    "retry_after_ms": "retry-after-ms",
}
_DEEPEST = 8
_SENTENCE = 4096

# What the error inside a 200 would have been as a status (OpenAI, Anthropic and google.rpc.Code references).
_STATUS = {
    "invalid_request_error": 400, "invalid_argument": 400, "failed_precondition": 400, "out_of_range": 400,
    "invalid_prompt": 400, "context_length_exceeded": 400,
    "authentication_error": 401, "unauthenticated": 401, "invalid_api_key": 401,
    "billing_error": 402, "insufficient_credits": 402, "insufficient_balance": 402,
    "permission_error": 403, "permission_denied": 403,
    "not_found_error": 404, "not_found": 404, "model_not_found": 404,
    "request_too_large": 413,
    "rate_limit_error": 429, "rate_limit_exceeded": 429, "resource_exhausted": 429, "insufficient_quota": 429,
    "rate_limited": 429, "too_many_requests": 429, "rate_limit_reached_error": 429, "usage_limit_reached": 429,
    "too_many_requests_error": 429,
    "cancelled": 499,
    "api_error": 500, "server_error": 500, "internal": 500, "internal_server_error": 500, "internal_error": 500,
    "unavailable": 503, "service_unavailable": 503, "server_overloaded": 503, "engine_overloaded_error": 503,
    "slow_down": 503,
    "timeout_error": 504, "deadline_exceeded": 504,
    "overloaded_error": 529,
}  # fmt: skip


@dataclass(slots=True)
class Fault:
    """An error as facts. Codes and text are in lower case; names of headers too."""

    status: int
    now_s: float  # the answer's own Date, else the clock
    headers: Mapping[str, str]
    codes: dict[str, None] = field(default_factory=dict)  # in the body's order
    sentences: list[str] = field(default_factory=list)
    details: list[Mapping[str, Any]] = field(default_factory=list)  # Google's, each with its `@type`
    named: dict[str, str] = field(default_factory=dict)  # headers that the body repeats, and waits it names
    upstream: bool = False  # a reseller (OpenRouter) says that it was the provider behind it
    html: bool = False

    @property
    def text(self) -> str:
        return "\n".join(self.sentences)

    def says(self, pattern: re.Pattern[str]) -> bool:
        return any(pattern.search(sentence) for sentence in self.sentences)

    def coded(self, sign: Sign) -> bool:
        return not sign.codes.isdisjoint(self.codes)

    def shows(self, sign: Sign) -> bool:
        """By a code, or in words; those of a page for people mean nothing."""
        return self.coded(sign) or (not self.html and self.says(sign.words))


def of_answer(answer: Answer) -> Fault:
    """What an answer that is no 2xx says."""
    fault = _empty(answer, answer.status)
    text = answer.head.decode("utf-8", "replace").lstrip("\ufeff \t\r\n")
    value = _parsed(text)
    if value is not None:
        _harvest(fault, "error", value, 0)
    elif text[:1] == "<":
        fault.html = True
        fault.sentences.append(text[:_SENTENCE].lower())
    elif text:
        _harvest(fault, "error", _event_data(text), 0)
    return fault


def as_object(body: bytes) -> bytes | None:
    """An error's JSON body as one object that holds an `error`, which Google's compatible paths put into an array."""
    try:
        value = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return None
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    return msgspec.json.encode(value) if isinstance(value, dict) and value.get("error") else None


def of_error(answer: Answer, error: object) -> Fault:
    """What an error inside a 2xx says, with the status that it would have had."""
    fault = _empty(answer, 500)
    _harvest(fault, "error", error, 0)
    numbers = [int(code) for code in fault.codes if code.isdecimal() and len(code) == 3 and "400" <= code <= "599"]
    known = [_STATUS[code] for code in fault.codes if code in _STATUS]
    fault.status = numbers[0] if numbers else max(known, default=500)
    return fault


def _empty(answer: Answer, status: int) -> Fault:
    date = delays.date(answer.headers.get("date", ""))
    return Fault(status, answer.now_s if date is None else date, answer.headers)


def _event_data(text: str) -> object:
    """The JSON of an error that was sent as an event of a stream, else the text itself."""
    data = "\n".join(line[5:].strip() for line in text.splitlines() if line.startswith("data:"))
    return _parsed(data) or text


def _parsed(text: str) -> object:
    if text[:1] not in {"{", "["}:
        return None
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError, ValueError):
        return _beginning(text)


def _beginning(text: str) -> object:
    """The first JSON value of a text that goes on behind it, or holds what only lenient readers take."""
    try:
        value: object = json.JSONDecoder(strict=False).raw_decode(text)[0]
    except (ValueError, RecursionError):
        return None
    return value


def _harvest(fault: Fault, key: str, value: object, depth: int) -> None:
    """Gathers from a value what its key promises, and from all that is inside it."""
    if depth > _DEEPEST:
        return
    if isinstance(value, dict):
        _harvest_object(fault, value, depth)
    elif isinstance(value, list):
        for item in value[:32]:
            _harvest(fault, key, item, depth + 1)
    elif isinstance(value, str):
        _harvest_text(fault, key, value, depth)
    elif key in _CODES and isinstance(value, int) and not isinstance(value, bool):
        fault.codes[str(value)] = None
    elif key in _WAITS and isinstance(value, int | float) and not isinstance(value, bool):
        fault.named.setdefault(_WAITS[key], str(value))


def _harvest_object(fault: Fault, value: Mapping[str, Any], depth: int) -> None:
    if "@type" in value:
        fault.details.append(value)
    if value.get("provider_name"):
        fault.upstream = True
    for name, inner in value.items():
        if name == "headers" and isinstance(inner, dict):
            fault.named |= {str(header).lower(): str(text) for header, text in inner.items()}
        else:
            _harvest(fault, name.lower(), inner, depth + 1)


def _harvest_text(fault: Fault, key: str, text: str, depth: int) -> None:
    """A code with a reason behind it (xAI: `unauthenticated:bad-credentials`) is known without the reason too."""
    inner = _parsed(text.strip()) if key in _SENTENCES else None
    if inner is not None:
        _harvest(fault, "error", inner, depth + 1)
    elif key in _SENTENCES:
        sentence = text[:_SENTENCE].lower()
        if sentence not in fault.sentences:
            fault.sentences.append(sentence)
    elif key in _CODES:
        code = text[:_SENTENCE].lower()
        fault.codes |= {code: None, code.partition(":")[0]: None}
    elif key in _WAITS:
        fault.named.setdefault(_WAITS[key], text)
