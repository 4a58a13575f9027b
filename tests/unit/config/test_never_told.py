"""A secret is in no error and in no warning, wherever it was put."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sidecar.config import ConfigError, load

from .test_contract import ENVIRON, EXAMPLE

_TEXT = st.text("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789", min_size=20, max_size=40)
CREDENTIALS = st.tuples(st.sampled_from(["sk-", "sk-proj-", "gsk_", "AIzaSy", "AQ.", "xai-", ""]), _TEXT).map("".join)


def places(data: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every value, mappings and lists themselves included."""
    if path:
        yield path
    items = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for name, value in items:
        yield from places(value, (*path, name))


PLACES = list(places(yaml.safe_load(EXAMPLE)))


def said(folder: Path, text: str, environ: dict[str, str]) -> str:
    """All that loading says."""
    (folder / "sidecar.yaml").write_text(text)
    try:
        return "\n".join(load(None, environ, folder).warnings)
    except ConfigError as error:
        return str(error)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("config")
    (made / "openai-b").write_text("o-b")
    return made


@settings(max_examples=150)
@given(secret=CREDENTIALS, place=st.sampled_from(PLACES), name=st.booleans())
def test_credential_in_any_place_of_the_file(folder: Path, secret: str, place: tuple[Any, ...], name: bool) -> None:
    """As a value, or as the name of a field, a pool or a route."""
    data = yaml.safe_load(EXAMPLE)
    at = data
    for step in place[:-1]:
        at = at[step]
    if name and isinstance(at, dict):
        at[secret] = at.pop(place[-1])
    else:
        at[place[-1]] = secret
    assert secret not in said(folder, yaml.safe_dump(data), ENVIRON)


@settings(max_examples=80)
@example("q000000q", ("pools", "chat", "keys", "from_env"))
@given(
    secret=st.text(st.characters(min_codepoint=32, max_codepoint=0x2FF), min_size=6, max_size=30).map(
        lambda text: f"q{text}q"
    ),
    place=st.sampled_from(PLACES),
)
def test_any_text_that_came_from_the_environment(folder: Path, secret: str, place: tuple[Any, ...]) -> None:
    """Then errors show the variable's name."""
    data = yaml.safe_load(EXAMPLE)
    at = data
    for step in place[:-1]:
        at = at[step]
    at[place[-1]] = "${HIDDEN}"
    assert secret not in said(folder, yaml.safe_dump(data), ENVIRON | {"HIDDEN": secret})


@settings(max_examples=40)
@given(
    secret=st.text(st.characters(codec="utf-8", exclude_characters="\x00"), min_size=6, max_size=40).map(
        lambda text: f"q{text}q"
    )
)
def test_any_text_in_a_variable_of_keys(folder: Path, secret: str) -> None:
    environ = dict.fromkeys((*ENVIRON, "OPENAI_API_KEY", "REDIS_URL", "SIDECAR_ADMIN_TOKEN", "SIDECAR_REDIS"), secret)
    assert secret not in said(folder, EXAMPLE, environ)


@settings(max_examples=40)
@given(secret=CREDENTIALS, cut=st.integers(0, len(EXAMPLE)))
def test_credential_in_a_file_that_is_no_yaml(folder: Path, secret: str, cut: int) -> None:
    for glue in ("'", "*", "!", ": {", "- "):
        assert secret not in said(folder, EXAMPLE[:cut] + glue + secret + EXAMPLE[cut:], ENVIRON)
