"""Gemini's own dialect: model and verb are in the path, and the body repeats the model where it nests requests."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, unquote

import orjson

from sidecar.model.configured import Provider
from sidecar.model.outcomes import Outcome
from sidecar.providers import jsonhead, refusals, sse
from sidecar.providers.answers import EMPTY, AnswerReader, Grammar, Look
from sidecar.providers.dialect import Answer, BadCall, Body, Pieces, Reader, Reading
from sidecar.providers.edits import ANY, NOTHING, Edits

_CALL = re.compile(
    r"(?P<before>(?:publishers/[^/]+/)?)(?P<kind>models|tunedModels)/(?P<model>.*?)(?P<verb>(?::|%3[Aa])\w+)"
)
_NAMED = re.compile(r"(?P<before>)(?P<kind>models|tunedModels)/(?P<model>[^/]+)(?P<verb>)")
_STREAMS = "streamGenerateContent"
COLLECTION = "models/"  # before a model's name
_INTERACTION = re.compile(r"(?:^|/)interactions(?:/[^/]+)?/?$")  # or one that goes on to be streamed
_COSTING = re.compile(
    r"(?::|%3a)(?:stream|batch)?(?:generate|embed)\w+$|(?:^|/)(?:interactions|cachedContents|decisions)/?$",
    re.IGNORECASE,
)
_RETRY_SAFE = frozenset({
    "generateContent", _STREAMS, "countTokens", "computeTokens", "embedContent", "batchEmbedContents", "embedText",
    "batchEmbedText", "generateText", "generateMessage", "countTextTokens", "countMessageTokens", "generateAnswer",
})  # fmt: skip
# Google refuses a body whose model is not the path's.
_MODEL_PATHS = frozenset({
    ("model",), ("requests", ANY, "model"), ("generateContentRequest", "model"), ("generate_content_request", "model"),
    ("requests", ANY, "generateContentRequest", "model"), ("batch", "model"),
})  # fmt: skip

_BLOCKS = frozenset({
    "SAFETY", "RECITATION", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "MODEL_ARMOR",
    "IMAGE_SAFETY", "IMAGE_PROHIBITED_CONTENT", "IMAGE_RECITATION",
})  # fmt: skip
_UNSAID = frozenset({"", "BLOCK_REASON_UNSPECIFIED", "FINISH_REASON_UNSPECIFIED"})
_BEGINNINGS = frozenset({"interaction.created", "interaction.status_update"})
_EMPTY = frozenset({"usageMetadata", "modelVersion", "responseId", "createTime", "promptFeedback", "modelStatus"})

# google.rpc.Code
_STATUS = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    409: "ABORTED",
    413: "INVALID_ARGUMENT",
    429: "RESOURCE_EXHAUSTED",
    501: "UNIMPLEMENTED",
    502: "UNAVAILABLE",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}


class Gemini:
    name = "gemini"

    def read_call(self, method: str, operation: str, content_type: str, body: Body) -> Reading:
        found = _CALL.fullmatch(operation)
        if found is None:
            named = _NAMED.fullmatch(operation)
            if named or method != "POST":
                return Reading(_model(named) if named else None, False, method in {"GET", "HEAD"})
            # A cached content or an interaction names its model there alone.
            head = jsonhead.tolerant(body)
            streams = head.stream and _INTERACTION.search(operation) is not None
            return Reading(head.model.removeprefix(COLLECTION) if head.model else None, streams, False)
        if not found["model"]:
            raise BadCall("The path must name a model: models/<name>:<verb>.")
        if method == "POST":
            jsonhead.optional(body, content_type)
        verb = re.sub(r"^(?::|%3[Aa])", "", found["verb"])
        return Reading(_model(found), verb == _STREAMS, verb in _RETRY_SAFE)

    def rewrite(
        self, operation: str, content_type: str, body: Body, model: str, also: Edits = NOTHING
    ) -> tuple[str, Pieces]:
        found = _CALL.fullmatch(operation) or _NAMED.fullmatch(operation)
        if found:
            operation = f"{found['before']}{_segment(model)}{found['verb']}"
        if jsonhead.looks_like_json(body):
            return operation, jsonhead.edit(body, also.renaming(_MODEL_PATHS, lambda old: _renamed(old, model)))
        return operation, [body]

    def ask_usage(self, operation: str, body: Body) -> Pieces | None:
        return None  # its streams tell it unasked

    def without_usage(self, events: bytes) -> bytes:
        return events

    def classify(self, provider: Provider, answer: Answer) -> Outcome:
        return refusals.classify(provider, answer)

    def knows(self, operation: str) -> bool:
        return bool(_COSTING.search(operation) or _INTERACTION.search(operation))

    def reader(self, method: str, operation: str, content_type: str) -> Reader:
        """What streams an answer ends with a reason, else it was cut; nothing is known of the end of other streams.
        What is in a file is its owner's, and what a cache or an interaction once cost is told whenever it is read."""
        if operation.endswith(":download"):
            content_type = "application/octet-stream"
        costs = method == "POST" and _COSTING.search(operation)
        if _INTERACTION.search(operation):
            return AnswerReader(_INTERACTS if costs else _RESUMES, content_type)
        if not costs:
            return AnswerReader(_OTHER, content_type)
        return AnswerReader(_STREAMED if operation.endswith(_STREAMS) else _GENERATES, content_type)

    def write_error(self, status: int, code: str, message: str) -> bytes:
        name = _STATUS.get(status, "INTERNAL" if status >= 500 else "INVALID_ARGUMENT")
        return orjson.dumps({"error": {"code": status, "message": message, "status": name}})

    def write_error_event(self, operation: str, status: int, error: bytes) -> bytes:
        """Its `code` is the status; google-genai raises for an event that begins with `{"error":`, but for an
        interaction's: that names its type (`types.interactions.ErrorEvent`)."""
        if _INTERACTION.search(operation):
            return sse.event("error", {"event_type": "error"} | orjson.loads(error))
        return sse.event("", orjson.loads(error))

    def write_sign(self, operation: str, query: str) -> bytes:
        """A blank line: google-genai takes a comment for JSON. Without `alt=sse` the stream is an array, but for an
        interaction's."""
        return b"\n" if _INTERACTION.search(operation) or "alt=sse" in query.split("&") else b""

    def write_models(self, names: tuple[str, ...]) -> bytes:
        verbs = ["generateContent", "countTokens", "embedContent", "batchEmbedContents"]
        models = [
            {"name": f"models/{name}", "displayName": name, "supportedGenerationMethods": verbs} for name in names
        ]
        return orjson.dumps({"models": models})


