"""Who may be meant by `Host` and `Origin`: else any web page could spend the keys through the user's browser."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from urllib.parse import urlsplit


def host_allowed(host: str | None, hosts: Iterable[str]) -> bool:
    """Whether a `Host` header is an IP literal, a loopback name or one of `hosts`; the port is not looked at."""
    try:
        name = urlsplit(f"//{host}").hostname if host else None
    except ValueError:
        return False
    if name is None:
        return False
    return _is_address(name) or _is_loopback_name(name) or name in {known.lower() for known in hosts}


def origin_allowed(origin: str | None, hosts: Iterable[str]) -> bool:
    """Whether an `Origin` header is absent, or a page of this machine or of one of `hosts`."""
    if origin is None:
        return True
    try:
        name = urlsplit(origin).hostname
    except ValueError:
        return False
    if name is None:
        return False
    if _is_address(name):
        return ipaddress.ip_address(name).is_loopback or name in hosts
    return _is_loopback_name(name) or name in {known.lower() for known in hosts}


def is_loopback(host: str) -> bool:
    """Whether an address to bind is of this machine alone."""
    return _is_loopback_name(host) or (_is_address(host) and ipaddress.ip_address(host).is_loopback)


def _is_loopback_name(name: str) -> bool:
    return name == "localhost" or name.endswith(".localhost")


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
