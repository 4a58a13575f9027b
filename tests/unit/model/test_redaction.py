"""A key's secret is found in whatever a provider or a library writes about it, and nothing else is."""

from __future__ import annotations

import html
import json
from collections.abc import Callable
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.model.configured import Secret
from sidecar.model.redaction import finder

ODD = 'Ab+Cd/Ef-g_h.i~j==&k"l\\m<n>'

WAYS: list[Callable[[str], str]] = [
    str,
    lambda text: json.dumps(text)[1:-1],
    lambda text: json.dumps(json.dumps(text))[3:-3],
    lambda text: json.dumps(text)[1:-1].replace("/", "\\/"),
    lambda text: "".join(c if c.isalnum() else f"\\u{ord(c):04X}" for c in text),
    lambda text: quote(text, safe=""),
    lambda text: quote(text, safe="/").lower() if text.islower() else quote(text, safe="/"),
    lambda text: "".join(c if c.isalnum() else f"%{ord(c):02x}" for c in text),
    lambda text: quote(quote(text, safe=""), safe=""),
    html.escape,
    lambda text: html.escape(html.escape(text)),
    lambda text: "".join(c if c.isalnum() else f"&#{ord(c)};" for c in text),
    lambda text: "".join(c if c.isalnum() else f"&#x{ord(c):x};" for c in text),
    lambda text: "".join(f"\\u{ord(c):04x}" for c in text),
    lambda text: "".join(f"%{ord(c):02X}" for c in text),
    lambda text: quote("".join(f"%{ord(c):02X}" for c in text)),
    lambda text: "".join(f"&#{ord(c)};" for c in text),
    lambda text: "".join(f"&#x{ord(c):x};" for c in text),
]


@pytest.mark.parametrize("way", range(len(WAYS)))
@given(st.text("aB3-_.+/=~:&\"\\<>' ", min_size=8))
def test_secret_is_found_however_it_is_written(way: int, secret: str) -> None:
    written = WAYS[way](secret)
    assert finder(Secret(secret)).replace(f"key {written} is wrong", "k0") == "key k0 is wrong"


@pytest.mark.parametrize("way", range(len(WAYS)))
def test_odd_secret_is_found_between_its_likes(way: int) -> None:
    written = WAYS[way](ODD)
    assert finder(Secret(ODD)).replace(f"{written},{written}", "k0") == "k0,k0"


def test_secret_beyond_ascii_is_found_in_bytes_too() -> None:
    """Which are read as latin-1, so that every body can be searched."""
    find = finder(Secret("schlüssel-😀-1234"))
    for text in ("schlüssel-😀-1234", "schlüssel-😀-1234".encode().decode("latin-1"), json.dumps("schlüssel-😀-1234")):
        assert "k0" in find.replace(text, "k0")


@given(st.text("\\u0%256;&#x41aB3"))
def test_what_is_escaped_stays_so_in_a_text_without_the_secret(text: str) -> None:
    assert finder(Secret("sk-Zq9")).replace(text, "k0") == text


def test_some_of_a_secret_may_be_escaped_each_sign_in_another_way() -> None:
    written = "Ab\\u002bC%64/&#69;f%2Dg_h.i~j==&amp;k&quot;l\\\\m&lt;\\u006e&gt;"
    assert finder(Secret(ODD)).replace(f"({written})", "k0") == "(k0)"


def test_a_secret_that_looks_escaped_is_found() -> None:
    assert finder(Secret("ab%41cd&#66;e")).replace("(ab%41cd&#66;e)", "k0") == "(k0)"


@given(st.text())
def test_text_without_the_secret_stays(text: str) -> None:
    assert finder(Secret("sk-Zq9")).replace(text, "k0") == text
