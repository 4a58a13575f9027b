"""Secrets are revealed here to be found in a text, so that their ids stand there instead."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from urllib.parse import parse_qsl, unquote, urlsplit

from sidecar.model.configured import Config, Secret
from sidecar.model.redaction import anchor, pattern, ways
from sidecar.model.tokens import LENGTH, PREFIX, SHAPE

Redact = Callable[[str], str]

_LEAST = 4  # characters: a shorter one, as for a server that wants no key, stands in any text
_WIDTH = 8  # characters of a secret that are looked up; few texts hold those of any
_WIDEST_SIGN = 16  # characters that one of a secret may be written with
_SHORT, _MOST = 256, 1024  # characters of a text that is remembered, and how many such texts
_VIRTUAL_KEY = "virtual-key"  # what one is called of which the config knows the digest alone, or nothing


class Redactor:
    """Replaces secrets by their names, and what has the shape of a virtual key, whoever's it is.

    What it costs grows with the text and hardly with the secrets, of which there may be a thousand: only those whose
    end of an anchor a text holds are searched for. A log says the same paths and models again and again, so what became
    of short texts is remembered.
    """

    def __init__(self, names: Mapping[Secret, str]) -> None:
        secrets = (secret for secret in names if _length(secret) >= _LEAST)
        self._names = {secret: names[secret] for secret in sorted(secrets, key=_length, reverse=True)}
        self._order = {secret: at for at, secret in enumerate(self._names)}
        self._ends: dict[int, defaultdict[str, list[Secret]]] = {}  # by width
        for secret in self._names:
            end = anchor(secret.reveal())[-_WIDTH:]
            self._ends.setdefault(len(end), defaultdict(list))[end].append(secret)
        self._reach = _WIDEST_SIGN * max([LENGTH, *map(_length, names)])
        self._known: dict[str, str] = {}

    def __call__(self, text: str) -> str:
        """The text with the name of each secret wherever it wrote it."""
        if len(text) > _SHORT:
            return self._replaced(text, len(text))
        clean = self._known.get(text)
        if clean is None:
            if len(self._known) >= _MOST:
                self._known.clear()
            clean = self._known[text] = self._replaced(text, len(text))
        return clean

    def head(self, text: str, most: int) -> str:
        """The first characters of a text. A secret that lies across the cut is told by its name, like any other."""
        return self._replaced(text[: most + self._reach], most)

    def _replaced(self, text: str, most: int) -> str:
        return next((clean for way in ways(text) if (clean := self._cleaned(way, most)) is not None), text[:most])

    def _cleaned(self, text: str, most: int) -> str | None:
        """The first characters, or None where no secret begins in them."""
        secrets = self._suspects(text)
        if not secrets and PREFIX not in text:
            return None
        told, at = [], 0
        for match in _search(secrets).finditer(text):
            if match.start() >= most:
                break
            name = self._names[secrets[match.lastindex - 1]] if match.lastindex else _VIRTUAL_KEY
            told += [text[at : match.start()], name]
            at = match.end()
        return "".join([*told, text[at:most]]) if told else None

    def _suspects(self, text: str) -> tuple[Secret, ...]:
        """The secrets that may be in a text, the longest first: where one begins another, the longer one is meant."""
        found: set[Secret] = set()
        for width, ends in self._ends.items():
            for at in range(len(text) - width + 1):
                if (end := text[at : at + width]) in ends:
                    found.update(ends[end])
        return tuple(sorted(found, key=self._order.__getitem__))


def redactor(*configs: Config) -> Redactor:
    """What replaces every key's secret, client's token and password of the configs by its id, in each of its forms."""
    names: dict[Secret, str] = {}
    for text, name in (found for config in configs for found in _secrets(config)):
        if text:
            names.setdefault(Secret(text), name)
    return Redactor(names)


@lru_cache(maxsize=256)
def _search(secrets: tuple[Secret, ...]) -> re.Pattern[str]:
    """Finds the secrets; its groups are in their order. Without a group it finds what has a virtual key's shape."""
    return re.compile("|".join([*(f"({pattern(secret.reveal())})" for secret in secrets), SHAPE.pattern]))


def _length(secret: Secret) -> int:
    return len(secret.reveal())


def _secrets(config: Config) -> Iterator[tuple[str, str]]:
    for pool in config.pools.values():
        for key in pool.keys:
            yield key.secret.reveal(), key.id
    for client in config.clients:
        yield from ((secret.reveal(), client.id) for secret in client.secrets)
    if config.admin_token is not None:
        yield config.admin_token.reveal(), "admin_token"
    for pool in config.pools.values():
        for proxy in (pool.proxy, *(key.proxy for key in pool.keys)):
            if proxy is not None:
                user, password = proxy.credentials()
                yield password or user, "proxy-password"
    yield from _of_headers(config)
    for url in map(urlsplit, (config.redis, config.cache_redis)):
        passwords = [url.password or "", *(value for name, value in parse_qsl(url.query) if name == "password")]
        for password in passwords:
            yield password, "redis-password"
            yield unquote(password), "redis-password"


def _of_headers(config: Config) -> Iterator[tuple[str, str]]:
    for target in (one for route in config.routes.values() for one in route.targets):
        yield from ((secret.reveal(), name) for secret, name in target.secrets)
