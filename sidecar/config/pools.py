"""A pool of the file, checked by itself: what several pools share is settled in `accounts.py`."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import get_args

from sidecar.config import network, upstreams
from sidecar.config.limits import check_model, concurrency, limits
from sidecar.config.outcomes import overrides
from sidecar.config.problems import Path, Problems, shown
from sidecar.config.read import bounded_us, share
from sidecar.config.schema import BreakerEntry, CooldownEntry, KeyEntry, PoolEntry, Quantity
from sidecar.config.secrets import Found, Sources, fingerprint, gather, unique
from sidecar.model.configured import (
    SECOND_US,
    Auth,
    Breaker,
    CaBundle,
    Cooldowns,
    Limit,
    Pool,
    Provider,
    Proxy,
    Strategy,
)
from sidecar.providers import catalogue

_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}\Z")
_STRATEGIES: tuple[Strategy, ...] = get_args(Strategy)
_DAY_US = 24 * 3600 * SECOND_US
_MOST_ATTEMPTS = 100
_MOST_WEIGHT, _MOST_PRIORITY = 1000, 99
_MOST_FAILURES = 10_000
_MOST_SHARE = 0.9
_DEFAULT = Pool("", Provider("", "", Auth("none"), {}), ())


@dataclass(frozen=True, slots=True)
class DraftKey:
    """A key before it is known whose quota it is. `limits` are its own and those that it leaves of its pool's."""

    found: Found
    fingerprint: str
    limits: tuple[Limit, ...]
    models: tuple[str, ...] = ()
    weight: int = 1
    priority: int = 0
    proxy: Proxy | None = None


@dataclass(frozen=True, slots=True)
class Claim:
    """Some key says whose quota a secret's is."""

    fingerprint: str
    account: str
    path: Path
    key: str  # `pool/id`


@dataclass(frozen=True, slots=True)
class Draft:
    """A pool whose keys have no accounts yet. `claims` are also those of keys that duplicate another's secret."""

    pool: Pool
    keys: tuple[DraftKey, ...]
    claims: tuple[Claim, ...]

    def naming(self, models: Iterable[str]) -> Draft:
        """The draft of a pool that names these models as well."""
        names = dict.fromkeys((*self.pool.names_models, *models))
        return replace(self, pool=replace(self.pool, names_models=tuple(names)))


def draft(name: str, entry: PoolEntry, sources: Sources, namespace: str, trusted: CaBundle | None) -> Draft | None:
    """The pool, or None after telling what is wrong with it. `trusted`: what it trusts unless it says otherwise."""
    problems, path = sources.problems, ("pools", name)
    if not _NAME.match(name):
        problems.error(path, "is no pool's name. It is 1 to 64 letters, digits and . _ -")
        return None
    strategy = _strategy(entry.strategy, (*path, "strategy"), problems)
    provider = upstreams.provider(name, entry, problems)
    if provider is not None:
        provider = replace(provider, overrides=overrides(entry.outcomes, provider, (*path, "outcomes"), problems))
    zone = (provider or _DEFAULT.provider).zone
    shared = limits(entry.limits, zone, (*path, "limits"), problems)
    shared += concurrency(entry.concurrency, (*path, "concurrency"), problems)
    total = limits(entry.total, zone, (*path, "total"), problems)
    told = _told(entry, path, problems)
    if provider is not None:
        told = network.reaching(told, entry, provider.base_url, trusted, path, sources)
    needed = provider is None or provider.auth.kind != "none"
    found = gather(name, entry, sources, needed=needed)
    keys = tuple(_key(key, shared, zone, namespace, problems) for key in unique(name, found, problems))
    if not problems.under((*path, "strategy")):
        keys = _in_effect(keys, strategy, (*path, "keys"), problems)
    if not keys and not any(problems.under((*path, field)) for field in ("keys", "from_dir")):
        said = entry.keys is not None or entry.from_dir is not None
        where = ": none of those named is usable" if said else ""
        problems.error(
            (*path, "keys"), f"the pool has no key{where}. Give one as keys: {{from_env: {_variable(name, entry)}}}."
        )
    if provider is None or problems.under(path):
        return None
    named = [model for key in keys for model in key.models]
    named += [limit.model for owner in (shared, *(key.limits for key in keys), total) for limit in owner if limit.model]
    pool = replace(
        told,
        name=name,
        provider=provider,
        strategy=strategy,
        total=total,
        names_models=tuple(dict.fromkeys(named)),
    )
    return Draft(pool, keys, tuple(_claims(name, found, namespace)))


