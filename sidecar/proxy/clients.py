"""Who calls: the virtual key in any of the places where a dialect puts it, compared in constant time."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import parse_qsl, unquote_plus

from multidict import CIMultiDictProxy

from sidecar.model.words import Client, Secret

HEADERS = ("authorization", "x-api-key", "x-goog-api-key", "api-key")
QUERY = frozenset({"key", "access_token"})


def tokens(headers: CIMultiDictProxy[str], query: str) -> list[str]:
    """Every credential that a request presents."""
    found = [headers[name] for name in HEADERS if name in headers]
    found = [text[7:].strip() if text[:7].lower() == "bearer " else text for text in found]
    return found + [value for name, value in parse_qsl(query) if name in QUERY]


def without_credentials(query: str) -> str:
    """The raw query without the fields that carry a credential; every other byte as it was."""
    if not query:
        return query
    return "&".join(part for part in query.split("&") if unquote_plus(part.partition("=")[0]) not in QUERY)


def identify(clients: Sequence[Client], presented: Sequence[str]) -> Client | None:
    """The client that one of the credentials belongs to. Looks at all of them, however early one fits."""
    found = None
    for token in presented:
        guess = Secret(token)
        for client in clients:
            if client.token == guess:
                found = client
    return found
