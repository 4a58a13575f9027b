"""`sidecar check`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NoReturn

import click

from sidecar.cli import given
from sidecar.config.clients import written
from sidecar.config.limits import counted
from sidecar.config.outcomes import told_statuses
from sidecar.model.configured import DIRECT, SECOND_US, Cache, Config, Key, Limit, Override, Pool, Target
from sidecar.model.patterns import nearest
from sidecar.ops.redact import redactor
from sidecar.proxy import route as routes
from sidecar.store.connect import StoreAway, StoreUnable
from sidecar.store.home import Home


@click.command("check")
@given.config_option
@click.option("--live", is_flag=True, help="Also send one cheap call with each key, and say what came of it.")
def command(config_file: Path | None, live: bool) -> None:
    """Say what `sidecar run` would do: pools, key ids, budgets, routes, and whether Redis answers.

    Changes nothing, unless with --live. Exit 0: ready; 1: something must be mended, one line each.

    \b
        sidecar check
        sidecar check --config sidecar.yaml
        sidecar check --live        also sends one cheap call with each key

    The cheap call is a GET that costs nothing: the provider's list of models, or what else needs a valid key there. It
    takes a grant as any request does, so it counts against the key's budgets; a key that rests or has no room is not
    tried, and no key rests for what is found. Exit 1 also if a key is refused (invalid_key, permission,
    quota_exhausted_billing) or its provider does not answer. A rate limit is no fault of the key.

    Limits that answers name, or that refusals named while a sidecar ran, are printed as `limits:` to paste where the
    config lacks them or holds them higher.
    """
    config = given.load(config_file)
    redact = redactor(config)
    for line in _told(config):
        click.echo(redact(line))
    home, wrong, risk = asyncio.run(_store(config))
    if wrong:
        _fail(config, wrong)
    if home.private:
        click.echo(f"store    memory: {home.warning}")
    else:
        click.echo(f"store    {home.told or redact(config.redis)} answers, namespace {config.namespace}")
        if home.warning:
            click.echo(f"warning  {home.warning}")
        if risk:
            click.echo(f"warning  {risk}")
    if live:
        _live(config)


def _fail(config: Config, wrong: str) -> NoReturn:
    given.fail(f"store    {redactor(config)(config.redis)} {given.store_fault(config, wrong)}")


def _live(config: Config) -> None:
    from sidecar.cli import live  # noqa: PLC0415 - the HTTP client and what draws: a plain check needs neither

    try:
        to_mend = live.run(config, redactor(config))
    except (StoreAway, StoreUnable) as error:
        _fail(config, str(error))
    if to_mend:
        given.fail(to_mend)


async def _store(config: Config) -> tuple[Home, str, str]:
    """Where it is, what is wrong with it or "", and why it may evict budgets or "".

    It is only read; whatever it does, the answer comes in seconds.
    """
    store = given.store(config)
    try:
        await store.inspect(())
        risk = (await store.memory()).risk
    except (StoreAway, StoreUnable) as error:
        return store.home, str(error), ""
    finally:
        await store.close()
    return store.home, "", risk


def _told(config: Config) -> Iterator[str]:
    presented = f" with the certificate of {config.tls.cert}" if config.tls else ""
    yield f"listen   {config.listen}{presented}; metrics and health at {config.ops_listen}"
    for pool in config.pools.values():
        yield from _pool(config, pool)
    yield from _accounts(config)
    for name, route in config.routes.items():
        served = f"; for {', '.join(routes.callers(config, route.targets))} callers"
        yield f"route    {name} -> {_order(route.targets)}{served}{_caught(config, name)}"
    yield from _clients(config)
    if config.cache is not None:
        yield f"cache    {_cache(config, config.cache)}"
    for warning in config.warnings:
        yield f"warning  {warning}"


def _pool(config: Config, pool: Pool) -> Iterator[str]:
    accounts = len({key.account for key in pool.keys})
    yield f"pool     {pool.name}: {pool.provider.name} at {pool.provider.base_url}{_reached(pool)}"
    wait = f"a request waits at most {pool.max_wait_us / SECOND_US:g} s for room"
    yield f"  keys   {_many(len(pool.keys), 'key')} of {_many(accounts, 'account')}; {wait}; strategy {pool.strategy}"
    for key in pool.keys:
        yield f"  key    {_key(pool, key)}"
    alike: dict[tuple[Limit, ...], list[str]] = {}
    for key in pool.keys:
        alike.setdefault(config.budgets.get(key.account, ()), []).append(key.id)
    for limits, ids in alike.items():
        whose = "each account" if len(alike) == 1 else ", ".join(ids)
        yield f"  limit  {whose}: {_limits(limits) or 'none known, so only 429s tell'}"
    if not routes.callers(config, (Target(pool.name, None),)):
        yield f"  calls  /pools/{pool.name}/... alone: only a pool with a dialect is found by its models"
    if pool.total:
        yield f"  total  {_limits(pool.total)}"
    for override in pool.provider.overrides:
        yield f"  answer {_answer(override)}: {override.kind}"


def _accounts(config: Config) -> Iterator[str]:
    """The keys that share budgets and cooldowns, and why they do."""
    shared: dict[str, dict[str, list[str]]] = {}
    for pool in config.pools.values():
        for key in pool.keys:
            shared.setdefault(key.account, {}).setdefault(key.fingerprint, []).append(f"{pool.name}/{key.id}")
    for account, secrets in shared.items():
        labels = [label for same in secrets.values() for label in same]
        if len(labels) == 1:
            continue
        why = [f"account: {account[1:]}"] if len(secrets) > 1 else []
        why += [f"{_some(same)} have the same secret" for same in secrets.values() if len(same) > 1]
        yield f"account  {_some(labels)} share budgets and cooldowns ({'; '.join(why)})"


def _clients(config: Config) -> Iterator[str]:
    now_s = time.time()
    for client in config.clients:
        models = f"; only {', '.join(client.models)}" if client.models else ""
        limits = f"; {_limits(client.limits)}" if client.limits else ""
        yield f"client   {client.id}{models}{limits}{'; priority batch' if client.batch else ''}"
    for client in config.clients:
        for token in client.tokens:
            if token.expires_s is not None and token.expired(now_s):
                known = f"the token {token.name} of client {client.id} expired at {written(token.expires_s)}"
                yield f"warning  {known}: `sidecar clients rotate {client.id}` makes a new one"


def _some(labels: list[str]) -> str:
    """All of a few, else the first and how many more: `chat/a, chat/b and spare/c`."""
    most = 8
    shown = labels if len(labels) <= most else [*labels[:most], f"{len(labels) - most} more"]
    return f"{', '.join(shown[:-1])} and {shown[-1]}"


def _key(pool: Pool, key: Key) -> str:
    account = f", account {key.account[1:]}" if key.account.startswith("=") else ""
    models = f", for {', '.join(key.models)}" if key.models else ""
    turn = {"weighted": f", weight {key.weight}", "priority": f", priority {key.priority}"}.get(pool.strategy, "")
    own = "" if key.proxy is None else ", directly" if key.proxy == DIRECT else f", through {key.proxy}"
    return f"{key.id}{account}{turn}{models}{own} ({key.origin})"


def _reached(pool: Pool) -> str:
    """Through which proxy, and what is trusted and bounded there."""
    named = f" ({pool.proxy.origin})" if pool.proxy.origin else ""
    through = f" through {pool.proxy}{named}" if pool.proxy != DIRECT else ""
    trusted = f", trusting {pool.ca_bundle.path} alone" if pool.ca_bundle else ""
    bound = f", at most {_many(pool.connections.max, 'connection')} a replica" if pool.connections.max else ""
    return through + trusted + bound


def _limits(limits: tuple[Limit, ...]) -> str:
    return "; ".join(_limit(limit) for limit in limits)


def _limit(limit: Limit) -> str:
    cached = "" if limit.count_cached else ", cached input not counted"
    return f"{limit.max} {counted(limit)}{cached}{'' if limit.enforce else ' (counts only)'}"


def _answer(override: Override) -> str:
    """Which answers an override is about: `402`, `any error with "no funds"`."""
    said = ", ".join(map(str, told_statuses(override))) or "any error"
    return f'{said} with "{override.body}"' if override.body else said


def _caught(config: Config, route: str) -> str:
    """The names that would go to the pool in front of them, but for this pattern."""
    own = [pool for pool in config.pools if not route.startswith(f"{pool}/")]
    caught = [f"{pool}/NAME" for pool in own if nearest(config.routes, f"{pool}/NAME") == route]
    return f"; {', '.join(caught)} too, since a route goes before a pool's name" if caught else ""


def _order(targets: Sequence[Target]) -> str:
    """`a (75%) or b (25%), then c`."""
    told, before = "", Target("", None)
    for target, share in zip(targets, routes.shares(targets), strict=True):
        joint = " or " if target.group and before.group == target.group else ", then " if told else ""
        told += f"{joint}{_target(target)}{f' ({share:.0%})' if target.weight else ''}"
        before = target
    return told


def _cache(config: Config, cache: Cache) -> str:
    who = "the same client only" if cache.scope == "client" else "any client"
    sizes = f"{cache.max_bytes / 1024:g} KiB each, {config.cache_total / 1024**2:g} MiB together"
    place = "a Redis of its own" if config.cache_redis else "`redis`"
    return f"answers for {cache.ttl_s:g} s, to {who}, at most {sizes}, in {place}"


def _target(target: Target) -> str:
    return target.pool if target.model is None else f"{target.pool}/{target.model}"


def _many(number: int, what: str) -> str:
    return f"{number} {what}" + ("" if number == 1 else "s")
