"""What the file means: the schema's entries become the words of the domain; whatever is wrong is told with its path."""

from __future__ import annotations

import re

from sidecar.config import accounts
from sidecar.config.addresses import address, collide, is_host, is_loopback, redis_url
from sidecar.config.limits import check_model
from sidecar.config.pools import Draft, draft
from sidecar.config.problems import Path, Problems, shown
from sidecar.config.read import size_bytes
from sidecar.config.schema import ClientEntry, Document, PoolEntry, TargetEntry
from sidecar.config.secrets import ID, ID_RULE, Sources, check_names, clean, flaw, is_placeholder
from sidecar.model.configured import Address, Client, Config, Secret, Target

_NAMESPACE = re.compile(r"[A-Za-z0-9._-]{1,64}\Z")
_LARGEST = 2**40  # bytes of a body; more is a slip of the hand
_MOST_WAITING = 1_000_000
_DEFAULT = Config({})


def resolve(document: Document, pools: dict[str, PoolEntry], sources: Sources) -> Config:
    """The config of a document and its pools (the file's or discovered ones), without the warnings.

    Errors are gathered in the sources' problems; with any, the result is only as far as one could go.
    """
    problems = sources.problems
    _check_unsupported(document, problems)
    namespace = _namespace(document.namespace, problems)
    drafts = [made for name, entry in pools.items() if (made := draft(name, entry, sources, namespace))]
    account = accounts.accounts(drafts, problems)
    routes = _routes(document.routes or {}, pools, problems)
    clients = _clients(document.clients or [], problems)
    token = _token(document.admin_token, ("admin_token",), problems) if document.admin_token is not None else None
    check_names((key.found for one in drafts for key in one.keys), clients, [token] if token else [], problems)
    listen, ops_listen = _planes(document, bool(clients), problems)
    return Config(
        pools=accounts.pools(_with_targets(drafts, routes), account),
        budgets=accounts.budgets(drafts, account, problems),
        routes=routes,
        clients=clients,
        listen=listen,
        ops_listen=ops_listen,
        redis=_redis(document.redis, problems),
        namespace=namespace,
        max_body=_max_body(document.max_body, problems),
        max_waiting=_max_waiting(document.max_waiting, problems),
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
    if document.cache is not None:
        problems.error(("cache",), "not supported yet. Leave it out.")


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


def _max_body(value: str | int | None, problems: Problems) -> int:
    if value is None:
        return _DEFAULT.max_body
    size = size_bytes(value)
    if size is None or not 0 < size <= _LARGEST:
        problems.error(
            ("max_body",), f"{shown(value)} is no size. It is such as 64KiB, 100MiB or 1GiB, at most 1024GiB."
        )
        return _DEFAULT.max_body
    return size


def _max_waiting(value: int | None, problems: Problems) -> int:
    if value is None:
        return _DEFAULT.max_waiting
    if not 0 <= value <= _MOST_WAITING:
        text = f"{value} is no number of waiting requests. It is 0 (none waits, all are answered at once)"
        problems.error(("max_waiting",), f"{text} to {_MOST_WAITING}.")
    return value


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
            f" Declare clients (without a file: PROXY_API_KEY), or listen on 127.0.0.1:{listen.port}.",
        )
    return listen, ops


def _token(text: str, path: Path, problems: Problems) -> Secret:
    """A token that we give out. A placeholder is one too, though everybody knows it."""
    token = clean(text)
    wrong = flaw(token) if token else "is empty"
    if wrong:
        problems.error(path, f"the token {wrong}.")
    elif is_placeholder(token):
        problems.warn(path, "the token is a placeholder, which anybody could guess. Choose one.")
    return Secret(token)


def _clients(entries: list[ClientEntry], problems: Problems) -> tuple[Client, ...]:
    ids: dict[str, int] = {}
    tokens: dict[Secret, int] = {}
    clients = []
    for index, entry in enumerate(entries):
        path: Path = ("clients", index)
        token = _token(entry.token, (*path, "token"), problems)
        if not ID.match(entry.id):
            problems.error((*path, "id"), f"{shown(entry.id)} is no client id. It is {ID_RULE}.")
        if ids.setdefault(entry.id, index) != index:
            problems.error((*path, "id"), f"{shown(entry.id)} is the id of clients[{ids[entry.id]}] too.")
        if tokens.setdefault(token, index) != index and not problems.under((*path, "token")):
            problems.error((*path, "token"), f"is the token of clients[{tokens[token]}] too.")
        if entry.limits is not None:
            problems.error((*path, "limits"), "not supported yet. Leave them out.")
        clients.append(Client(str(entry.id), token))
    return tuple(clients)


def _routes(
    entries: dict[str, list[TargetEntry]], pools: dict[str, PoolEntry], problems: Problems
) -> dict[str, tuple[Target, ...]]:
    routes = {}
    for name, targets in entries.items():
        path: Path = ("routes", name)
        check_model(name, path, problems)
        if not targets:
            problems.error(path, "has no target. Give it one: [{pool: NAME, model: NAME}].")
        found: dict[Target, int] = {}
        for index, entry in enumerate(targets):
            target = _target(entry, (*path, index), pools, problems)
            if found.setdefault(target, index) != index:
                problems.error((*path, index), f"is the same target as [{found[target]}].")
        routes[name] = tuple(found)
    return routes


def _target(entry: TargetEntry, path: Path, pools: dict[str, PoolEntry], problems: Problems) -> Target:
    if entry.pool not in pools and not problems.under(("pools", entry.pool)):
        problems.error((*path, "pool"), f"{shown(entry.pool)} is no pool.", entry.pool, pools)
    if entry.model is not None:
        check_model(entry.model, (*path, "model"), problems)
        if "*" in entry.model:
            problems.error(
                (*path, "model"), f"{shown(entry.model)} is a pattern. Leave it out for the caller's own name."
            )
    return Target(str(entry.pool), None if entry.model is None else str(entry.model))


def _with_targets(drafts: list[Draft], routes: dict[str, tuple[Target, ...]]) -> list[Draft]:
    """The drafts whose pools also name the models that routes send to them."""
    named: dict[str, dict[str, None]] = {}
    for target in (target for targets in routes.values() for target in targets):
        if target.model is not None:
            named.setdefault(target.pool, {})[target.model] = None
    return [made.naming(named.get(made.pool.name, {})) for made in drafts]
