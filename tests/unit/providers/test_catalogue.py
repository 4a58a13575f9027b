"""Every provider that is known by name can be called."""

from __future__ import annotations

import json
from pathlib import Path
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

import pytest

from sidecar.model.configured import Auth
from sidecar.providers import catalogue

CASES = Path(__file__).parents[2] / "wire" / "cases"


def test_every_provider_of_the_cases_has_an_entry() -> None:
    """Also those that are seen through another's dialect."""
    seen = {json.loads(path.read_text("utf-8"))["provider"].partition("-")[0] for path in CASES.glob("**/*.json")}
    assert seen - {"any"} <= set(catalogue.names())


@pytest.mark.parametrize("name", catalogue.names())
def test_entry(name: str) -> None:
    """Its address, names, dialects and zone can be used as they stand."""
    preset = catalogue.preset(name)
    assert f"{name.upper()}_API_KEY" == preset.environment[0]
    assert preset.dialects
    assert set(preset.dialects) <= set(catalogue.DIALECTS)
    assert ZoneInfo(preset.zone).key == preset.zone
    assert preset.counts in {"account", "account+model"}
    if preset.base_url is not None:
        parts = urlsplit(preset.base_url)
        assert parts.scheme == ("http" if parts.hostname == "localhost" else "https")
        assert not preset.base_url.endswith("/")
        assert preset.at("http://127.0.0.1:9/").base_url == "http://127.0.0.1:9"


def test_addresses_of_ones_own() -> None:
    """Azure and Vertex differ for every customer."""
    assert [name for name in catalogue.names() if catalogue.preset(name).base_url is None] == ["azure", "vertex"]


def test_gemini_speaks_two_dialects_with_two_credentials() -> None:
    """Its own first."""
    gemini = catalogue.preset("gemini")
    assert list(gemini.dialects) == ["gemini", "openai"]
    assert gemini.dialects["gemini"].auth == Auth("header", "x-goog-api-key")
    assert gemini.dialects["openai"].auth == Auth("bearer")
    assert gemini.zone == "America/Los_Angeles"
    assert gemini.pools == "GOOGLE_AI_STUDIO_KEY"


def test_unknown_name() -> None:
    """Is told as one."""
    with pytest.raises(KeyError):
        catalogue.preset("gemnii")


def test_the_table_calls_dialects_by_their_names() -> None:
    """And there are four."""
    assert {name: dialect.name for name, dialect in catalogue.DIALECTS.items()} == {
        name: name for name in ("openai", "anthropic", "gemini", "plain")
    }


@pytest.mark.parametrize("name", catalogue.names())
def test_no_name_or_prefix_is_of_two_providers(name: str) -> None:
    preset = catalogue.preset(name)
    assert {catalogue.called(word) for word in (name, name.upper(), *preset.also)} == {name}
    assert {catalogue.of_variable(f"{base}_2") for base in preset.environment} == {name}
    assert {catalogue.of_key(f"{prefix}abc") for prefix in preset.prefixes} <= {name}


def test_whose_key_it_is() -> None:
    """The longest prefix decides; a key or a variable that nothing tells is nobody's."""
    assert [catalogue.of_key(f"{prefix}x") for prefix in ("sk-ant-", "sk-or-", "sk-")] == [
        "anthropic",
        "openrouter",
        "openai",
    ]
    assert catalogue.of_variable("GOOGLE_AI_STUDIO_KEY_CHAT_2") == "gemini"
    assert [catalogue.of_key("abc"), catalogue.of_variable("PATH"), catalogue.called("acme")] == [None, None, None]


@pytest.mark.parametrize(
    ("provider", "operation", "dialect"),
    [
        ("openai", "v1/chat/completions", "openai"),
        ("openai", "v1/messages/count_tokens", "anthropic"),
        ("openai", "v1/threads/thread_1/messages", "plain"),
        ("openai", "v1/models/ft:gpt-4o:acme::x", "plain"),
        ("openai", "v1/decisions", "openai"),
        ("gemini", "v1beta/decisions", "gemini"),
        ("gemini", "v1beta/interactions/v1_x", "gemini"),
        ("vertex", "v1/publishers/google/models/m%3AgenerateContent", "gemini"),
        ("anthropic", "v1/sessions/sesn_1", "plain"),
        ("anthropic", "v1/responses", "openai"),
    ],
)
def test_a_path_tells_in_which_dialect_it_is_answered(provider: str, operation: str, dialect: str) -> None:
    """Its provider's own where two know it."""
    at = catalogue.preset(provider).at("https://example.com")
    assert catalogue.judge(at, operation).name == dialect
