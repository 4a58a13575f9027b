"""The OpenAI dialect: chat, responses, embeddings and what else lies under /v1, at OpenAI and those who imitate it."""

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
from sidecar.providers.edits import NOTHING, Added, Edits

_NEED_MODEL = frozenset({"chat/completions", "completions", "embeddings"})
_RETRY_SAFE = _NEED_MODEL | {"responses", "moderations", "responses/input_tokens"}
# Also below a path of another API's own, as /pools/<pool>/... forwards it.
_GENERATING = re.compile(
    r"(?:^|/)(?:(?:chat/)?completions|embeddings|responses(?:/input_tokens|/compact)?|moderations|decisions"
    r"|(?:audio|images)/\w+|threads/(?:[^/]+/)?runs|threads/[^/]+/runs/[^/]+/submit_tool_outputs)/?$"
)
_AGAIN = re.compile(r"(?:^|/)responses/[^/]+/?$")  # a stored response's events may be streamed once more
_COUNTED_STREAMS = re.compile(r"(?:^|/)(?:chat/)?completions/?$")
_CONTENT = re.compile(r"(?:^|/)content/?$")
_OPTIONS = ("stream_options",)
_MODEL_PATHS = frozenset({("model",)})
_MODEL_OPERATION = re.compile(r"models/(?P<model>[^?]+)")

_EMPTY_TYPES = frozenset({
    "response.created", "response.queued", "response.in_progress", "response.output_item.added",
    "response.content_part.added", "response.reasoning_summary_part.added", "keepalive", "ping",
})  # fmt: skip
_LAST_TYPES = frozenset({"response.completed", "response.incomplete", "response.failed", "response.cancelled"})


class OpenAI:
    name = "openai"

    def read_call(self, method: str, operation: str, content_type: str, body: Body) -> Reading:
        operation = operation.strip("/")
        if method != "POST":
            found = _MODEL_OPERATION.fullmatch(operation)
            return Reading(unquote(found["model"]) if found else None, False, method in {"GET", "HEAD"})
        if operation in _NEED_MODEL:
            head = jsonhead.required(body)
        elif multipart.is_form(content_type):
            head = multipart.read(content_type, body)
        else:
            head = jsonhead.optional(body, content_type)
        return Reading(head.model, head.stream, operation in _RETRY_SAFE)

    def rewrite(
        self, operation: str, content_type: str, body: Body, model: str, also: Edits = NOTHING
    ) -> tuple[str, Pieces]:
        if _MODEL_OPERATION.fullmatch(operation):
            return f"models/{quote(model, safe='/:')}", [body]
        if multipart.is_form(content_type):
            return operation, multipart.replace(content_type, body, model)
        return operation, jsonhead.edit(body, also.renaming(_MODEL_PATHS, lambda _: model))

    def ask_usage(self, operation: str, body: Body) -> Pieces | None:
        """As `stream_options` of chat/completions and completions has it (developers.openai.com/api/reference)."""
        if not _COUNTED_STREAMS.search(operation):
            return None
        asking = jsonhead.edit(body, _ASKING_USAGE)
        return asking if len(asking) > 1 else None

    def without_usage(self, events: bytes) -> bytes:
        """Without the chunk whose `choices` are empty. The `usage: null` of the others stays."""
        if b'"usage"' not in events or b"[]" not in events:
            return events
        return sse.without(events, _only_usage)

    def classify(self, provider: Provider, answer: Answer) -> Outcome:
        return refusals.classify(provider, answer)

    def knows(self, operation: str) -> bool:
        return bool(_GENERATING.search(operation) or _AGAIN.search(operation))

    def reader(self, method: str, operation: str, content_type: str) -> Reader:
        """Outside of what generates, `error` and `usage` are part of what was asked for: a job, a stored response; and
        nobody knows how other streams end. What is in a file is its owner's."""
        if _CONTENT.search(operation):
            content_type = "application/octet-stream"
        if method == "POST" and _GENERATING.search(operation):
            return AnswerReader(_GENERATES, content_type)
        return AnswerReader(_RETRIEVES if _AGAIN.search(operation) else _OTHER, content_type)

    def write_error(self, status: int, code: str, message: str) -> bytes:
        error = {"message": message, "type": _TYPES.get(status, _other_type(status)), "param": None, "code": code}
        return orjson.dumps({"error": error})

    def write_error_event(self, operation: str, status: int, error: bytes) -> bytes:
        """Chat's streams have nameless events; the others' name their type (openai-python, `_streaming.py`, raises for
        an `error` in either; types/responses/response_error_event.py)."""
        if operation.strip("/").endswith("completions"):
            return sse.event("", sse.with_status(error, status))
        return sse.event("error", sse.with_status(error, status) | {"type": "error"})

    def write_sign(self, operation: str, query: str) -> bytes:
        return sse.COMMENT

    def write_models(self, names: tuple[str, ...]) -> bytes:
        models = [{"id": name, "object": "model", "created": 0, "owned_by": "sidecar"} for name in names]
        return orjson.dumps({"object": "list", "data": models})


