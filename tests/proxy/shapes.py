"""Whose error body a text is, by its shape alone."""

from __future__ import annotations

from typing import Any


def shape(body: Any) -> str:
    """The dialect of an error's JSON body."""
    if body.get("type") == "error":
        return "anthropic"
    error = body["error"]
    if isinstance(error.get("code"), int) and "status" in error:
        return "gemini"
    return "openai" if "type" in error and "param" in error else "plain"
