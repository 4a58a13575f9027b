"""How long what rests, by the outcome of an attempt: pure, the moment an argument."""

from __future__ import annotations

from sidecar.model.calendars import periods
from sidecar.model.classes import Class, Scope
from sidecar.model.configured import SECOND_US, Calendar, Pool
from sidecar.model.outcomes import Outcome
from sidecar.model.words import Member, Rest, Subject
from sidecar.pool.blame import REFUSALS

_RESTS_NOTHING = frozenset({Class.OK, Class.BLOCKED})

DISABLED = "disabled"  # by an operator
DEAD = frozenset({Class.INVALID_KEY, Class.PERMISSION, Class.BILLING})  # reasons of rests that no wait for budget cures


def subject(outcome: Outcome, member: Member, model: str, of_key: bool) -> Subject:
    """What the outcome says of: the key or its account, for all models or for this one."""
    whose = member.key if of_key else None
    return Subject(member.account, whose, model if outcome.scope is Scope.KEY_MODEL else None)


def rest(outcome: Outcome, member: Member, model: str, pool: Pool, now_us: int) -> Rest | None:
    """The rest of an account that cannot serve now; None where nothing rests, or where `blame` decides what does.

    A refusal that names no length doubles with every one in a row. One that names no quota may be the provider's
    throttle of all the pool's keys.
    """
    if outcome.kind in _RESTS_NOTHING | REFUSALS or outcome.scope not in {Scope.KEY, Scope.KEY_MODEL}:
        return None
    delay_us = _delay_us(outcome, pool, now_us)
    whose = subject(outcome, member, model, of_key=False)
    named = outcome.delay_s is not None or outcome.until is not None or outcome.kind is Class.BILLING
    maybe = outcome.kind is Class.RATE_LIMIT_MINUTE and (outcome.bare or not named)
    most_us = 0 if named else pool.cooldowns.max_us
    return Rest(whose, delay_us, outcome.kind, most_us=most_us, throttle=pool.name if maybe else "")


def _delay_us(outcome: Outcome, pool: Pool, now_us: int) -> int:
    named_us = 0 if outcome.delay_s is None else max(1, round(outcome.delay_s * SECOND_US))
    if outcome.until is not None:
        return max(named_us, until(outcome.until, pool.provider.zone, now_us) - now_us)
    if outcome.kind is Class.BILLING:
        return max(named_us, _unpaid_us(pool)) if named_us else pool.cooldowns.max_us
    return named_us or pool.cooldowns.default_us


def _unpaid_us(pool: Pool) -> int:
    """The least that missing money rests: `cooldown.max`, or less where the pool's `outcomes:` say so."""
    overrides = (one for one in pool.provider.overrides if one.kind is Class.BILLING)
    said = [round(one.delay_s * SECOND_US) for one in overrides if one.delay_s is not None]
    return min([*said, pool.cooldowns.max_us])


def until(end: str, zone: str, now_us: int) -> int:
    """The next midnight, or the first midnight of the next month, in the zone: as a moment."""
    _, _, ends_us, _, _ = periods(Calendar("day" if end == "midnight" else "month", zone), now_us)
    return ends_us