def _model(found: re.Match[str]) -> str:
    name = unquote(found["model"])
    return name if found["kind"] == "models" else f"tunedModels/{name}"


def _segment(model: str) -> str:
    kind, slash, name = model.partition("/")
    return (
        f"tunedModels/{quote(name, safe='')}" if slash and kind == "tunedModels" else f"models/{quote(model, safe='')}"
    )


def _renamed(old: str, model: str) -> str:
    """With the collection in front where the old name had it."""
    bare = "/" not in old or model.startswith("tunedModels/")
    return model if bare else f"models/{model}"


# --- what an event says -----------------------------------------------------------------------------


def look(_name: str, value: Mapping[str, Any]) -> Look:
    """One event of a stream, or a whole answer. What has a name (a file, an operation) may hold an error of its own."""
    error = value.get("error")
    if error and "name" not in value:
        return Look(error={"error": error})
    feedback = value.get("promptFeedback")
    blocked = isinstance(feedback, dict) and str(feedback.get("blockReason") or "") not in _UNSAID
    candidates = value.get("candidates")
    if not isinstance(candidates, list) or not candidates:
        return Look(shows=blocked or not _EMPTY.issuperset(value), finishes=blocked, blocks=blocked)
    reasons = [str(candidate.get("finishReason") or "") for candidate in candidates if isinstance(candidate, dict)]
    finishes = not _UNSAID.issuperset(reasons)
    return Look(
        shows=finishes or blocked or any(_says(candidate) for candidate in candidates),
        finishes=finishes or blocked,
        blocks=blocked or any(reason in _BLOCKS for reason in reasons),
        hollow="MAX_TOKENS" not in reasons and not any(_has_content(candidate) for candidate in candidates),
    )


def _interaction(name: str, value: Mapping[str, Any]) -> Look:
    """One event of an interaction (google-genai, `types.interactions.InteractionSSEEvent`), or all of one."""
    kind = str(value.get("event_type", name))
    if kind in _BEGINNINGS:
        return EMPTY
    return look(name, value)._replace(finishes=kind == "interaction.completed")


def _says(candidate: object) -> bool:
    content = candidate.get("content") if isinstance(candidate, dict) else None
    parts = content.get("parts") if isinstance(content, dict) else True
    return any(map(_tells, parts)) if isinstance(parts, list) else bool(parts)


def _tells(part: object) -> bool:
    return not isinstance(part, dict) or any(value for name, value in part.items() if name != "thought")


def _has_content(candidate: object) -> bool:
    """Whether some part has anything in it: a text, a call, data; of a thought alone too."""
    content = candidate.get("content") if isinstance(candidate, dict) else None
    parts = content.get("parts") if isinstance(content, dict) else None
    told = [part for part in parts if isinstance(part, dict)] if isinstance(parts, list) else []
    return any(value for part in told for name, value in part.items() if name not in {"thought", "thoughtSignature"})


_GENERATES = Grammar(look, ends=False)
_STREAMED = Grammar(look, ends=True)
_INTERACTS = Grammar(_interaction, ends=True)
_RESUMES = Grammar(_interaction, ends=True, costs=False)
_OTHER = Grammar(look, ends=False, speaks=False, costs=False)
