"""The Anthropic dialect: messages and what lies beside them, at Anthropic and those who imitate it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, unquote

import orjson

from sidecar.model.configured import Provider
from sidecar.model.outcomes import Outcome
from sidecar.providers import jsonhead, multipart, refusals, sse
from sidecar.providers.answers import EMPTY, SHOWS, AnswerReader, Grammar, Look
from sidecar.providers.dialect import Answer, Body, Pieces, Reader, Reading
from sidecar.providers.edits import NOTHING, Edits

_NEED_MODEL = frozenset({"messages", "messages/count_tokens"})
_MODEL_PATHS = frozenset({("model",)})
_MODEL_OPERATION = re.compile(r"models/(?P<model>[^?]+)")
_CONTENT = re.compile(r"files/[^/]+/content/?")
_OWN = re.compile(r"(?:(?:.*/)?v1/)?(?:messages|complete)(?:/.*)?")  # a thread of OpenAI has messages too
_GENERATING = re.compile(r"(?:^|/)(?:messages|complete)/?$")
_EMPTY_TYPES = frozenset({"message_start", "content_block_start", "ping"})

# An answer for which the input left no room (docs.claude.com/en/api/handling-stop-reasons), as the error that it is.
_TOO_LONG = {"type": "invalid_request_error", "code": "model_context_window_exceeded"}
# docs.claude.com/en/api/errors
_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}


class Anthropic:
    name = "anthropic"

    def read_call(self, method: str, operation: str, content_type: str, body: Body) -> Reading:
        operation = operation.strip("/")
        if method != "POST":
            found = _MODEL_OPERATION.fullmatch(operation)
            return Reading(unquote(found["model"]) if found else None, False, method in {"GET", "HEAD"})
        needed = operation in _NEED_MODEL
        if multipart.is_form(content_type) and not needed:
            return Reading(None, False, False)
        head = jsonhead.required(body) if needed else jsonhead.optional(body, content_type)
        return Reading(head.model, head.stream, needed)

    def rewrite(
        self, operation: str, content_type: str, body: Body, model: str, also: Edits = NOTHING
    ) -> tuple[str, Pieces]:
        if _MODEL_OPERATION.fullmatch(operation):
            return f"models/{quote(model, safe='/:')}", [body]
        return operation, jsonhead.edit(body, also.renaming(_MODEL_PATHS, lambda _: model))

    def ask_usage(self, operation: str, body: Body) -> Pieces | None:
        return None  # its streams tell it unasked

    def without_usage(self, events: bytes) -> bytes:
        return events

    def classify(self, provider: Provider, answer: Answer) -> Outcome:
        return refusals.classify(provider, answer)

    def knows(self, operation: str) -> bool:
        return _OWN.fullmatch(operation) is not None

    def reader(self, method: str, operation: str, content_type: str) -> Reader:
        """What is in a file is its owner's. A session tells all that it ever cost, and its events have no last one."""
        if _CONTENT.fullmatch(operation):
            content_type = "application/octet-stream"
        generates = method == "POST" and _GENERATING.search(operation)
        return AnswerReader(_GENERATES if generates else _OTHER, content_type)

    def write_error(self, status: int, code: str, message: str) -> bytes:
        kind = _TYPES.get(status, "api_error" if status >= 500 else "invalid_request_error")
        return orjson.dumps({"type": "error", "error": {"type": kind, "message": message}})

    def write_error_event(self, operation: str, status: int, error: bytes) -> bytes:
        """docs.claude.com/en/api/messages-streaming, "Error events"."""
        return sse.event("error", sse.with_status(error, status))

    def write_sign(self, operation: str, query: str) -> bytes:
        return sse.COMMENT

    def write_models(self, names: tuple[str, ...]) -> bytes:
        models = [
            {"type": "model", "id": name, "display_name": name, "created_at": "1970-01-01T00:00:00Z"} for name in names
        ]
        ends = {"first_id": names[0] if names else None, "last_id": names[-1] if names else None}
        return orjson.dumps({"data": models, "has_more": False} | ends)


def look(name: str, value: Mapping[str, Any]) -> Look:
    """One event of a stream, or a whole message."""
    kind = str(value.get("type", ""))
    if kind == "error" or name == "error" or ("type" not in value and value.get("error")):
        return Look(error={"error": value.get("error") or value})
    if kind in _EMPTY_TYPES:
        return EMPTY
    delta = value.get("delta")
    if kind == "content_block_delta":
        empty = isinstance(delta, dict) and not any(text for name, text in delta.items() if name != "type")
        return EMPTY if empty else SHOWS
    reason = (delta if kind == "message_delta" and isinstance(delta, dict) else value).get("stop_reason")
    over = kind in {"content_block_stop", "message_delta", "message_stop"} or value.get("content") == []
    too_long = over and reason == _TOO_LONG["code"]
    hollow = too_long or (over and reason in (None, "end_turn", "stop_sequence"))
    finishes = kind == "message_stop" or bool(reason)
    return Look(True, finishes, reason == "refusal", hollow, error={"error": _TOO_LONG} if too_long else None)


_GENERATES = Grammar(look, ends=True)
_OTHER = Grammar(look, ends=False, speaks=False, costs=False)
