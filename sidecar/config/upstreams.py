"""Which provider a pool speaks to: a preset of the catalogue, or what the pool itself says of its API."""

from __future__ import annotations

import re
from dataclasses import replace
from urllib.parse import urlsplit

from sidecar.config.network import PORTS
from sidecar.config.problems import Path, Problems, shown
from sidecar.config.schema import AuthEntry, PoolEntry
from sidecar.model.configured import Auth, Provider, Speech
from sidecar.providers import catalogue

_BEARER = Auth("bearer")
_NONE = Auth("none")
_AUTH = {  # how each dialect's own SDK presents a key
    "openai": _BEARER,
    "anthropic": Auth("header", "x-api-key"),
    "gemini": Auth("header", "x-goog-api-key"),
    "plain": _BEARER,
}
_KNOWN_AUTH = ("bearer", "none", "{header: x-api-key}", "{query: key}")
_PROBE = re.compile(r"(?:/[A-Za-z0-9._~%!$&'()*+,;=:@-]+)+\Z")
_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}\Z")
_TAKEN = frozenset({"host", "content-length", "transfer-encoding", "connection", "content-type", "te", "upgrade"})


def provider(pool: str, entry: PoolEntry, problems: Problems) -> Provider | None:
    """The pool's provider; None after telling why there is none."""
    path: Path = ("pools", pool)
    found = _provider(pool, entry, path, problems)
    if found is None or entry.probe is None:
        return found
    return replace(found, probe=_probe(entry.probe, (*path, "probe"), problems))


def _provider(pool: str, entry: PoolEntry, path: Path, problems: Problems) -> Provider | None:
    base_url = None
    if entry.base_url is not None:
        base_url = _base_url(entry.base_url, (*path, "base_url"), problems)
        if base_url is None:
            return None
    if entry.provider is not None:
        return _preset(entry, base_url, path, problems)
    if base_url is None and (problems.under((*path, "provider")) or problems.under((*path, "base_url"))):
        return None
    if base_url is None:
        problems.error(path, "says no API. Give it a provider: openai, or a base_url: of its own.")
        return None
    return _own(pool, entry, base_url, path, problems)


def _preset(entry: PoolEntry, base_url: str | None, path: Path, problems: Problems) -> Provider | None:
    name = str(entry.provider)
    if name not in catalogue.names():
        problems.error((*path, "provider"), f"{shown(entry.provider)} is no provider.", name, catalogue.names())
        return None
    for field in ("dialect", "auth"):
        if getattr(entry, field) is not None:
            problems.error((*path, field), f"is known of {name}. It belongs to a pool with a base_url and no provider.")
    found = catalogue.preset(name)
    url = base_url or found.base_url
    if url is None:
        problems.error(path, f"{name} has an address for each customer. Give it as base_url:.")
        return None
    if found.keyless and entry.keys is None and entry.from_dir is None:
        return _without_key(found.at(url))
    return found.at(url)


def _without_key(provider: Provider) -> Provider:
    """The provider, called without any."""
    dialects = {name: replace(speech, auth=_NONE) for name, speech in provider.dialects.items()}
    return replace(provider, auth=_NONE, dialects=dialects)


def _own(pool: str, entry: PoolEntry, base_url: str, path: Path, problems: Problems) -> Provider | None:
    """A provider that the catalogue does not know. It is called like its pool."""
    dialect = str(entry.dialect or "plain")
    if dialect not in catalogue.DIALECTS:
        problems.error((*path, "dialect"), f"{shown(entry.dialect)} is no dialect.", dialect, catalogue.DIALECTS)
        return None
    auth = _AUTH[dialect] if entry.auth is None else _auth(entry.auth, (*path, "auth"), problems)
    if auth is None:
        return None
    return Provider(pool, base_url, auth, {dialect: Speech("", auth)})


def _probe(text: str, path: Path, problems: Problems) -> str:
    """The path of the call that tells whether a key is good; "" where there is none."""
    if text == "off":
        return ""
    if not _PROBE.match(text) or {".", ".."} & set(text.lower().replace("%2e", ".").split("/")):
        problems.error(path, "is no path below base_url, such as /models. Where no call tells of a key, it is off.")
    return text


def _auth(entry: str | AuthEntry, path: Path, problems: Problems) -> Auth | None:
    if isinstance(entry, str):
        if entry == "bearer":
            return _BEARER
        if entry == "none":
            return _NONE
        problems.error(path, f"{shown(entry)} is no way to present a key.", entry, _KNOWN_AUTH)
        return None
    if (entry.header is None) == (entry.query is None):
        problems.error(path, "names not one place for the key.", known=_KNOWN_AUTH)
        return None
    kind, name = ("header", entry.header) if entry.header is not None else ("query", entry.query)
    if name is None or not _NAME.match(name) or (kind == "header" and name.lower() in _TAKEN):
        problems.error((*path, kind), f"{shown(name)} cannot carry a key.")
        return None
    return Auth("header", name.lower()) if kind == "header" else Auth("query", str(name))


def _base_url(text: str, path: Path, problems: Problems) -> str | None:
    """The URL as RFC 3986, 6.2 writes it, that one origin is not taken for two: scheme and host in lower case, no port
    that its scheme implies, no slash at its end. No error repeats it: a URL is a place where keys are pasted."""
    wrong = _url_flaw(text)
    if wrong:
        problems.error(path, wrong)
        return None
    url = urlsplit(text)
    host = f"[{url.hostname}]" if ":" in str(url.hostname) else url.hostname
    port = "" if url.port in {None, PORTS[url.scheme]} else f":{url.port}"
    return f"{url.scheme}://{host}{port}{url.path}".rstrip("/")


def _url_flaw(text: str) -> str | None:
    """Why requests cannot be sent below this URL, or None."""
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return "the host or the port of the URL cannot be read."
    unprintable = not (text.isascii() and text.isprintable()) or any(character in text for character in " \\")
    dotted = {".", ".."} & set(parts.path.lower().replace("%2e", ".").split("/"))
    flaws = (
        (parts.scheme not in {"http", "https"} or not host, "is no URL such as https://api.example.com/v1."),
        (unprintable, "the URL holds a character that must be written as %XX."),
        ("@" in parts.netloc, "the URL holds a user or a password. Keys belong to keys:."),
        ("?" in text or "#" in text, "the URL holds a query or a fragment. A key in the query is auth: {query: NAME}."),
        (dotted, "the URL's path holds . or .. segments."),
    )
    return next((text for wrong, text in flaws if wrong), None)
