"""How long what rests, by the outcome of an attempt: pure, the moment an argument."""

from __future__ import annotations

from sidecar.model.calendars import periods
from sidecar.model.configured import SECOND_US, Calendar, Cooldowns
from sidecar.model.words import Class, Member, Outcome, Rest, Scope, Subject
from sidecar.pool.blame import REFUSALS

_RESTS_NOTHING = frozenset({Class.OK, Class.BLOCKED})

DEAD = frozenset({Class.INVALID_KEY, Class.PERMISSION, Class.BILLING})  # reasons of rests that no wait for budget cures


def subject(outcome: Outcome, member: Member, model: str, of_key: bool) -> Subject:
    """What the outcome says of: the key or its account, for all models or for this one."""
    whose = member.key if of_key else None
    return Subject(member.account, whose, model if outcome.scope is Scope.KEY_MODEL else None)


def rest(outcome: Outcome, member: Member, model: str, cooldowns: Cooldowns, zone: str, now_us: int) -> Rest | None:
    """The rest of an account that cannot serve now; None where nothing rests, or where `blame` decides what does."""
    if outcome.kind in _RESTS_NOTHING | REFUSALS or outcome.scope not in {Scope.KEY, Scope.KEY_MODEL}:
        return None
    delay_us = _delay_us(outcome, cooldowns, zone, now_us)
    return Rest(subject(outcome, member, model, of_key=False), delay_us, outcome.kind)


def _delay_us(outcome: Outcome, cooldowns: Cooldowns, zone: str, now_us: int) -> int:
    named_us = 0 if outcome.delay_s is None else max(1, round(outcome.delay_s * SECOND_US))
    if outcome.until is not None:
        return max(named_us, until(outcome.until, zone, now_us) - now_us)
    if outcome.delay_s is not None:
        return named_us
    return cooldowns.max_us if outcome.kind is Class.BILLING else cooldowns.default_us


def until(end: str, zone: str, now_us: int) -> int:
    """The next midnight, or the first midnight of the next month, in the zone: as a moment."""
    _, _, ends_us, _, _ = periods(Calendar("day" if end == "midnight" else "month", zone), now_us)
    return ends_us
