"""How providers are reached and what `listen` presents: proxies, trusted certificates, connections, the TLS pair."""

from __future__ import annotations

import hashlib
import ipaddress
import re
import ssl
import stat
from collections.abc import Mapping
from dataclasses import replace
from typing import Literal, NoReturn, cast
from urllib.parse import SplitResult, unquote, urlsplit

from sidecar.config.addresses import is_host, is_loopback
from sidecar.config.problems import Path, Problems, shown
from sidecar.config.read import bounded_us
from sidecar.config.schema import ConnectionsEntry, PoolEntry, TlsEntry
from sidecar.config.secrets import Sources
from sidecar.model.configured import DIRECT, SECOND_US, CaBundle, Connections, Pool, Proxy, Secret, Tls

PORTS = {"http": 80, "https": 443, "socks5": 1080, "socks5h": 1080}
_PROXY_RULE = "It is such as http://proxy.example:3128, socks5h://user:password@proxy.example:1080, or off"
_CERTIFICATE = re.compile("-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)
# OpenSSL's words for another's key, the last two for one of another kind: it finds no certificate of that kind.
_MISFITS = frozenset({"KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH", "NO_CERTIFICATE_ASSIGNED"})
_LARGEST = 16 * 1024 * 1024  # bytes of a bundle; the system's own has 250,000
_MOST_CONNECTIONS = 65_535  # ports of one address
_LONGEST_US = 3600 * SECOND_US


def reaching(
    pool: Pool, entry: PoolEntry, base_url: str, trusted: CaBundle | None, path: Path, sources: Sources
) -> Pool:
    """The pool with how its provider is reached. `trusted`: what holds where it names no bundle."""
    own = proxy(entry.proxy, (*path, "proxy"), sources.problems)
    named = ca_bundle(entry.ca_bundle, (*path, "ca_bundle"), sources)
    return replace(
        pool,
        proxy=own or _of_environment(base_url, path, sources),
        ca_bundle=trusted if entry.ca_bundle is None else named,
        connections=_connections(entry.connections or ConnectionsEntry(), (*path, "connections"), sources.problems),
    )


# --- proxies ----------------------------------------------------------------------------------------


def proxy(text: str | None, path: Path, problems: Problems) -> Proxy | None:
    """None where nothing was said, or after telling what is wrong. No error repeats the URL: it may hold a password."""
    if text is None:
        return None
    if text == "off":
        return DIRECT
    wrong = _proxy_flaw(text)
    if wrong:
        problems.error(path, f"{wrong} {_PROXY_RULE}.")
        return None
    return _proxy(_split(text))


def _split(text: str) -> SplitResult:
    """A URL without a scheme is `http`, as everywhere."""
    return urlsplit(text if "://" in text else f"http://{text}")


def _credentials(url: SplitResult) -> tuple[str, str, str]:
    """User, what parts it from the password, password."""
    user, between, password = url.netloc.rpartition("@")[0].partition(":")
    return unquote(user), between, unquote(password)


def _proxy(url: SplitResult) -> Proxy:
    login = "".join(_credentials(url))
    scheme = cast(Literal["http", "https", "socks5", "socks5h"], url.scheme)
    return Proxy(scheme, str(url.hostname), url.port or PORTS[url.scheme], Secret(login) if login else None)


def _proxy_flaw(text: str) -> str | None:
    try:
        url = _split(text)
        host, port = url.hostname, url.port
    except ValueError:
        return "the host or the port of the URL cannot be read."
    flaws = (
        (url.scheme not in PORTS, f"{shown(url.scheme)} is no proxy's scheme; known: {', '.join(PORTS)}."),
        (not host or not (is_host(host) or ":" in host) or port == 0, "is no proxy's URL."),
        (url.path not in {"", "/"} or bool(url.query or url.fragment), "the URL holds more than a proxy's address."),
        (not text.isascii() or not text.isprintable() or " " in text, "a character must be written as %XX."),
        (":" in _credentials(url)[0], "a user's name with a colon cannot be told from its password."),
        (
            url.scheme.startswith("socks") and not _fits_socks(*_credentials(url)),
            "SOCKS5 takes no such login: a user's name of 1 to 255 ASCII characters, and a password of as many.",
        ),
    )
    return next((told for wrong, told in flaws if wrong), None)


def _fits_socks(user: str, between: str, password: str) -> bool:
    """RFC 1929 gives each a byte for its length, and the library ASCII."""
    if not between and not user:
        return True
    return all(part.isascii() and 1 <= len(part) <= 255 for part in (user, password))


def _of_environment(base_url: str, path: Path, sources: Sources) -> Proxy:
    """The proxy that variables name for an origin: HTTPS_PROXY or HTTP_PROXY by its scheme, else ALL_PROXY, unless
    NO_PROXY names it, as curl reads them. What is on this machine is reached directly, as in Go."""
    url, environment = urlsplit(base_url), sources.environment
    host, port = url.hostname or "", url.port or PORTS[url.scheme]
    if is_loopback(host) or _is_excepted(host, port, _variable("no_proxy", environment)[1]):
        return DIRECT
    name, text = _variable(f"{url.scheme}_proxy", environment)
    if not text:
        name, text = _variable("all_proxy", environment)
    if not text:
        return DIRECT
    wrong = _proxy_flaw(text)
    if wrong:
        remedy = f"Mend it, name {host} in NO_PROXY, or give the pool a proxy: of its own, or off."
        sources.problems.error((*path, "proxy"), f"{environment.origin(name)}: {wrong} {remedy}")
        return DIRECT
    return replace(_proxy(_split(text)), origin=environment.origin(name))


def _variable(name: str, environment: Mapping[str, str]) -> tuple[str, str]:
    """Its name and value; in lower case it goes first, as for curl."""
    found = next((one for one in (name, name.upper()) if environment.get(one, "").strip()), name)
    return found, environment.get(found, "").strip()


def _is_excepted(host: str, port: int, no_proxy: str) -> bool:
    """Whether NO_PROXY names it: `*`, a domain with all below it, an address, a network such as 10.0.0.0/8; `:port` may
    follow a domain or an address."""
    host = host.lower().removesuffix(".")
    return any(_excepts(entry.lower(), host, port) for entry in re.split(r"[,\s]+", no_proxy) if entry)


def _excepts(entry: str, host: str, port: int) -> bool:
    if entry == "*":
        return True
    with_port = re.fullmatch(r"(?:\[(?P<six>.+)\]|(?P<name>[^:]*)):(?P<port>\d+)", entry)
    if with_port is not None:
        if int(with_port["port"]) != port:
            return False
        entry = with_port["six"] or with_port["name"]
    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(entry.strip("[]"), strict=False)
    except ValueError:
        name = entry.removeprefix("*").removeprefix(".").removesuffix(".")
        return bool(name) and (host == name or host.endswith(f".{name}"))


# --- certificates -----------------------------------------------------------------------------------


def ca_bundle(text: str | None, path: Path, sources: Sources) -> CaBundle | None:
    """The certificates of a PEM file; None where the system's hold, or after telling what is wrong."""
    if text is None or text == "system":
        return None
    content = _content(text, path, sources)
    if content is None:
        return None
    pem = "\n".join(_CERTIFICATE.findall(content.decode("latin-1")))
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=pem)
    except (ssl.SSLError, ValueError):
        sources.problems.error(path, f"{shown(text)} holds no certificate that can be read, in PEM.")
        return None
    return CaBundle(str(text), pem)


