"""What the file says of the cache: where answers are kept, how, and how otherwise those of a route."""

from __future__ import annotations

from typing import Literal

from sidecar.config.addresses import redis_url
from sidecar.config.problems import Path, Problems, shown
from sidecar.config.read import bounded_size, bounded_us
from sidecar.config.schema import CacheEntry
from sidecar.model.configured import SECOND_US, Cache, Config

_LONGEST_US = 30 * 86_400 * SECOND_US
_LARGEST = 64 * 1024 * 1024  # bytes of an answer: it is in memory whole, and on its way to Redis in one piece
_MOST = 2**40  # bytes of all
_SCOPES: dict[str, Literal["all", "client"]] = {"all": "all", "client": "client"}
_DEFAULT, _NONE = Cache(), Config({})


def cache(entry: str | CacheEntry | None, problems: Problems) -> Cache | None:
    """How answers are kept where no route says otherwise; None: they are not."""
    made = _cache(entry, ("cache",), problems, _DEFAULT)
    return made if isinstance(made, Cache) else None


def of_route(
    entry: str | CacheEntry | None, path: Path, problems: Problems, base: Cache | None
) -> Cache | Literal["off"] | None:
    """How a route's answers are kept; None: as `base` says, by which also goes what it does not say itself."""
    for name in ("redis", "max_total"):
        if isinstance(entry, CacheEntry) and getattr(entry, name) is not None:
            problems.error((*path, name), f"is one for all routes. Say cache.{name} at the top of the file.")
    return _cache(entry, path, problems, base or _DEFAULT)


def _cache(
    entry: str | CacheEntry | None, path: Path, problems: Problems, base: Cache
) -> Cache | Literal["off"] | None:
    if entry is None:
        return None
    if isinstance(entry, str):
        if entry != "off":
            problems.error(path, f"{shown(entry)} is no cache. It is a mapping such as {{ttl: 10m}}, or off.")
        return "off"
    if entry.scope is not None and entry.scope not in _SCOPES:
        problems.error((*path, "scope"), f"{shown(entry.scope)} is no scope.", entry.scope, _SCOPES)
    ttl_us = bounded_us(entry.ttl, (*path, "ttl"), problems, least_us=1000, most_us=_LONGEST_US)
    return Cache(
        ttl_s=base.ttl_s if ttl_us is None else ttl_us / SECOND_US,
        max_bytes=bounded_size(entry.max_bytes, (*path, "max_bytes"), problems, base.max_bytes, _LARGEST),
        scope=base.scope if entry.scope is None else _SCOPES.get(entry.scope, base.scope),
    )


def place(entry: str | CacheEntry | None, problems: Problems) -> tuple[str, int]:
    """The URL of the cache's own Redis, or "", and how many bytes all answers may be."""
    if not isinstance(entry, CacheEntry):
        return _NONE.cache_redis, _NONE.cache_total
    most = bounded_size(entry.max_total, ("cache", "max_total"), problems, _NONE.cache_total, _MOST)
    if entry.redis is None:
        return "", most
    path: Path = ("cache", "redis")
    if entry.redis in {"embedded", "memory"}:
        problems.error(path, f"{shown(entry.redis)} is no Redis of its own. Leave it out: then answers are in `redis`.")
        return "", most
    return redis_url(entry.redis, path, problems) or "", most
