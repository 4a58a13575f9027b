"""What answers at once and keeps nothing: pictures, sounds and moderations, in OpenAI's shapes."""

from __future__ import annotations

import base64

from sidecar.simulate.answers import CREATED, WORDS, Answer
from sidecar.simulate.calls import Call, CallError
from sidecar.simulate.shelves import form, json, new_id, raw

PNG = b"\x89PNG\r\n\x1a\nsimulated"
MP3 = b"ID3\x04\x00\x00" + bytes(range(256)) * 64

_CATEGORIES = ("harassment", "hate", "illicit", "self-harm", "sexual", "violence")


def answer(call: Call) -> Answer | None:
    """None where it is none of these. Raises CallError for a form that lacks what is needed."""
    if call.method != "POST":
        return None
    match call.operation:
        case "images/generations" | "images/edits" | "images/variations":
            return _image(call)
        case "audio/speech":
            return raw(MP3, "audio/mpeg")
        case "audio/transcriptions" | "audio/translations":
            return _text(call)
        case "moderations":
            return _moderation(call)
    return None


def _image(call: Call) -> Answer:
    if call.operation != "images/generations" and not any(name.startswith("image") for name in form(call)):
        raise CallError("Missing required parameter: 'image'.")
    return json({"created": CREATED, "data": [{"b64_json": base64.b64encode(PNG).decode()}]})


def _text(call: Call) -> Answer:
    parts = form(call)
    if "file" not in parts or "model" not in parts:
        raise CallError("Missing required parameter: 'file' or 'model'.")
    text = "".join(WORDS)
    if (kind := parts.get("response_format")) and kind.content == b"text":
        return raw(text.encode() + b"\n", "text/plain; charset=utf-8")
    return json({"text": text, "usage": {"type": "duration", "seconds": 1}})


def _moderation(call: Call) -> Answer:
    given = (call.data or {}).get("input")
    count = len(given) if isinstance(given, list) else 1
    verdict = {
        "flagged": False,
        "categories": dict.fromkeys(_CATEGORIES, False),
        "category_scores": dict.fromkeys(_CATEGORIES, 0.01),
        "category_applied_input_types": {name: ["text"] for name in _CATEGORIES},
    }
    model = call.model or "omni-moderation-latest"
    return json({"id": new_id("modr-"), "model": model, "results": [verdict] * count})
