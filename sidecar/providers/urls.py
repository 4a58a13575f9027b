"""Where a call goes at its provider: paths as the client wrote them, joined and never resolved."""

from __future__ import annotations

import re
from urllib.parse import unquote_to_bytes, urlsplit

from sidecar.model.configured import Speech
from sidecar.providers.dialect import BadCall

# What each dialect's own paths begin with, longest first. Plain HTTP has no grammar of its own.
_OWN = {
    "openai": re.compile(r"/v1beta/openai(?=/|$)|/v1(?=/|$)"),
    "anthropic": re.compile(r"/v1(?=/|$)"),
    "gemini": re.compile(r"/v1(?:alpha|beta)?\d*(?=/|$)"),
}
_VERSION = re.compile(r"v\d+(?:(?:alpha|beta)\d*)?")
_PLAIN = re.compile(r"(?:/[A-Za-z0-9_~:-]+)+")  # nothing in it can be a dot, a backslash, a control or an escape
_CONTROL = re.compile(rb"[\x00-\x1f\x7f]")
_SLASHES = re.compile(r"/{2,}")
_NEEDLESS = re.compile(r"%(?:2[DdEe]|3[0-9Aa]|[46][1-9A-Fa-f]|[57][0-9Aa]|5[Ff]|7[Ee])")  # letters, digits, - . _ ~ :


def upstream_path(base_url: str, speech: Speech, dialect_name: str, client_path: str) -> str:
    """The raw path of the upstream URL for a raw client path; neither has a query.

    The leading segment of the dialect itself (`/v1`, `/v1beta`, `/v1beta/openai`), if the client wrote it, is
    replaced by the speech's prefix, and all goes below the base URL's path. Prefix "" keeps what the client wrote;
    "/" replaces it by nothing. What is in both the base and the prefix stands once: a base that ends with the prefix
    is not given it again; where the prefix is the client's or the dialect's own, the base's version wins, be it the
    same or `/api/v4`; where it is another, it replaces the version at the base's end (`/v1` and `/anthropic/v1`).
    Every other byte of the client's path stays as it was, percent-encoding included.
    """
    base = urlsplit(base_url).path.rstrip("/")
    own = _own(dialect_name, client_path)
    if not own and not speech.prefix:
        return _once(base, client_path)
    rest = client_path[len(own) :]
    prefix = (speech.prefix or own).rstrip("/")
    if base.endswith(prefix):
        return base + rest
    if _says_only_the_version(dialect_name, speech.prefix) and _has_version(base):
        return base + rest
    return _without_version(base) + prefix + rest


def _own(dialect_name: str, path: str) -> str:
    pattern = _OWN.get(dialect_name)
    found = pattern.match(path) if pattern else None
    return found.group() if found else ""


def _says_only_the_version(dialect_name: str, prefix: str) -> bool:
    """Whether the prefix is the client's or the dialect's usual one, which says nothing of this provider."""
    return prefix == "" or (prefix.count("/") == 1 and _own(dialect_name, prefix) == prefix)


def _has_version(base: str) -> bool:
    return any(_VERSION.fullmatch(segment) for segment in base.split("/"))


def _without_version(base: str) -> str:
    head, _, last = base.rpartition("/")
    return head if _VERSION.fullmatch(last) else base


def _once(base: str, path: str) -> str:
    """Base and path, with a version that the base ends with and the path names too (`/upload/v1beta/...`) once."""
    head, _, last = base.rpartition("/")
    leading = path.removeprefix("/upload").removeprefix("/download").split("/")[1:2]
    return (head if _VERSION.fullmatch(last) and [last] == leading else base) + path


def canonical(raw_path: str) -> str:
    """The path as servers read it before they look for what it leads to: each slash once, no needless escapes.

    RFC 3986, 6.2.2.2: an escaped letter is that letter. An escaped slash stays: it belongs to a name.
    """
    if "%" in raw_path:
        raw_path = _NEEDLESS.sub(lambda escape: chr(int(escape.group()[1:], 16)), raw_path)
    return _SLASHES.sub("/", raw_path) if "//" in raw_path else raw_path


def check_path(raw_path: str) -> None:
    """Raises BadCall unless it is a path from the root without `.` and `..` segments, backslashes and controls.

    It looks at the path as sent and as decoded once and twice, because who reads it upstream may decode again.
    """
    if _PLAIN.fullmatch(raw_path):
        return
    if not raw_path.startswith("/"):
        raise BadCall("The request target must be a path that begins with /.")
    path = raw_path.encode("utf-8", "surrogateescape")
    for _ in range(3):
        _check_decoded(path)
        path = unquote_to_bytes(path)


def _check_decoded(path: bytes) -> None:
    if _CONTROL.search(path):
        raise BadCall("The path holds a control character.")
    if b"\\" in path:
        raise BadCall("The path holds a backslash.")
    if any(segment in {b".", b".."} for segment in path.split(b"/")):
        raise BadCall("The path holds a . or .. segment.")
