"""Who calls: every place of a virtual key is read, and every one is stripped."""

from __future__ import annotations

import pytest
from multidict import CIMultiDict, CIMultiDictProxy

from sidecar.model.configured import Client, Token
from sidecar.model.tokens import digest
from sidecar.proxy.clients import identify, may_ask, tokens, without_credentials

WEB = Client("web", (Token(digest("token-web")), Token(digest("former-web"), expires_s=1000)))
JOBS = Client("jobs", (Token(digest("tökén-jobs")),))
KNOWN = {token.digest: (client, token) for client in (WEB, JOBS) for token in client.tokens}


def known(*presented: str, now_s: float = 0) -> Client | None:
    found = identify(KNOWN, presented, now_s)
    return found and found[0]


def headers(*pairs: tuple[str, str]) -> CIMultiDictProxy[str]:
    return CIMultiDictProxy(CIMultiDict(pairs))


@pytest.mark.parametrize(
    ("pairs", "query", "expected"),
    [
        ([("Authorization", "Bearer abc")], "", ["abc"]),
        ([("authorization", "bearer   abc ")], "", ["abc"]),
        ([("Authorization", "abc")], "", ["abc"]),
        ([("Authorization", "Basic YTpi")], "", ["Basic YTpi"]),
        ([("X-Api-Key", "abc")], "", ["abc"]),
        ([("x-goog-api-key", "abc")], "", ["abc"]),
        ([("api-key", "abc")], "", ["abc"]),
        ([], "alt=sse&key=abc", ["abc"]),
        ([], "key=a%2Fb%20c", ["a/b c"]),
        ([], "access_token=abc", ["abc"]),
        ([], "%6bey=abc", ["abc"]),
        ([], "monkey=abc&keys=abc", []),
        ([("X-Api-Key", "one"), ("X-Api-Key", "two")], "key=three&key=four", ["one", "two", "three", "four"]),
        ([("Authorization", "Bearer one"), ("x-goog-api-key", "two")], "key=three", ["one", "two", "three"]),
        ([("Content-Type", "text/plain")], "", []),
        ([("Authorization", "Bearer ")], "key=", [""]),
    ],
)
def test_credential_is_read_from_every_place(pairs: list[tuple[str, str]], query: str, expected: list[str]) -> None:
    assert tokens(headers(*pairs), query) == expected


def test_raw_bytes_in_a_header_are_nobodys_credential() -> None:
    """The server hands them on as lone surrogates, which cannot be compared as bytes."""
    presented = tokens(headers(("Authorization", "Bearer \udcff\udcfe")), "key=\udcff")
    assert known(*presented) is None


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", ""),
        ("key=abc", ""),
        ("alt=sse&key=abc", "alt=sse"),
        ("key=abc&alt=sse", "alt=sse"),
        ("a=1&key=x&b=2&key=y&access_token=z", "a=1&b=2"),
        ("%6Bey=abc&q=%20x+y", "q=%20x+y"),
        ("key&key=", ""),
        ("monkey=1&&key%00=2", "monkey=1&&key%00=2"),
        ("a=%zz&b", "a=%zz&b"),
    ],
)
def test_query_loses_its_credentials_and_nothing_else(query: str, expected: str) -> None:
    assert without_credentials(query) == expected


def test_client_is_known_by_any_of_the_credentials() -> None:
    assert known("token-web") is WEB
    assert known("wrong", "tökén-jobs") is JOBS


@pytest.mark.parametrize("presented", [[], [""], ["token-we"], ["token-web "], ["TOKEN-WEB"], ["web"]])
def test_anything_else_is_nobody(presented: list[str]) -> None:
    assert known(*presented) is None
    assert identify({}, presented, 0) is None


def test_what_has_expired_is_known_where_nothing_better_is_presented() -> None:
    """So that its holder can be told; beside another credential it does no harm."""
    former = WEB.tokens[1]
    assert identify(KNOWN, ["former-web"], 1000) == (WEB, former)
    assert (former.expired(999.9), former.expired(1000)) == (False, True)
    assert known("tökén-jobs", "former-web", now_s=1000) is JOBS
    assert known("former-web", "tökén-jobs", now_s=1000) is JOBS


@pytest.mark.parametrize(
    ("models", "asked", "may"),
    [
        ((), "gpt-4", True),
        ((), "", True),
        (("gpt-4o", "claude-*"), "gpt-4o", True),
        (("gpt-4o", "claude-*"), "claude-3", True),
        (("gpt-4o",), "gpt-4o-mini", False),
        (("gpt-4o",), "oai/gpt-4o", False),
        (("gpt-4o",), "", False),
        (("gpt-*",), "", False),
        (("*",), "", True),
    ],
)
def test_patterns_are_of_the_name_that_is_asked_for(models: tuple[str, ...], asked: str, may: bool) -> None:
    """A call without a model could be for any: it takes a pattern that says so."""
    assert may_ask(Client("web", models=models), asked) is may
