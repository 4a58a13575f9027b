"""What comes to the strict provider, as it came: whose dialect it speaks, what it asks for, of which model."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import parse_qs, unquote

import orjson

Dialect = Literal["openai", "anthropic", "gemini", "gemini-openai", "plain"]
Data = dict[str, Any]  # a JSON object

# A base path may stand before the version, as in `/openai/v1` or `/api/v1`.
_PLACE = re.compile(r"(?:/.*?)?/(?P<version>v1beta/openai|v1beta|v1)/(?P<operation>.*)", re.DOTALL)
_SHARED = {"models", "files", "batches", "cachedContents"}  # what lies at one path for several dialects
GEMINI = re.compile(r"(?:\w+/)?(?P<model>[^:]*):(?P<verb>\w+)")


class CallError(Exception):
    """The call cannot be served; the text says why. Answered with 400 in its dialect."""


@dataclass(slots=True)
class Call:
    """One request. What follows from its body is empty until `read`."""

    number: int  # of the arrival, from 0: what the answer's id is made of
    method: str
    path: str  # as it came, without the query
    query: str  # as it came
    headers: tuple[tuple[str, str], ...]  # as they came: order, case, repetitions
    dialect: Dialect = field(init=False)
    operation: str = field(init=False)  # below the version, unquoted
    body: bytes = b""  # as it came: not decompressed
    data: Data | None = None  # the body's JSON object, where it is one
    model: str = ""  # without the `models/` that Google's names may begin with
    stream: bool = False

    def __post_init__(self) -> None:
        self.dialect, self.operation = _place(self)

    def read(self, body: bytes) -> None:
        self.body = body
        self.data = data = _json_object(body)
        if self.dialect == "gemini" and (found := GEMINI.fullmatch(self.operation)):
            self.model, self.stream = found["model"], found["verb"] == "streamGenerateContent"
        elif data is not None:
            self.model, self.stream = str(data.get("model") or "").removeprefix("models/"), bool(data.get("stream"))


def _place(call: Call) -> tuple[Dialect, str]:
    """Whose dialect the path speaks, and the operation. `/v1/models`, `/v1/files`, ... are each one's: headers tell."""
    found = None if call.path.startswith("/echo/") else _PLACE.fullmatch(call.path)
    if not found:
        return "plain", call.path
    version, operation = found["version"], unquote(found["operation"])
    kind = operation.split("/")[0]
    if version == "v1beta/openai":
        return "gemini-openai", operation
    if version == "v1beta" or (kind == "models" and call.method == "POST" and ":" in operation):
        return "gemini", operation
    names = {name.lower() for name, _ in call.headers} if kind in _SHARED else set()
    if "x-goog-api-key" in names or (kind == "models" and "key" in parse_qs(call.query)):
        return "gemini", operation
    is_anthropics = kind == "messages" or "anthropic-version" in names
    return "anthropic" if is_anthropics else "openai", operation


def _json_object(body: bytes) -> Data | None:
    try:
        data = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    return data if isinstance(data, dict) else None
