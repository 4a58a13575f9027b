"""Who may be meant by `Host` and `Origin`: else any web page could spend the keys through the user's browser."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from functools import lru_cache
from urllib.parse import urlsplit

_AUTHORITY = re.compile(r"[^\s@/?#\\]+")  # no user, path, query or fragment


@lru_cache(maxsize=256)
def host_allowed(host: str | None, hosts: tuple[str, ...]) -> bool:
    """Whether a `Host` header is an IP literal, a loopback name or one of `hosts`; the port is not looked at."""
    if host is None or not _AUTHORITY.fullmatch(host):
        return False
    name = _name(f"//{host}")
    return _is_address(name) or _is_loopback_name(name) or _is_listed(name, hosts)


@lru_cache(maxsize=256)
def origin_allowed(origin: str | None, hosts: tuple[str, ...]) -> bool:
    """Whether an `Origin` header is absent, or a page of this machine or of one of `hosts`."""
    if origin is None:
        return True
    name = _name(origin)
    return is_loopback(name) or _is_listed(name, hosts)


def is_loopback(host: str) -> bool:
    """Whether a host's name, or an address to bind, is of this machine alone."""
    return _is_loopback_name(host) or (_is_address(host) and ipaddress.ip_address(host).is_loopback)


def _name(url: str) -> str:
    """The host in lower case, without the dot that may end it; "" where there is none."""
    try:
        return (urlsplit(url).hostname or "").removesuffix(".")
    except ValueError:
        return ""


def _is_listed(name: str, hosts: Iterable[str]) -> bool:
    return name in {known.lower() for known in hosts}


def _is_loopback_name(name: str) -> bool:
    return name.lower() == "localhost" or name.lower().endswith(".localhost")


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
