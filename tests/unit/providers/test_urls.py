"""A client's path reaches the provider byte for byte, below the base URL, with a version once."""

from __future__ import annotations

import pytest

from sidecar.model.configured import Auth, Speech
from sidecar.providers import catalogue
from sidecar.providers.dialect import BadCall
from sidecar.providers.urls import canonical, check_path, upstream_path


@pytest.mark.parametrize(
    ("provider", "dialect", "path", "upstream"),
    [
        ("openai", "openai", "/v1/chat/completions", "/v1/chat/completions"),
        ("openai", "openai", "/chat/completions", "/v1/chat/completions"),
        ("openai", "openai", "/v1beta/openai/chat/completions", "/v1/chat/completions"),
        ("groq", "openai", "/v1/chat/completions", "/openai/v1/chat/completions"),
        ("openrouter", "openai", "/v1/chat/completions", "/api/v1/chat/completions"),
        ("openrouter", "anthropic", "/v1/messages", "/api/v1/messages"),
        ("deepseek", "openai", "/v1/chat/completions", "/v1/chat/completions"),
        ("deepseek", "anthropic", "/v1/messages", "/anthropic/v1/messages"),
        ("gemini", "gemini", "/v1beta/models/g:generateContent", "/v1beta/models/g:generateContent"),
        ("gemini", "gemini", "/v1/models/g:generateContent", "/v1/models/g:generateContent"),
        ("gemini", "gemini", "/upload/v1beta/files", "/upload/v1beta/files"),
        ("gemini", "gemini", "/download/v1beta/files/a:download", "/download/v1beta/files/a:download"),
        ("gemini", "openai", "/v1/chat/completions", "/v1beta/openai/chat/completions"),
        ("gemini", "openai", "/chat/completions", "/v1beta/openai/chat/completions"),
        ("gemini", "openai", "/v1beta/openai/chat/completions", "/v1beta/openai/chat/completions"),
        ("anthropic", "anthropic", "/v1/messages", "/v1/messages"),
        ("anthropic", "openai", "/v1/chat/completions", "/v1/chat/completions"),
        ("anthropic", "openai", "/chat/completions", "/v1/chat/completions"),
        ("cohere", "openai", "/v1/chat/completions", "/compatibility/v1/chat/completions"),
        ("perplexity", "openai", "/v1/chat/completions", "/chat/completions"),
        ("ollama", "anthropic", "/v1/messages", "/v1/messages"),
    ],
)
def test_presets(provider: str, dialect: str, path: str, upstream: str) -> None:
    """Every preset is reached where its documents say."""
    preset = catalogue.preset(provider)
    assert preset.base_url is not None
    assert upstream_path(preset.base_url, preset.dialects[dialect], dialect, path) == upstream


@pytest.mark.parametrize(
    ("base", "prefix", "dialect", "path", "upstream"),
    [
        ("http://h:8000/v1", "", "openai", "/v1/files", "/v1/files"),
        ("http://h:8000/v1/", "/v1", "openai", "/v1/files", "/v1/files"),
        ("http://h:8000", "", "openai", "/v1/files", "/v1/files"),
        ("http://h:8000", "/v1", "openai", "/files", "/v1/files"),
        ("http://h/api/paas/v4", "", "openai", "/v1/chat/completions", "/api/paas/v4/chat/completions"),
        ("http://h/api/paas/v4", "/v1", "openai", "/v1/chat/completions", "/api/paas/v4/chat/completions"),
        ("http://h/v1beta/openai", "", "openai", "/v1/chat/completions", "/v1beta/openai/chat/completions"),
        ("http://h/proxy", "/v1beta/openai", "openai", "/v1/models", "/proxy/v1beta/openai/models"),
        ("http://h/v1beta", "/v1beta/openai", "openai", "/v1/models", "/v1beta/openai/models"),
        ("http://h/v1beta", "", "gemini", "/v1beta/models/g:countTokens", "/v1beta/models/g:countTokens"),
        ("http://h/v1beta", "", "gemini", "/upload/v1beta/files", "/upload/v1beta/files"),
        ("http://h/v1beta", "", "gemini", "/download/v1beta/files/a", "/download/v1beta/files/a"),
        ("https://h/v1/publishers/google", "", "gemini", "/v1beta/models/g:x", "/v1/publishers/google/models/g:x"),
        ("http://h/anthropic/v1", "/anthropic/v1", "anthropic", "/v1/messages", "/anthropic/v1/messages"),
        ("http://h/v1", "", "plain", "/v1/things", "/v1/things"),
        ("http://h/v1", "", "plain", "/things", "/v1/things"),
        ("http://h/v1", "", "plain", "/v2/things", "/v1/v2/things"),
        ("http://h/v1", "", "plain", "/v1beta/things", "/v1/v1beta/things"),
        ("http://h/v1", "", "plain", "/things/v1", "/v1/things/v1"),
        ("http://h", "", "plain", "/", "/"),
        ("http://h/a", "", "openai", "/v1", "/a/v1"),
        ("http://h/v1", "", "openai", "/v1x/a", "/v1/v1x/a"),
    ],
)
def test_bases_of_ones_own(base: str, prefix: str, dialect: str, path: str, upstream: str) -> None:
    """The base is what an SDK would be given; a version that both name stands once."""
    assert upstream_path(base, Speech(prefix, Auth("bearer")), dialect, path) == upstream


