"""The cheap call that tells whether a key is good goes where its provider documents one, with the key in it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sidecar.model.configured import Auth, Provider, Speech
from sidecar.providers import catalogue
from sidecar.providers.catalogue import native, probe
from sidecar.providers.urls import check_path, upstream_path

HERE = "http://localhost:9"
PROBES = {
    "gemini": "https://generativelanguage.googleapis.com /v1beta/models",
    "openai": "https://api.openai.com/v1 /v1/models",
    "anthropic": "https://api.anthropic.com /v1/models",
    "groq": "https://api.groq.com/openai/v1 /openai/v1/models",
    "mistral": "https://api.mistral.ai/v1 /v1/models",
    "deepseek": "https://api.deepseek.com/v1 /v1/models",
    "openrouter": "https://openrouter.ai/api/v1 /api/v1/key",
    "together": "https://api.together.xyz/v1 /v1/models",
    "xai": "https://api.x.ai/v1 /v1/models",
    "cerebras": "https://api.cerebras.ai/v1 /v1/models",
    "cohere": "https://api.cohere.com /v1/models",
    "nvidia": None,
    "perplexity": "https://api.perplexity.ai /v1/async/sonar",
    "azure": "http://localhost:9/openai/v1 /openai/v1/models",
    "vertex": None,
    "vllm": "http://localhost:8000/v1 /v1/models",
    "ollama": None,
}


def where(provider: Provider) -> str | None:
    """The base URL and the upstream path of the probe."""
    asked = probe(provider)
    if asked is None:
        return None
    speech = provider.dialects.get(asked.dialect.name) or Speech("", provider.auth)
    path = upstream_path(provider.base_url, speech, asked.dialect.name, asked.prefix + asked.operation)
    check_path(path)
    return f"{provider.base_url} {path}"


@pytest.mark.parametrize("name", catalogue.names())
def test_a_presets_probe(name: str) -> None:
    preset = catalogue.preset(name)
    assert where(preset.at(preset.base_url or f"{HERE}/openai/v1")) == PROBES[name]


@pytest.mark.parametrize(
    ("dialect", "path"),
    [("openai", "/api/v1/models"), ("anthropic", "/api/v1/models"), ("gemini", "/api/v1beta/models"), ("plain", None)],
)
def test_an_address_of_ones_own_is_asked_for_its_dialects_list(dialect: str, path: str | None) -> None:
    auth = Auth("bearer")
    own = Provider("own", f"{HERE}/api", auth, {dialect: Speech("", auth)})
    assert native(own).name == dialect
    assert where(own) == (path and f"{HERE}/api {path}")


@pytest.mark.parametrize("dialect", ["openai", "anthropic", "gemini", "plain"])
def test_what_a_pool_says_of_its_probe_comes_first(dialect: str) -> None:
    """Whatever its dialect would ask, as the dialect's clients would ask it; "" is none."""
    auth = Auth("bearer")
    own = Provider("own", f"{HERE}/api/v1", auth, {dialect: Speech("", auth)}, probe="/me/key")
    assert where(own) == f"{HERE}/api/v1 /api/v1/me/key"
    asked = probe(own)
    assert asked is not None
    assert ("anthropic-version" in asked.headers) == (dialect == "anthropic")
    assert probe(replace(own, probe="")) is None
