"""What a pool says of its provider's answers: `outcomes:` as Overrides, complete with what each class implies."""

from __future__ import annotations

import re

from sidecar.config.problems import Path, Problems, shown
from sidecar.config.read import bounded_us
from sidecar.config.schema import OutcomeEntry
from sidecar.model.classes import Class, Scope
from sidecar.model.configured import SECOND_US, Override, Provider

_STATUS = re.compile(r"[1-5](?:\d\d|xx)", re.IGNORECASE)
_LONGEST_US = 31 * 24 * 3600 * SECOND_US
_LONGEST_BODY = 1000  # characters

_RATE = frozenset({Class.RATE_LIMIT_MINUTE, Class.RATE_LIMIT_DAY, Class.RATE_LIMIT_TOKENS})
# They pass to the client, and rest nothing.
_FINAL = frozenset({Class.OK, Class.BLOCKED, Class.BAD_REQUEST, Class.CONTEXT_TOO_LONG})
_BLAMED = frozenset({Class.INVALID_KEY, Class.PERMISSION})  # what rests for them, and how long, needs proof
_OF_KEY = frozenset({Scope.KEY, Scope.KEY_MODEL})


def overrides(
    entries: list[OutcomeEntry] | None, provider: Provider, path: Path, problems: Problems
) -> tuple[Override, ...]:
    """The overrides of a pool in their order; those that are wrong are told and left out."""
    made = [_override(entry, provider, (*path, index), problems) for index, entry in enumerate(entries or ())]
    return tuple(override for override in made if override is not None)


def _override(entry: OutcomeEntry, provider: Provider, path: Path, problems: Problems) -> Override | None:
    kind = _kind(entry.kind, (*path, "class"), problems)
    statuses = _statuses(entry.status, (*path, "status"), problems)
    _check_body(entry, statuses, path, problems)
    scope = _scope(entry.scope, (*path, "scope"), problems)
    delay_us = bounded_us(entry.delay, (*path, "delay"), problems, least_us=1, most_us=_LONGEST_US)
    if kind is None or problems.under(path):
        return None
    if scope is not None and kind in _FINAL:
        problems.warn((*path, "scope"), f"has no effect: {kind} rests nothing.")
        scope = None
    scope = scope or _default_scope(kind, provider)
    if delay_us is not None and (kind in _BLAMED or scope not in _OF_KEY):
        why = "it rests for cooldown.max once it is proved" if scope in _OF_KEY else "nothing rests for it"
        problems.warn((*path, "delay"), f"has no effect on {kind}: {why}.")
    return Override(
        kind=kind,
        scope=scope,
        other=_other(kind, scope),
        statuses=statuses,
        body=str(entry.body or "").lower(),
        delay_s=None if delay_us is None else delay_us / SECOND_US,
    )


def _kind(name: str, path: Path, problems: Problems) -> Class | None:
    if name in set(Class):
        return Class(name)
    problems.error(path, f"{shown(name)} is no class.", name, tuple(Class))
    return None


def _scope(name: str | None, path: Path, problems: Problems) -> Scope | None:
    if name is None or name in set(Scope):
        return None if name is None else Scope(name)
    problems.error(path, f"{shown(name)} is no scope.", name, tuple(Scope))
    return None


def _statuses(value: int | str | list[int | str] | None, path: Path, problems: Problems) -> frozenset[int]:
    """Of `402`, `5xx`, or a list of such; none said: none."""
    if value is None:
        return frozenset()
    if value == []:
        problems.error(path, "is empty. Leave it out for every error.")
    found: set[int] = set()
    for index, one in enumerate(value if isinstance(value, list) else (value,)):
        if not _STATUS.fullmatch(str(one)):
            here: Path = (*path, index) if isinstance(value, list) else path
            problems.error(here, f"{shown(one)} is no status such as 402 or 5xx.")
        elif str(one)[1:].lower() == "xx":
            found.update(range(int(str(one)[0]) * 100, int(str(one)[0]) * 100 + 100))
        else:
            found.add(int(one))
    return frozenset(found)


def told_statuses(override: Override) -> list[int | str]:
    """The statuses of an override as a file would say them: 402, `5xx`; none: every error."""
    hundreds = [first for first in range(100, 600, 100) if override.statuses.issuperset(range(first, first + 100))]
    single = [status for status in sorted(override.statuses) if status // 100 * 100 not in hundreds]
    return [*single, *(f"{first // 100}xx" for first in hundreds)]


def _check_body(entry: OutcomeEntry, statuses: frozenset[int], path: Path, problems: Problems) -> None:
    body = entry.body
    if body is not None and not 0 < len(body) <= _LONGEST_BODY:
        problems.error((*path, "body"), f"is no text to look for. It is 1 to {_LONGEST_BODY} characters.")
    elif body is None and entry.status is None:
        problems.error(path, 'says of no answer what it means. Give it a status: 402, or a body: "some words".')
    elif body is None and any(200 <= status < 300 for status in statuses):
        problems.error((*path, "status"), "would mean every success. Give the words that tell an error as body:.")


def _default_scope(kind: Class, provider: Provider) -> Scope:
    """As the dialects have it: what rests for an answer of this class that says no more."""
    if kind in _RATE:
        return Scope.KEY_MODEL if provider.counts == "account+model" else Scope.KEY
    if kind in {Class.BILLING, Class.INVALID_KEY}:
        return Scope.KEY
    if kind is Class.PERMISSION:
        return Scope.KEY_MODEL
    return Scope.REQUEST if kind in _FINAL else Scope.PROVIDER


def _other(kind: Class, scope: Scope) -> bool:
    """Whether another key may do better: not for what is final, nor where whoever asks from here is refused."""
    if scope is Scope.PROVIDER:
        return kind not in _BLAMED | {Class.BILLING}
    return kind not in _FINAL