@pytest.mark.parametrize(
    "path",
    ["/v1/models/a%2Fb%20c:x", "/v1/%E2%9C%93", "/v1//x/", "/v1/a;b=c", "/v1/a+b%2B", "/v1/x%3Fy%23z", "/v1/@:!$&'()*"],
)  # fmt: skip
def test_bytes_of_the_path_stay(path: str) -> None:
    """Nothing is decoded, encoded, resolved or collapsed."""
    check_path(path)
    assert upstream_path("http://h/base/v1", Speech("", Auth("bearer")), "openai", path) == "/base" + path


@pytest.mark.parametrize(
    ("path", "read"),
    [
        ("/v1//chat///completions", "/v1/chat/completions"),
        ("//v1/chat/completions/", "/v1/chat/completions/"),
        ("/v1/ch%61t/%63ompletions", "/v1/chat/completions"),
        ("/v1beta/models/gemini%2d1%2E5%7E%5f%30:generate%43ontent", "/v1beta/models/gemini-1.5~_0:generateContent"),
        ("/v1beta/models/m%3AgenerateContent", "/v1beta/models/m:generateContent"),
        ("/v1/x/a%2Fb%20c%C3%A9%3F%23%25%2561%40%5B%60%7B%2f", "/v1/x/a%2Fb%20c%C3%A9%3F%23%25%2561%40%5B%60%7B%2f"),
    ],
)  # fmt: skip
def test_a_path_is_read_as_servers_read_it(path: str, read: str) -> None:
    """What is escaped for a reason stays so: it may be part of a name."""
    assert canonical(path) == read


@pytest.mark.parametrize(
    "path",
    [
        "/v1/../admin", "/v1/./x", "/..", "/.", "/v1/x/..", "/v1/%2e%2e/x", "/v1/.%2E/x", "/v1/%2e./x", "/v1/%2E",
        "/v1/..%2fadmin", "/v1/a%2F..%2Fb", "/v1/%2e%2e%2f%2e%2e%2fx", "/v1/%252e%252e/x", "/v1/..%252fx",
        "/v1/a\\b", "/v1/a%5cb", "/v1/a%5Cb", "/v1/%255c", "/v1/a\nb", "/v1/a%0d%0aX", "/v1/%00", "/v1/%7f",
        "/v1/a\x7f", "v1/x", "", "http://evil/v1/x", "*",
    ],
)  # fmt: skip
def test_paths_that_climb_or_smuggle_are_refused(path: str) -> None:
    """However they are encoded."""
    with pytest.raises(BadCall):
        check_path(path)


@pytest.mark.parametrize(
    "path", ["/v1/...", "/v1/..x", "/v1/.well-known", "/v1/a..b", "/v1/%", "/v1/%zz", "/v1/%e2%80%a6"]
)
def test_harmless_dots_pass(path: str) -> None:
    """Only whole segments of one or two dots mean something."""
    check_path(path)
