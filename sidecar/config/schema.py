"""What the YAML may say: every field of the contract, also those whose feature is not there yet.

None stands for what was not said; the defaults are those of `model/words.py`.
"""

from __future__ import annotations

from typing import Any

import msgspec

Quantity = str | int  # a duration or a size with its unit, or an address


class LimitEntry(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """So many of a unit `per` window: `{requests: 15, per: minute}`; several units at once are a limit each."""

    per: Quantity
    requests: int | None = None
    tokens: int | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    model: str | None = None
    guard: Quantity | None = None
    tz: str | None = None
    enforce: bool | None = None
    count_cached: bool | None = None


class KeyEntry(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """One key of a list: its secret here, by `${NAME}`, or in a file."""

    id: str
    secret: str | None = None
    secret_file: str | None = None
    account: str | None = None
    weight: int | None = None
    priority: int | None = None
    models: list[str] | None = None
    proxy: str | None = None
    limits: list[LimitEntry] | None = None


class KeySources(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Where many keys come from; both together are read in this order."""

    from_env: str | list[str] | None = None
    from_dir: str | None = None


class AuthEntry(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """`{header: x-api-key}` or `{query: key}`."""

    header: str | None = None
    query: str | None = None


class CooldownEntry(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    default: Quantity | None = None
    max: Quantity | None = None


class ConnectionsEntry(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Of one replica to an origin."""

    max: int | None = None
    keepalive: Quantity | None = None


class TlsEntry(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Two PEM files, read again when they change."""

    cert: str
    key: str


class BreakerEntry(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """When nobody asks a provider for a while: `{failures: 10, within: 30s, pause: 5s}`."""

    failures: int | None = None
    within: Quantity | None = None
    pause: Quantity | None = None


class OutcomeEntry(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """What answers of this status, or with these words, mean: `{status: 402, class: invalid_key}`."""

    kind: str = msgspec.field(name="class")
    status: int | str | list[int | str] | None = None
    body: str | None = None
    scope: str | None = None
    delay: Quantity | None = None


class PoolEntry(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    provider: str | None = None
    base_url: str | None = None
    dialect: str | None = None
    auth: str | AuthEntry | None = None
    probe: str | None = None  # a path below base_url, or `off`
    keys: list[KeyEntry] | KeySources | None = None
    from_dir: str | None = None  # the same as below `keys`, beside a list of them
    strategy: str | None = None
    limits: list[LimitEntry] | None = None
    total: list[LimitEntry] | None = None
    concurrency: int | None = None
    interactive_share: str | float | None = None  # `0.2` or `20%`
    cooldown: CooldownEntry | None = None
    outcomes: list[OutcomeEntry] | None = None
    max_wait: Quantity | None = None
    max_attempts: int | None = None
    timeout: Quantity | None = None
    first_byte_timeout: Quantity | None = None
    idle_timeout: Quantity | None = None
    retry_unsafe: bool | None = None
    proxy: str | None = None  # a URL, or `off`
    ca_bundle: str | None = None  # a PEM file, or `system`
    connections: ConnectionsEntry | None = None
    retry_budget: str | float | None = None  # `0.2`, `20%` or `off`
    breaker: str | BreakerEntry | None = None  # or `off`
    include_usage: bool | None = None


class TargetEntry(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A target of a route, and what it changes of the requests that go to it."""

    pool: str
    model: str | None = None
    weight: int | None = None
    fixed: dict[str, Any] | None = msgspec.field(name="set", default=None)
    default: dict[str, Any] | None = None
    most: dict[str, float] | None = msgspec.field(name="max", default=None)
    remove: list[str] | None = None
    headers: dict[str, str] | None = None


Targets = list[TargetEntry | list[TargetEntry]]  # a list in it is a group, which shares what comes to it


class CacheEntry(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    ttl: Quantity | None = None
    max_bytes: Quantity | None = None
    scope: str | None = None
    max_total: Quantity | None = None
    redis: str | None = None


class RouteEntry(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A route that says more than its targets."""

    targets: Targets
    mask_model: bool | None = None
    fallback_on: list[str] | None = None
    retry_empty: bool | None = None
    cache: str | CacheEntry | None = None  # or `off`


class TokenEntry(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A virtual key, itself or as `sha256:` and 64 hex digits: `{token_hash: "sha256:...", expires: 2027-01-31}`."""

    token: str | None = None
    token_hash: str | None = None
    expires: str | None = None


class ClientEntry(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Who may call: with one virtual key, or with any of `tokens`."""

    id: str
    token: str | None = None
    token_hash: str | None = None
    expires: str | None = None
    tokens: list[TokenEntry] | None = None
    models: list[str] | None = None
    limits: list[LimitEntry] | None = None
    concurrency: int | None = None
    priority: str | None = None
    overage: str | None = None


class Document(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A whole file. Each of these fields may be given as `SIDECAR_<FIELD>` too."""

    listen: Quantity | None = None
    ops_listen: Quantity | None = None
    tls: TlsEntry | None = None
    ca_bundle: str | None = None  # of every pool that names none
    redis: str | None = None
    namespace: str | None = None
    max_body: Quantity | None = None
    max_waiting: int | None = None
    keepalive: Quantity | None = None
    store_failure: str | None = None
    hosts: list[str] | None = None
    failures: str | None = None
    admin_token: str | None = None
    pools: dict[str, PoolEntry] | None = None
    routes: dict[str, Targets | RouteEntry] | None = None
    clients: list[ClientEntry] | None = None
    cache: str | CacheEntry | None = None  # or `off`
