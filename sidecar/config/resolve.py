"""What the file means: the schema's entries become the words of the domain; whatever is wrong is told with its path."""

from __future__ import annotations

import re

from sidecar.config import accounts, cache, clients, network, routes
from sidecar.config.addresses import address, collide, is_host, is_loopback, redis_url
from sidecar.config.pools import draft
from sidecar.config.problems import Path, Problems, shown
from sidecar.config.read import bounded_size, bounded_us
from sidecar.config.schema import Document, PoolEntry
from sidecar.config.secrets import Sources, check_names
from sidecar.model.configured import SECOND_US, Address, Config

_NAMESPACE = re.compile(r"[A-Za-z0-9._-]{1,64}\Z")
_LARGEST = 2**40  # bytes of a body; more is a slip of the hand
_MOST_WAITING = 1_000_000
LEAST_KEEPALIVE_US, _LONGEST_KEEPALIVE_US = SECOND_US, 3600 * SECOND_US
_DEFAULT = Config({})


def resolve(document: Document, pools: dict[str, PoolEntry], sources: Sources) -> Config:
    """The config of a document and its pools (the file's or discovered ones), without the warnings.

    Errors are gathered in the sources' problems; with any, the result is only as far as one could go.
    """
    problems = sources.problems
    _check_unsupported(document, problems)
    namespace = _namespace(document.namespace, problems)
    trusted = network.ca_bundle(document.ca_bundle, ("ca_bundle",), sources)
    drafts = [one for name, entry in pools.items() if (one := draft(name, entry, sources, namespace, trusted))]
    account = accounts.accounts(drafts, problems)
    everywhere = cache.cache(document.cache, problems)
    found = routes.routes(document.routes or {}, pools, everywhere, problems)
    callers = clients.clients(document.clients or [], problems)
    said = document.admin_token
    token = clients.token(said, ("admin_token",), problems) if said is not None else None
    check_names((key.found for one in drafts for key in one.keys), callers, [token] if token else [], problems)
    listen, ops_listen = _planes(document, bool(callers), problems)
    cache_redis, cache_total = cache.place(document.cache, problems)
    made = accounts.pools(routes.with_targets(drafts, found), account)
    routes.check(document.routes or {}, found, made, problems)
    return Config(
        pools=made,
        budgets=accounts.budgets(drafts, account, problems),
        routes=found,
        clients=callers,
        listen=listen,
        ops_listen=ops_listen,
        tls=network.tls(document.tls, ("tls",), sources),
        redis=_redis(document.redis, problems),
        namespace=namespace,
        max_body=bounded_size(document.max_body, ("max_body",), problems, _DEFAULT.max_body, _LARGEST),
        cache=everywhere,
        cache_redis=cache_redis,
        cache_total=cache_total,
        max_waiting=_max_waiting(document.max_waiting, problems),
        keepalive_s=_keepalive_s(document.keepalive, problems),
        hosts=_hosts(document.hosts or [], problems),
        failures=_failures(document.failures, sources),
        admin_token=token,
    )


def _check_unsupported(document: Document, problems: Problems) -> None:
    failure = document.store_failure
    if failure == "local":
        problems.error(("store_failure",), '"local" is not supported yet. Supported: deny.')
    elif failure not in {None, "deny"}:
        problems.error(("store_failure",), f"{shown(failure)} is no way to fail.", str(failure), ("deny", "local"))


def _namespace(value: str | None, problems: Problems) -> str:
    if value is None:
        return _DEFAULT.namespace
    if not _NAMESPACE.match(value):
        problems.error(("namespace",), f"{shown(value)} is no namespace. It is 1 to 64 letters, digits and . _ -")
        return _DEFAULT.namespace
    return str(value)


def _redis(value: str | None, problems: Problems) -> str:
    url = redis_url(value, ("redis",), problems) if value is not None else None
    return url or _DEFAULT.redis


def _max_waiting(value: int | None, problems: Problems) -> int:
    if value is None:
        return _DEFAULT.max_waiting
    if not 0 <= value <= _MOST_WAITING:
        text = f"{value} is no number of waiting requests. It is 0 (none waits, all are answered at once)"
        problems.error(("max_waiting",), f"{text} to {_MOST_WAITING}.")
    return value


def _keepalive_s(value: str | int | None, problems: Problems) -> float | None:
    every_us = bounded_us(value, ("keepalive",), problems, least_us=LEAST_KEEPALIVE_US, most_us=_LONGEST_KEEPALIVE_US)
    return None if every_us is None else every_us / SECOND_US


def _hosts(values: list[str], problems: Problems) -> tuple[str, ...]:
    """Names in lower case, without the dot that may end them."""
    for index, value in enumerate(values):
        if not is_host(value):
            problems.error(("hosts", index), f"{shown(value)} is no host's name. It has no scheme, port, path or *.")
    return tuple(dict.fromkeys(value.lower().removesuffix(".") for value in values))


def _failures(value: str | None, sources: Sources) -> str:
    """The file, from the config's folder; by default in the user's folder for state; "" where none is wanted."""
    if value == "off":
        return ""
    if value == "":
        sources.problems.error(("failures",), "is empty. It is a file's path, or off.")
    home, state = sources.environment.get("HOME"), sources.environment.get("XDG_STATE_HOME")
    if value is None:
        state = state or (f"{home}/.local/state" if home else None)
        return f"{state}/sidecar/failures.jsonl" if state else ""
    return str(sources.path(value))


def _planes(document: Document, clients: bool, problems: Problems) -> tuple[Address, Address]:
    """Both addresses, which must not collide; the data plane is open to others only with clients."""
    listen, ops = _DEFAULT.listen, _DEFAULT.ops_listen
    if document.listen is not None:
        listen = address(document.listen, ("listen",), problems) or listen
    if document.ops_listen is not None:
        ops = address(document.ops_listen, ("ops_listen",), problems) or ops
    if collide(listen, ops) and not problems.under(("listen",)) and not problems.under(("ops_listen",)):
        place: Path = ("listen",) if document.ops_listen is None else ("ops_listen",)
        other = "ops_listen" if document.ops_listen is None else "listen"
        problems.error(
            place, f"{listen if other == 'ops_listen' else ops} is where {other} is. Give each a port of its own."
        )
    if not clients and not is_loopback(listen.host) and not problems.under(("clients",)):
        problems.error(
            ("listen",),
            f"{listen} is open to other machines, and without clients anyone there could spend the keys."
            f" Declare clients: `sidecar clients init` makes the first (without a file PROXY_API_KEY is one's token)."
            f" Or listen on 127.0.0.1:{listen.port}.",
        )
    return listen, ops
