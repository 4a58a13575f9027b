"""Who calls: the virtual key in any of the places where a dialect puts it, compared in constant time."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import parse_qsl, unquote_plus

from multidict import CIMultiDictProxy

from sidecar.model.configured import Client, Secret

HEADERS = ("authorization", "x-api-key", "x-goog-api-key", "api-key")
QUERY = frozenset({"key", "access_token"})


def tokens(headers: CIMultiDictProxy[str], query: str) -> list[str]:
    """Every credential that a request presents, as text that can be encoded: raw bytes of a header become `?`."""
    found = [value for name in HEADERS for value in headers.getall(name, ())]
    found = [text[7:].strip() if text[:7].lower() == "bearer " else text for text in found]
    found += [value for name, value in parse_qsl(query) if name in QUERY]
    return [text.encode(errors="replace").decode() for text in found]


def without_credentials(query: str, names: frozenset[str] = QUERY) -> str:
    """The raw query without the fields that carry a credential; every other byte as it was."""
    if not query:
        return query
    return "&".join(part for part in query.split("&") if unquote_plus(part.partition("=")[0]) not in names)


def identify(clients: Sequence[Client], presented: Sequence[str]) -> Client | None:
    """The client that one of the credentials belongs to. Looks at all of them, however early one fits."""
    found = None
    for token in presented:
        guess = Secret(token)
        for client in clients:
            if client.token == guess:
                found = client
    return found
