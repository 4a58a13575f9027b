"""The errors, word for word: `bad/*.txt` holds a config, a line of dashes, and the whole text that refuses it."""

from __future__ import annotations

from pathlib import Path

import pytest

from sidecar.providers import catalogue

from .conftest import Desk

ENVIRON = {"OPENAI_API_KEY": "real-1", "GEMINI_KEY_CHAT_1": "real-2", "TOKEN": "tok", "TEN": "ten", "BLANK": ""}


def cases() -> list[object]:
    """Cases are parted by `====`, and begin with a title."""
    found: list[object] = []
    for file in sorted((Path(__file__).parent / "bad").glob("*.txt")):
        for case in file.read_text().split("====\n"):
            title, body = case.split("\n", 1)
            yaml, expected = body.split("----\n")
            found.append(pytest.param(yaml, expected.strip(), id=f"{file.stem}: {title.lstrip('# ')}"))
    return found


@pytest.mark.parametrize(("yaml", "expected"), cases())
def test_refused_with_these_words(desk: Desk, yaml: str, expected: str) -> None:
    assert desk.refused(yaml, ENVIRON) == expected.replace("@PROVIDERS@", ", ".join(catalogue.names()))
