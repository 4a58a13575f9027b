"""Who calls: every place of a virtual key is read, and every one is stripped."""

from __future__ import annotations

import pytest
from multidict import CIMultiDict, CIMultiDictProxy

from sidecar.model.configured import Client, Secret
from sidecar.proxy.clients import identify, tokens, without_credentials

WEB, JOBS = Client("web", Secret("token-web")), Client("jobs", Secret("tökén-jobs"))


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
    assert identify([WEB], presented) is None


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
    assert identify([WEB, JOBS], ["token-web"]) is WEB
    assert identify([WEB, JOBS], ["wrong", "tökén-jobs"]) is JOBS


@pytest.mark.parametrize("presented", [[], [""], ["token-we"], ["token-web "], ["TOKEN-WEB"], ["web"]])
def test_anything_else_is_nobody(presented: list[str]) -> None:
    assert identify([WEB, JOBS], presented) is None
    assert identify([], presented) is None
