"""Any other HTTP API: nothing is demanded of a call, and of an answer is read what is plainly there."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, unquote

import orjson

from sidecar.model.configured import Provider
from sidecar.model.outcomes import Outcome
from sidecar.providers import belonging, jsonhead, refusals, sse
from sidecar.providers.answers import AnswerReader, Grammar, Look
from sidecar.providers.dialect import Answer, Body, Dialect, Pieces, Reader, Reading
from sidecar.providers.edits import NOTHING, Edits

_LONGEST_NAME = 256  # bytes; what is longer is no model's name but some other API's field
_MODEL_PATHS = frozenset({("model",)})
_IN_PATH = re.compile(r"(?P<before>(?:.*/)?models/)(?P<model>[^/:]+)(?P<verb>:\w+)")
_CONTENT = re.compile(r"(?:^|/)files/[^/]+/content/?$|:download$")
_EMPTY_TYPES = frozenset({"message-start", "content-start", "message_start", "content_block_start", "ping"})
_AROUND_ERRORS = frozenset({"error", "type", "request_id", "user_id", "code", "status", "message", "id"})


class Plain:
    name = "plain"

    def read_call(self, method: str, operation: str, content_type: str, body: Body) -> Reading:
        found = _IN_PATH.fullmatch(operation)
        head = jsonhead.tolerant(body)
        model = unquote(found["model"]) if found else head.model
        return Reading(model if model and _is_name(model) else None, head.stream, method in {"GET", "HEAD"})

    def rewrite(
        self, operation: str, content_type: str, body: Body, model: str, also: Edits = NOTHING
    ) -> tuple[str, Pieces]:
        found = _IN_PATH.fullmatch(operation)
        if found:
            return f"{found['before']}{quote(model, safe='')}{found['verb']}", [body]
        if jsonhead.looks_like_json(body):
            return operation, jsonhead.edit(body, also.renaming(_MODEL_PATHS, lambda _: model))
        return operation, [body]

    def ask_usage(self, operation: str, body: Body) -> Pieces | None:
        return None  # its streams tell it unasked

    def without_usage(self, events: bytes) -> bytes:
        return events

    def classify(self, provider: Provider, answer: Answer) -> Outcome:
        return refusals.classify(provider, answer)

    def knows(self, operation: str) -> bool:
        return False

    def reader(self, method: str, operation: str, content_type: str) -> Reader:
        """What is in a file is its owner's."""
        if _CONTENT.search(operation):
            content_type = "application/octet-stream"
        return AnswerReader(_ANSWERS if method == "POST" else _LOOKS, content_type)

    def write_error(self, status: int, code: str, message: str) -> bytes:
        return orjson.dumps({"error": {"status": status, "code": code, "message": message}})

    def write_error_event(self, operation: str, status: int, error: bytes) -> bytes:
        return sse.event("error", orjson.loads(error))

    def write_sign(self, operation: str, query: str) -> bytes:
        return b""

    def write_models(self, names: tuple[str, ...]) -> bytes:
        return orjson.dumps({"models": list(names)})


class Beside(Plain):
    """What a provider serves beside its dialect: read as plain HTTP, but the sidecar's errors are the dialect's."""

    def __init__(self, own: Dialect) -> None:
        self._own = own

    def reader(self, method: str, operation: str, content_type: str) -> Reader:
        """What looks at a thing, or does something with it, tells that one's errors, and what it once cost."""
        if method != "POST" or belonging.named_in_path(operation):
            return self._own.reader(method, operation, content_type)
        return super().reader(method, operation, content_type)

    def write_error(self, status: int, code: str, message: str) -> bytes:
        return self._own.write_error(status, code, message)

    def write_error_event(self, operation: str, status: int, error: bytes) -> bytes:
        return self._own.write_error_event(operation, status, error)


def _is_name(text: str) -> bool:
    return text.isprintable() and len(text.encode("utf-8", "replace")) <= _LONGEST_NAME


def look(_name: str, value: Mapping[str, Any]) -> Look:
    """An `error` counts where it has the shape of an LLM provider's and nothing stands beside it that was asked for."""
    error = value.get("error")
    if isinstance(error, dict) and error.get("message") and _AROUND_ERRORS.issuperset(value):
        known = any(isinstance(error.get(key), str) for key in ("type", "status")) or _is_status(error.get("code"))
        if known:
            return Look(error={"error": error})
    return Look(shows=str(value.get("type")) not in _EMPTY_TYPES)


def _is_status(code: object) -> bool:
    return isinstance(code, int) and 400 <= code <= 599


_ANSWERS = Grammar(look, ends=False, speaks=False)
_LOOKS = Grammar(look, ends=False, speaks=False, costs=False)