def _variable(name: str, entry: PoolEntry) -> str:
    """What a variable for this pool's keys would be called."""
    if entry.provider in catalogue.names():
        return catalogue.preset(entry.provider).environment[0]
    return re.sub(r"\W", "_", name.upper()) + "_API_KEY"


def _claims(pool: str, found: list[Found], namespace: str) -> list[Claim]:
    return [
        Claim(fingerprint(key.secret.reveal(), namespace), str(key.entry.account), key.path, f"{pool}/{key.id}")
        for key in found
        if key.entry is not None and key.entry.account is not None
    ]


def _key(found: Found, shared: tuple[Limit, ...], zone: str, namespace: str, problems: Problems) -> DraftKey:
    entry, secret = found.entry, fingerprint(found.secret.reveal(), namespace)
    if entry is None:
        return DraftKey(found, secret, shared)
    _check_account(entry.account, (*found.path, "account"), problems)
    own = limits(entry.limits, zone, (*found.path, "limits"), problems)
    names = {limit.name for limit in own}
    return DraftKey(
        found,
        secret,
        limits=(*own, *(limit for limit in shared if limit.name not in names)),
        models=_models(entry, (*found.path, "models"), problems),
        weight=_weight(entry.weight, (*found.path, "weight"), problems),
        priority=_priority(entry.priority, (*found.path, "priority"), problems),
        proxy=network.proxy(entry.proxy, (*found.path, "proxy"), problems),
    )


def _weight(value: int | None, path: Path, problems: Problems) -> int:
    if value is not None and not 1 <= value <= _MOST_WEIGHT:
        problems.error(path, f"{value} is no weight. It is 1 to {_MOST_WEIGHT}.")
    return 1 if value is None else value


def _priority(value: int | None, path: Path, problems: Problems) -> int:
    if value is not None and not 0 <= value <= _MOST_PRIORITY:
        problems.error(path, f"{value} is no priority. It is 0, which comes first, to {_MOST_PRIORITY}.")
    return value or 0


def _in_effect(keys: tuple[DraftKey, ...], strategy: Strategy, path: Path, problems: Problems) -> tuple[DraftKey, ...]:
    """The keys without the weights and priorities that the strategy does not ask for, which are told."""
    weighted, ranked = strategy == "weighted", strategy == "priority"
    if not weighted and any(key.weight != 1 for key in keys):
        problems.warn(path, f"weights count with strategy: weighted. With {strategy} they have no effect.")
    if not ranked and any(key.priority for key in keys):
        problems.warn(path, f"priorities count with strategy: priority. With {strategy} they have no effect.")
    return tuple(
        replace(key, weight=key.weight if weighted else 1, priority=key.priority if ranked else 0) for key in keys
    )


def _check_account(account: str | None, path: Path, problems: Problems) -> None:
    if account is not None and not (
        account and account.isprintable() and "|" not in account and len(account.encode()) < 128
    ):
        problems.error(path, f"{shown(account)} is no account. It is 1 to 127 bytes of printable text without |")


def _models(entry: KeyEntry, path: Path, problems: Problems) -> tuple[str, ...]:
    if entry.models is not None and not entry.models:
        problems.error(path, "is empty, so the key would serve nothing. Leave it out for every model.")
    for index, model in enumerate(entry.models or ()):
        check_model(model, (*path, index), problems)
    return tuple(str(model) for model in entry.models or ())


def _strategy(value: str | None, path: Path, problems: Problems) -> Strategy:
    found = next((strategy for strategy in _STRATEGIES if strategy == value), None)
    if value is not None and found is None:
        problems.error(path, f"{shown(value)} is no strategy.", value, _STRATEGIES)
    return found or _DEFAULT.strategy


def _interactive_share(value: str | float | None, path: Path, problems: Problems) -> float:
    if value is None:
        return _DEFAULT.interactive_share
    part = share(value)
    if part is None or part > _MOST_SHARE:
        percent = part is not None and 1 < part <= 100 and not str(value).endswith("%") * _MOST_SHARE
        meant = f' Did you mean "{value}%"?' if percent else ""
        problems.error(
            path, f"{shown(value)} is no share. It is 0 to {_MOST_SHARE}, or 0% to {_MOST_SHARE:.0%}.{meant}"
        )
    return part or 0.0


