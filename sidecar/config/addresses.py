"""Where the planes listen and where Redis is: texts of the config into addresses, without a look-up."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import urlsplit

from sidecar.config.problems import Path, Problems, shown
from sidecar.model.configured import Address

LOOPBACK = "127.0.0.1"
_ADDRESS = re.compile(r"(?:\[(?P<six>[^\]]*)\]:|(?P<host>[^:\[\]]*):|)(?P<port>\d{1,5})\Z", re.ASCII)
_NAME = re.compile(r"(?=.{1,253}\Z)[A-Za-z0-9_](?:[A-Za-z0-9_-]*[A-Za-z0-9_])?(?:\.[A-Za-z0-9_-]+)*\.?\Z")
_DIGITS = re.compile(r"[0-9.]+\Z")
_ADDRESS_RULE = "An address is HOST:PORT such as 127.0.0.1:4000, [::1]:4000 or 0.0.0.0:4000"
_REDIS = ("embedded", "redis://", "rediss://", "unix://", "memory")
_REDIS_LATER = ("redis+sentinel", "redis+cluster", "rediss+sentinel", "rediss+cluster")


def address(value: str | int, path: Path, problems: Problems) -> Address | None:
    """Where a plane listens. `:4000` and `4000` are loopback, not every interface: who wants those says so."""
    match = _ADDRESS.match(str(value))
    if match is None:
        problems.error(path, f"{shown(value)} is no address. {_ADDRESS_RULE}.")
        return None
    host, port = match["six"] or match["host"] or LOOPBACK, int(match["port"])
    if port > 65535:
        problems.error(path, f"{port} is no port. It is 0 to 65535.")
        return None
    if not (_is_ip6(host) if match["six"] is not None else is_host(host)):
        problems.error(path, f"{shown(host)} is no host. {_ADDRESS_RULE}.")
        return None
    return Address(host, port)


def is_host(text: str) -> bool:
    """Whether it is an IPv4 address or a host's name. What has only digits and dots must be the former."""
    return _ip(text) is not None if _DIGITS.match(text) else _NAME.match(text) is not None


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches it. A name is believed only if it is `localhost` or below it."""
    found = _ip(host)
    if found is None:
        name = host.lower().rstrip(".")
        return name == "localhost" or name.endswith(".localhost")
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return (mapped or found).is_loopback


def collide(one: Address, other: Address) -> bool:
    """Whether both cannot be bound at once: the same port on the same host, or on every host."""
    if one.port == 0 or one.port != other.port:
        return False
    hosts = {one.host.lower(), other.host.lower()}
    both_local = is_loopback(one.host) and is_loopback(other.host) and "localhost" in hosts
    return len(hosts) == 1 or both_local or any(found.is_unspecified for found in map(_ip, hosts) if found)


def redis_url(value: str, path: Path, problems: Problems) -> str | None:
    """A Redis URL, `embedded` or `memory`. No error repeats any of it but the scheme: it may hold a password."""
    if value in {"embedded", "memory"}:
        return str(value)
    scheme = value.split("://", 1)[0].lower()
    if scheme in _REDIS_LATER:
        problems.error(path, f"{scheme} is not supported yet. Supported: {', '.join(_REDIS)}.")
        return None
    if scheme not in {"redis", "rediss", "unix"} or "://" not in value:
        told = f"{shown(scheme)}://" if "://" in value else "this"
        problems.error(path, f"{told} is no Redis URL.", scheme, _REDIS)
        return None
    wrong = _redis_flaw(value)
    if wrong:
        problems.error(path, wrong)
        return None
    return str(value)


def _redis_flaw(url: str) -> str | None:
    """What is wrong with a URL of a known scheme, or None."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return "the host or the port of the URL cannot be read."
    if any(character.isspace() for character in url) or not url.isprintable():
        return "the URL holds a space or a control character. Write it as %20 in a password."
    if parts.scheme == "unix":
        return None if parts.path not in {"", "/"} else "the URL has no path. It is unix:///run/redis.sock."
    if not host:
        return "the URL has no host. It is redis://127.0.0.1:6379/0."
    if not re.fullmatch(r"/?\d{0,5}", parts.path, re.ASCII):
        return "the URL's path is no database number. It is redis://127.0.0.1:6379/0."
    return None


def _ip(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def _is_ip6(text: str) -> bool:
    return isinstance(_ip(text), ipaddress.IPv6Address)