def _with_usage(options: bytes) -> bytes:
    """The same `stream_options` with usage asked for; what is no object stays, to be refused."""
    value = orjson.loads(options)
    if not isinstance(value, dict | None) or (value or {}).get("include_usage") is True:
        return options
    return orjson.dumps((value or {}) | {"include_usage": True})


_ASKING_USAGE = Edits({_OPTIONS: _with_usage}, {_OPTIONS: Added(b'{"include_usage":true}')})


def _only_usage(data: bytes) -> bool:
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError:
        return False
    return isinstance(value, dict) and value.get("choices") == [] and isinstance(value.get("usage"), dict)


_TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}


def _other_type(status: int) -> str:
    return "server_error" if status >= 500 else "invalid_request_error"


# --- what an event says -----------------------------------------------------------------------------


def look(name: str, value: Mapping[str, Any]) -> Look:
    """One chunk of a stream, or a whole answer."""
    error = _error(name, value)
    choices = value.get("choices")
    said = _choices(value, choices) if isinstance(choices, list) else _typed(value)
    return said if error is None else Look(said.shows, said.finishes, error=error)


def _retrieved(name: str, value: Mapping[str, Any]) -> Look:
    """As `look`, for what may hold the error of something else: a failed job, a line of a batch's output."""
    kept = ("object" in value or "id" in value) and value.get("object") != "error"
    return _typed(value) if kept else look(name, value)


def _error(name: str, value: Mapping[str, Any]) -> object:
    """The error in its own words, without what stands around it: a response repeats the caller's instructions."""
    kind = value.get("type")
    response = value.get("response")
    if kind == "response.failed" and isinstance(response, dict):
        return {"error": response.get("error") or "failed"}
    error = value.get("error")
    if error:
        return {"error": error, "code": value.get("code")} if isinstance(error, dict | str) else None
    flat = name == "error" or kind == "error" or value.get("object") == "error"
    if flat or (isinstance(kind, str) and kind.endswith("_error") and "message" in value):
        return {key: told for key, told in value.items() if not (key == "type" and told == "error")}
    return None


def _choices(value: Mapping[str, Any], choices: list[Any]) -> Look:
    told = [choice.get("finish_reason") for choice in choices if isinstance(choice, dict)]
    reasons = [str(reason) for reason in told if reason]
    finishes = bool(reasons) or value.get("object") == "chat.completion.done"
    said = any(_says(choice) for choice in choices) or (not choices and isinstance(value.get("usage"), dict))
    if finishes or not any(isinstance(choice, dict) and "delta" in choice for choice in choices):
        hollow = not any(map(_has_content, choices)) and not {"content_filter", "length"}.intersection(reasons)
        return Look(finishes or said, finishes, "content_filter" in reasons, hollow)
    return SHOWS if said else EMPTY


def _has_content(choice: object) -> bool:
    """Whether there is anything in it: text, a refusal, what it thought, a tool's call."""
    if not isinstance(choice, dict):
        return True
    said = choice.get("delta") or choice.get("message")
    parts = {"text": choice.get("text")} | (said if isinstance(said, dict) else {})
    return any(text for name, text in parts.items() if name != "role")


def _says(choice: object) -> bool:
    if not isinstance(choice, dict):
        return True
    delta = choice.get("delta")
    if isinstance(delta, dict) and any(text for name, text in delta.items() if name != "role"):
        return True
    return bool(choice.get("message") or choice.get("text"))


def _typed(value: Mapping[str, Any]) -> Look:
    """An event that names its type (responses, transcriptions, images), or a whole answer without choices."""
    kind = str(value.get("type", ""))
    if kind in _EMPTY_TYPES or (kind.endswith(".delta") and value.get("delta") == ""):
        return EMPTY
    if kind and not _ends(kind):
        return SHOWS
    inner = value.get("response")
    response = inner if isinstance(inner, dict) else value
    hollow = response.get("output") == [] and not response.get("incomplete_details")
    return Look(finishes=bool(kind), blocks=_filtered(response), hollow=hollow)


def _ends(kind: str) -> bool:
    """The parts of a response are `done` before it is; of everything else there is one part."""
    return kind in _LAST_TYPES if kind.startswith("response.") else kind.endswith((".done", ".completed"))


def _filtered(response: Mapping[str, Any]) -> bool:
    details = response.get("incomplete_details")
    return isinstance(details, dict) and details.get("reason") == "content_filter"


_GENERATES = Grammar(look, ends=True)
_RETRIEVES = Grammar(_retrieved, ends=True, costs=False)
_OTHER = Grammar(_retrieved, ends=False, speaks=False, costs=False)