def _retry_budget(value: str | float | None, path: Path, problems: Problems) -> float:
    if value is None or value == "off":
        return _DEFAULT.retry_budget if value is None else math.inf
    part = share(value)
    if part is None or part > 1:
        percent = part is not None and 1 < part <= 100 and not str(value).endswith("%")
        meant = f' Did you mean "{value}%"?' if percent else ""
        problems.error(path, f"{shown(value)} is no share. It is 0 to 1, or 0% to 100%, or off: no bound.{meant}")
    return part or 0.0


def _breaker(entry: str | BreakerEntry | None, path: Path, problems: Problems) -> Breaker | None:
    known = Breaker()
    if entry is None:
        return known
    if isinstance(entry, str):
        if entry != "off":
            problems.error(path, f"{shown(entry)} is no breaker. It is such as {{failures: 10, pause: 5s}}, or off.")
        return None
    failures = known.failures if entry.failures is None else entry.failures
    if not 1 <= failures <= _MOST_FAILURES:
        text = f"{failures} is no number of failures in a row. It is 1 to {_MOST_FAILURES}."
        problems.error((*path, "failures"), text)
    within_us = bounded_us(entry.within, (*path, "within"), problems, least_us=1, most_us=_DAY_US)
    pause_us = bounded_us(entry.pause, (*path, "pause"), problems, least_us=1, most_us=_DAY_US)
    return Breaker(failures, within_us or known.within_us, pause_us or known.pause_us)


def _told(entry: PoolEntry, path: Path, problems: Problems) -> Pool:
    """A pool with the times and numbers of the entry; defaults give way to what was said beside them."""
    timeout_us = bounded_us(entry.timeout, (*path, "timeout"), problems, least_us=1, most_us=_DAY_US)
    timeout_us = int(_DEFAULT.timeout_s * SECOND_US) if timeout_us is None else timeout_us
    max_wait_us = _within(entry.max_wait, "max_wait", timeout_us, path, problems, least_us=0)
    first_byte_us = _within(entry.first_byte_timeout, "first_byte_timeout", timeout_us, path, problems)
    idle_us = _within(entry.idle_timeout, "idle_timeout", timeout_us, path, problems)
    attempts = _DEFAULT.max_attempts if entry.max_attempts is None else entry.max_attempts
    if not 1 <= attempts <= _MOST_ATTEMPTS:
        problems.error((*path, "max_attempts"), f"{attempts} is no number of attempts. It is 1 to {_MOST_ATTEMPTS}.")
    return replace(
        _DEFAULT,
        cooldowns=_cooldowns(entry.cooldown or CooldownEntry(), (*path, "cooldown"), problems),
        max_wait_us=min(_DEFAULT.max_wait_us, timeout_us) if max_wait_us is None else max_wait_us,
        max_attempts=attempts,
        interactive_share=_interactive_share(entry.interactive_share, (*path, "interactive_share"), problems),
        timeout_s=timeout_us / SECOND_US,
        first_byte_s=None if first_byte_us is None else first_byte_us / SECOND_US,
        idle_s=_DEFAULT.idle_s if idle_us is None else idle_us / SECOND_US,
        retry_unsafe=bool(entry.retry_unsafe),
        retry_budget=_retry_budget(entry.retry_budget, (*path, "retry_budget"), problems),
        breaker=_breaker(entry.breaker, (*path, "breaker"), problems),
        include_usage=entry.include_usage,
    )


def _within(
    value: Quantity | None, name: str, timeout_us: int, path: Path, problems: Problems, least_us: int = 1
) -> int | None:
    """A part of `timeout`, which it may not be longer than."""
    found = bounded_us(value, (*path, name), problems, least_us=least_us, most_us=_DAY_US)
    if found is not None and found > timeout_us and not problems.under((*path, "timeout")):
        problems.error((*path, name), f"{shown(value)} is longer than timeout, the whole request.")
    return found


def _cooldowns(entry: CooldownEntry, path: Path, problems: Problems) -> Cooldowns:
    default_us = bounded_us(entry.default, (*path, "default"), problems, least_us=1, most_us=31 * _DAY_US)
    max_us = bounded_us(entry.max, (*path, "max"), problems, least_us=1, most_us=31 * _DAY_US)
    known = Cooldowns()
    if default_us is not None and max_us is not None and default_us > max_us:
        problems.error((*path, "default"), f"{shown(entry.default)} is longer than max, {shown(entry.max)}.")
    if default_us is None:
        default_us = known.default_us if max_us is None else min(known.default_us, max_us)
    return Cooldowns(default_us, max(known.max_us, default_us) if max_us is None else max_us)
