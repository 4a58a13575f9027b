"""Who calls, by the virtual key in any of the places where a dialect puts it; and what that client may ask for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from urllib.parse import parse_qsl, unquote_plus

from multidict import CIMultiDictProxy

from sidecar.model.configured import Client, Token
from sidecar.model.headers import CREDENTIALS
from sidecar.model.patterns import matches
from sidecar.model.tokens import digest
from sidecar.proxy.errors import Refused

QUERY = frozenset({"key", "access_token"})


def tokens(headers: CIMultiDictProxy[str], query: str) -> list[str]:
    """Every credential that a request presents, as text that can be encoded: raw bytes of a header become `?`."""
    found = [value for name in CREDENTIALS for value in headers.getall(name, ())]
    found = [text[7:].strip() if text[:7].lower() == "bearer " else text for text in found]
    found += [value for name, value in parse_qsl(query) if name in QUERY]
    return [text.encode(errors="replace").decode() for text in found]


def without_credentials(query: str, names: frozenset[str] = QUERY) -> str:
    """The raw query without the fields that carry a credential; every other byte as it was."""
    if not query:
        return query
    return "&".join(part for part in query.split("&") if unquote_plus(part.partition("=")[0]) not in names)


def identify(
    known: Mapping[str, tuple[Client, Token]], presented: Sequence[str], now_s: float
) -> tuple[Client, Token] | None:
    """Whose credential is presented, the first of several; one that has expired only where no other is known.

    Looks at all of them, however early one fits. They are compared by their digests: how long that takes tells of a
    digest, from which nobody finds what has it.
    """
    found = [known[one] for one in map(digest, presented) if one in known]
    return max(found, key=lambda one: not one[1].expired(now_s), default=None)


def may_ask(client: Client, name: str) -> bool:
    """Whether a client may ask for this name: a model's as it calls it; "" for a call without one."""
    return not client.models or any(matches(pattern, name) for pattern in client.models)


def check_models(client: Client, names: Iterable[str], pool: str | None) -> None:
    """Raises Refused (403) where one of the names is not for this client; `pool`: that the path names.

    A call without a model may be for any: that takes a `*`. So may one below `/pools/{pool}`, where the API alone knows
    which part of a path or a body is a model's name: that takes `*` or `{pool}/*`.
    OpenAI answers a project that may not use a model alike: 403 with the code `model_not_found`. No SDK repeats it.
    """
    for name in [f"{pool}/"] if pool else names:
        if not may_ask(client, name):
            model = f'the model "{name}"' if name else "calls that name no model"
            what = f"/pools/{pool} ({pool}/*)" if pool else model
            allowed = ", ".join(client.models)
            raise Refused(403, "model_not_found", f"Client {client.id} may not use {what}. It may use: {allowed}.")
