"""A config as the file would say it, without anything secret: what runs, with every default filled in."""

from __future__ import annotations

import math
from typing import Any, Literal
from urllib.parse import urlsplit, urlunsplit

import orjson

from sidecar.config.clients import written
from sidecar.config.limits import per
from sidecar.config.outcomes import told_statuses
from sidecar.model.configured import (
    SECOND_US,
    Auth,
    Breaker,
    Cache,
    Client,
    Config,
    Connections,
    Key,
    Limit,
    Override,
    Pool,
    Provider,
    Route,
    Target,
    Token,
)
from sidecar.providers import catalogue

Told = dict[str, Any]  # becomes JSON


def config(told: Config) -> Told:
    """The fields of the contract. Secrets and tokens are left out; keys say where they were read instead, and
    `admin_token` whether there is one."""
    return {
        "listen": str(told.listen),
        "ops_listen": str(told.ops_listen),
        "tls": {"cert": told.tls.cert, "key": told.tls.key} if told.tls else None,
        "redis": redis(told.redis),
        "namespace": told.namespace,
        "max_body": told.max_body,
        "max_waiting": told.max_waiting,
        "cache": _cache(told),
        "keepalive": "off" if told.keepalive_s is None else _seconds(told.keepalive_s),
        "hosts": list(told.hosts),
        "failures": told.failures or "off",
        "admin_token": told.admin_token is not None,
        "pools": {pool.name: _pool(told, pool) for pool in told.pools.values()},
        "routes": {name: _route(route) for name, route in told.routes.items()},
        "clients": [_client(client) for client in told.clients],
    }


def redis(url: str) -> str:
    """The URL without user, password and options, each of which may hold a secret."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], query="")) if parts.scheme else url


def _cache(told: Config) -> Told:
    place = {"max_total": told.cache_total} | ({"redis": redis(told.cache_redis)} if told.cache_redis else {})
    return {"of_all": cached(told.cache)} | place


def cached(cache: Cache | Literal["off"] | None) -> Told | str | None:
    """How answers are kept; None: nothing is said of that."""
    if not isinstance(cache, Cache):
        return cache
    return {
        "ttl": _duration(round(cache.ttl_s * SECOND_US)),
        "max_bytes": cache.max_bytes,
        "scope": cache.scope,
    }


def _pool(told: Config, pool: Pool) -> Told:
    """Limits are the account's, over all its keys: a file may say them of the pool or of a key."""
    return {
        "provider": pool.provider.name,
        "base_url": pool.provider.base_url,
        "dialects": list(pool.provider.dialects),
        "auth": _auth(pool.provider.auth),
        "probe": _probe(pool.provider),
        "keys": [_key(told, key) for key in pool.keys],
        "strategy": pool.strategy,
        "total": [_limit(limit) for limit in pool.total],
        "interactive_share": pool.interactive_share,
        "cooldown": {"default": _duration(pool.cooldowns.default_us), "max": _duration(pool.cooldowns.max_us)},
        "outcomes": [_outcome(override) for override in pool.provider.overrides],
        "max_wait": _duration(pool.max_wait_us),
        "max_attempts": pool.max_attempts,
        "timeout": _seconds(pool.timeout_s),
        "first_byte_timeout": _seconds(pool.timeout_s if pool.first_byte_s is None else pool.first_byte_s),
        "idle_timeout": _seconds(pool.idle_s),
        "include_usage": pool.include_usage,
        "retry_unsafe": pool.retry_unsafe,
        "proxy": str(pool.proxy),
        "ca_bundle": pool.ca_bundle.path if pool.ca_bundle else "system",
        "connections": _connections(pool.connections),
        "retry_budget": "off" if pool.retry_budget == math.inf else pool.retry_budget,
        "breaker": _breaker(pool.breaker),
    }


def _breaker(breaker: Breaker | None) -> Told | str:
    if breaker is None:
        return "off"
    within, pause = _duration(breaker.within_us), _duration(breaker.pause_us)
    return {"failures": breaker.failures, "within": within, "pause": pause}


def _probe(provider: Provider) -> str:
    asked = catalogue.probe(provider)
    return provider.probe or f"{asked.prefix}{asked.operation}" if asked else "off"


def _key(told: Config, key: Key) -> Told:
    account = {"account": key.account[1:]} if key.account.startswith("=") else {}
    limits = [_limit(limit) for limit in told.budgets.get(key.account, ())]
    shown = {
        "id": key.id,
        "fingerprint": key.fingerprint,
        "origin": key.origin,
        **account,
        "weight": key.weight,
        "priority": key.priority,
    }
    if key.proxy is not None:
        shown["proxy"] = str(key.proxy)
    return shown | {"models": list(key.models), "limits": limits}


def _connections(told: Connections) -> Told:
    most = {"max": told.max} if told.max else {}
    return most | {"keepalive": _duration(round(told.keepalive_s * SECOND_US))}


def _limit(limit: Limit) -> Told:
    if limit.unit == "concurrency":
        return {"concurrency": limit.max}
    shown: Told = {limit.unit: limit.max}
    if limit.calendar is not None:
        shown |= {"per": f"calendar_{limit.calendar.period}", "tz": limit.calendar.zone}
    else:
        shown |= {"per": per(limit)}
    if limit.model:
        shown["model"] = limit.model
    if limit.unit in {"tokens", "input_tokens"}:
        shown["count_cached"] = limit.count_cached
    return shown | {"guard": _duration(limit.guard_us), "enforce": limit.enforce}


def _outcome(override: Override) -> Told:
    shown: Told = {"class": str(override.kind), "scope": str(override.scope)}
    if override.statuses:
        shown["status"] = told_statuses(override)
    if override.body:
        shown["body"] = override.body
    if override.delay_s is not None:
        shown["delay"] = _duration(round(override.delay_s * SECOND_US))
    return shown


def _auth(auth: Auth) -> str | Told:
    return {auth.kind: auth.name} if auth.name else auth.kind


def _route(route: Route) -> Told:
    return {
        "targets": [target(one) for one in route.targets],
        "mask_model": route.mask_model,
        "fallback_on": sorted(route.fallback_on),
        "retry_empty": route.retry_empty,
        "cache": cached(route.cache),
    }


def target(target: Target) -> Told:
    """Of its headers the names: their values may be secret."""
    changes = target.parameters
    said: Told = {
        "model": target.model,
        "weight": target.weight or None,
        "group": target.group or None,
        "set": {name: orjson.loads(value) for name, value in changes.fixed},
        "default": {name: orjson.loads(value) for name, value in changes.default},
        "max": dict(changes.most),
        "remove": list(changes.removed),
        "headers": [name for name, _ in target.headers],
    }
    return {"pool": target.pool} | {name: value for name, value in said.items() if value}


def _client(client: Client) -> Told:
    return {
        "id": client.id,
        "tokens": [token(one) for one in client.tokens],
        "models": list(client.models),
        "limits": [_limit(limit) for limit in client.limits],
        "priority": "batch" if client.batch else "interactive",
    }


def token(told: Token) -> Told:
    """By the first digits of its hash: of a token that somebody chose the whole of it would help to guess it."""
    return {"hash": told.name, "expires": None if told.expires_s is None else written(told.expires_s)}


def _seconds(time_s: float) -> str:
    return _duration(round(time_s * SECOND_US))


def _duration(us: int) -> str:
    return f"{us // SECOND_US}s" if us % SECOND_US == 0 else f"{us / 1000:g}ms"
