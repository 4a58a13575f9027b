"""Answers of 2xx as providers would send them, and what their readers make of them."""

from __future__ import annotations

import json

from sidecar.model.outcomes import Outcome
from sidecar.providers.catalogue import DIALECTS, preset
from sidecar.providers.dialect import Answer, Reader

PROVIDER = preset("openai").at("https://api.openai.com/v1")


def outcome(reader: Reader) -> Outcome:
    return reader.outcome(PROVIDER, Answer(200, {}, b"", 1_791_300_000.0))


def read(
    dialect: str, body: object, content_type: str = "application/json", operation: str = "", method: str = "POST"
) -> Reader:
    """A body that comes in two pieces."""
    operation = operation or {"anthropic": "messages", "gemini": "models/g:generateContent"}.get(
        dialect, "chat/completions"
    )
    reader = DIALECTS[dialect].reader(method, operation, content_type)
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    reader.feed(data[: len(data) // 2])
    reader.feed(data[len(data) // 2 :])
    reader.close()
    return reader
