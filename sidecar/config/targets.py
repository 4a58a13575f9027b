"""A target of a route: the pool and model that it names, its share, and what it changes of a request."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping

from sidecar.config.limits import check_model
from sidecar.config.problems import Path, Problems, Substituted, shown
from sidecar.config.schema import PoolEntry, TargetEntry
from sidecar.model.configured import Parameters, Secret, Target
from sidecar.model.headers import CREDENTIALS, HOP_BY_HOP, OURS
from sidecar.providers.parameters import known

_MOST_WEIGHT = 1000
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}(?:\.[A-Za-z0-9_-]{1,64}){0,7}\Z")
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}\Z")
_VALUE = re.compile(r"[\t\x20-\x7e]*\Z")
SECRETIVE = re.compile("auth|token|key|secret|password|credential|signature")  # in the name of a header
_LEAST, _LEAST_UNNAMED = 4, 8  # characters: shorter ones stand in any text
_NOT_SET = {"model": "The target's `model:` says it", "stream": "Whether it streams is the caller's"}
# Of the connection, the body as it is sent, and the credential, all of which are the sidecar's to say.
_OURS = HOP_BY_HOP.union(OURS, CREDENTIALS, {"content-type"})


def target(entry: TargetEntry, path: Path, pools: Mapping[str, PoolEntry], problems: Problems) -> Target:
    """The target, as far as it can be read."""
    if entry.pool not in pools and not problems.under(("pools", entry.pool)):
        problems.error((*path, "pool"), f"{shown(entry.pool)} is no pool.", entry.pool, pools)
    if entry.model is not None:
        check_model(entry.model, (*path, "model"), problems)
        if "*" in entry.model:
            problems.error(
                (*path, "model"), f"{shown(entry.model)} is a pattern. Leave it out for the caller's own name."
            )
    headers = entry.headers or {}
    return Target(
        str(entry.pool),
        None if entry.model is None else str(entry.model),
        _weight(entry.weight, (*path, "weight"), problems),
        _parameters(entry, path, problems),
        _headers(headers, pools.get(entry.pool), (*path, "headers"), problems),
        _secrets(headers),
    )


def is_parameter(name: str) -> bool:
    """Whether a target may set it."""
    return name.partition(".")[0] not in _NOT_SET and _NAME.match(name) is not None


def is_header_of_callers(name: str) -> bool:
    """Whether a target may set it, unless its pool's key goes there."""
    lower = name.lower()
    return _HEADER.match(name) is not None and lower not in _OURS and not lower.startswith("x-sidecar-")


def _weight(value: int | None, path: Path, problems: Problems) -> int:
    if value is not None and not 1 <= value <= _MOST_WEIGHT:
        none = " A target that is only fallen back to has none." if value == 0 else ""
        problems.error(path, f"{value} is no weight. It is 1 to {_MOST_WEIGHT}.{none}")
    return value or 0


def _parameters(entry: TargetEntry, path: Path, problems: Problems) -> Parameters:
    fixed, default, most = entry.fixed or {}, entry.default or {}, entry.most or {}
    removed = entry.remove or []
    for field, names in (("set", fixed), ("default", default), ("max", most), ("remove", removed)):
        for name in names:
            _check_name(name, (*path, field), problems)
    _check_tokens(entry, path, problems)
    _check_clashes(entry, path, problems)
    return Parameters(
        tuple((name, _json(value)) for name, value in fixed.items()),
        tuple((name, _json(value)) for name, value in default.items()),
        tuple(most.items()),
        tuple(dict.fromkeys(removed)),
    )


def _check_name(name: str, path: Path, problems: Problems) -> None:
    if name.partition(".")[0] in _NOT_SET:
        problems.error(path, f"{shown(name)} is not changed here. {_NOT_SET[name.partition('.')[0]]}.")
    elif not _NAME.match(name):
        problems.error(path, f"{shown(name)} is no parameter. It is such as temperature, or reasoning.effort.")


def _check_tokens(entry: TargetEntry, path: Path, problems: Problems) -> None:
    fields: tuple[tuple[str, Mapping[str, object]], ...] = (
        ("set", entry.fixed or {}), ("default", entry.default or {}), ("max", entry.most or {}),
    )  # fmt: skip
    for field, values in fields:
        for name, value in values.items():
            whole = isinstance(value, int | float) and not isinstance(value, bool) and value == int(value) >= 1
            if known(name) == "max_tokens" and not whole:
                problems.error(
                    (*path, field, name), f"{shown(value)} is no number of tokens. It is 1 or more, and whole."
                )


def _check_clashes(entry: TargetEntry, path: Path, problems: Problems) -> None:
    """What is set or removed has nothing else said of it; what is taken where nothing is said is allowed."""
    said: dict[str, str] = {}
    fields: tuple[tuple[str, Iterable[str]], ...] = (
        ("set", entry.fixed or ()), ("remove", entry.remove or ()), ("max", entry.most or ()),
        ("default", entry.default or ()),
    )  # fmt: skip
    for field, names in fields:
        for name in names:
            before = said.setdefault(known(name) or name, field)
            if before != field and {before, field} != {"max", "default"}:
                problems.error((*path, field), f"{shown(name)} stands under {before} too. Leave one out.")
    _check_within(said, path, problems)
    caps = {known(name) or name: most for name, most in (entry.most or {}).items()}
    for name, value in (entry.default or {}).items():
        most = caps.get(known(name) or name)
        if most is not None and isinstance(value, int | float) and value > most:
            problems.error((*path, "default"), f"{shown(name)} is {value}, and its max {most}.")


def _check_within(said: Mapping[str, str], path: Path, problems: Problems) -> None:
    """Of an object and a field in it only one would be heeded."""
    for name, field in said.items():
        parts = name.split(".")
        outer = next((whole for end in range(1, len(parts)) if (whole := ".".join(parts[:end])) in said), None)
        if outer is not None:
            remedy = "Leave one out, or write both with dots."
            problems.error(
                (*path, field), f"{shown(name)} lies within {shown(outer)}, which stands under {said[outer]}. {remedy}"
            )


def _json(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def _headers(
    said: Mapping[str, str], pool: PoolEntry | None, path: Path, problems: Problems
) -> tuple[tuple[str, str], ...]:
    """In lower case. No error repeats a value: it may be a secret."""
    made: dict[str, str] = {}
    for name, value in said.items():
        lower = name.lower()
        if not _HEADER.match(name):
            problems.error(path, f"{shown(name)} is no header's name.")
        elif not is_header_of_callers(name) or lower == _credential(pool):
            problems.error((*path, name), "is not set here: connection, body and credential are the sidecar's to say.")
        elif lower in made:
            problems.error((*path, name), "stands here twice.")
        if not _VALUE.match(value):
            problems.error((*path, name), "holds a character that no header may.")
        made[lower] = str(value)
    return tuple(made.items())


def _secrets(headers: Mapping[str, str]) -> tuple[tuple[Secret, str], ...]:
    """What of the headers is a secret: a word of some length that the environment says, or that the name tells of."""
    found = []
    for name, value in headers.items():
        word = value.rpartition(" ")[2]  # behind its scheme, if it has one
        least = _LEAST if SECRETIVE.search(name.lower()) else _LEAST_UNNAMED
        if len(word) >= least and (least == _LEAST or isinstance(value, Substituted)):
            found.append((Secret(word), name.lower()))
    return tuple(found)


def _credential(pool: PoolEntry | None) -> str:
    """The header that carries the pool's key where it says so itself."""
    header = getattr(pool.auth, "header", None) if pool is not None else None
    return str(header or "").lower()