def tls(entry: TlsEntry | None, path: Path, sources: Sources) -> Tls | None:
    """The pair, which fits; None without one, or after telling what is wrong."""
    if entry is None:
        return None
    contents = [_content(getattr(entry, name), (*path, name), sources) for name in ("cert", "key")]
    found = [content for content in contents if content is not None]
    if len(found) < 2:
        return None
    cert, key = (str(sources.path(text)) for text in (entry.cert, entry.key))
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(cert, key, password=_no_password)
    except (OSError, _Encrypted) as error:
        sources.problems.error(path, f"{_pair_flaw(error)} Both are PEM, the certificate with its chain.")
        return None
    return Tls(cert, key, hashlib.blake2b(b"\0".join(found), digest_size=16).hexdigest())


class _Encrypted(Exception):
    """A private key is encrypted."""


def _no_password() -> NoReturn:
    """Stands where OpenSSL would ask the terminal."""
    raise _Encrypted


def _pair_flaw(error: Exception) -> str:
    if isinstance(error, _Encrypted):
        return "the private key is encrypted, and nobody is here to give its password."
    if isinstance(error, ssl.SSLError) and error.reason in _MISFITS:
        return "the private key is not that of the certificate."
    return "the certificate or its private key cannot be read."


def _content(text: str, path: Path, sources: Sources) -> bytes | None:
    """What a file holds; None after telling why it cannot be read. A pipe or a device could block the start."""
    file = sources.path(text)
    sources.files.note(file)
    try:
        if not stat.S_ISREG(file.stat().st_mode):
            sources.problems.error(path, f"{shown(text)} is no regular file.")
            return None
        with file.open("rb") as opened:
            return opened.read(_LARGEST)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is no path"
        sources.problems.error(path, f"{shown(text)} cannot be read: {reason}.")
        return None


# --- connections ------------------------------------------------------------------------------------


def _connections(entry: ConnectionsEntry, path: Path, problems: Problems) -> Connections:
    keepalive_us = bounded_us(entry.keepalive, (*path, "keepalive"), problems, least_us=0, most_us=_LONGEST_US)
    if entry.max is not None and not 1 <= entry.max <= _MOST_CONNECTIONS:
        problems.error((*path, "max"), f"{entry.max} is no number of connections. It is 1 to {_MOST_CONNECTIONS}.")
    default = Connections()
    kept_s = default.keepalive_s if keepalive_us is None else keepalive_us / SECOND_US
    return Connections(default.max if entry.max is None else entry.max, kept_s)
