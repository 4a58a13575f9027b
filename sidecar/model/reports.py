"""What is learnt of keys, by attempts and from operators: the twins of `lua/report.lua` and `lua/admin.lua`."""

from __future__ import annotations

from collections.abc import Iterable

from sidecar.model import rests, room
from sidecar.model.configured import SECOND_US
from sidecar.model.rules import Refused, State, tick, wake
from sidecar.model.words import Report, Reported, Rest, Subject

# The provider's throttle: the same refusal without details from so many accounts within so long.
THROTTLED_ACCOUNTS, THROTTLED_WITHIN_US = 3, 5 * SECOND_US
THROTTLE = Rest(Subject(""), SECOND_US, "throttled", most_us=60 * SECOND_US)


# --- what an attempt taught -------------------------------------------------------------------------


def report(state: State, report: Report, raw: int) -> Reported:
    """Sets rests, takes suspicions back, and ends the rests of a key that succeeded."""
    now, known, pool_rests = tick(state, raw), state.shared.rests, 0
    told: list[int | None] = []
    for rest in report.rests:
        paused = _throttled(state, rest, report.moment_us, now) if rest.throttle else None
        if paused is not None:
            pool_rests = paused - now
            told.append(None)
            continue
        old = known.get(rest.subject)
        set_now = rests.refused(old, rest, report.request, report.moment_us, now)
        known[rest.subject] = set_now
        told.append(set_now.ends - now)
        lately = state.refused.setdefault(rest.throttle, {})
        before = lately.get(rest.subject.account)
        is_its_own = before is not None and old is not None and before.ends == old.ends
        if rest.throttle and (old is None or old.ends <= now or is_its_own):
            lately.pop(rest.subject.account, None)
            lately[rest.subject.account] = Refused(now, set_now.ends, rest.subject)
    clears = tuple(_take_back(state, subject, report.request, now) for subject in report.clears)
    subjects = (*report.ends, *([room.resting_pool(report.pool)] if report.pool else []))
    ends = tuple(_end(state, subject, report.moment_us, now) for subject in subjects)
    return Reported(tuple(told), clears, ends, pool_rests)


def _throttled(state: State, rest: Rest, moment: int, now: int) -> int | None:
    """Until when the pool rests for a refusal without details; None: it may still be the key's."""
    pool, known = room.resting_pool(rest.throttle), state.shared.rests
    resting = known.get(pool)
    if resting is None or resting.ends + THROTTLE.most_us <= now:
        lately = state.refused.get(rest.throttle, {})
        others = {a: r for a, r in lately.items() if r.at + THROTTLED_WITHIN_US > now and a != rest.subject.account}
        if len(others) + 1 < THROTTLED_ACCOUNTS:
            return None
        for refused in others.values():
            if refused.subject in known and known[refused.subject].ends == refused.ends:
                del known[refused.subject]
                wake(state, {refused.subject.account}, now)
        del state.refused[rest.throttle]
        resting = None
    known[pool] = rests.refused(resting, THROTTLE, "", moment, now)
    return known[pool].ends


def _take_back(state: State, subject: Subject, request: str, now: int) -> bool:
    rest = state.shared.rests.get(subject)
    if rest is None or rest.kind != rests.SUSPICION or rest.request != request:
        return False
    del state.shared.rests[subject]
    wake(state, {subject.account}, now)
    return True


def _end(state: State, subject: Subject, moment: int, now: int) -> bool:
    rest = state.shared.rests.get(subject)
    if rest is None or moment < rest.since:
        return False
    del state.shared.rests[subject]
    if max(rest.ends, rest.next) > now:
        wake(state, {subject.account}, now)
    return rest.ends > now


# --- what an operator says --------------------------------------------------------------------------


def disable(state: State, key: str, raw: int) -> bool:
    """No grant of the key, by its fingerprint, from now on; whether that is new."""
    tick(state, raw)
    is_new = key not in state.shared.off
    state.shared.off.add(key)
    return is_new


def enable(state: State, key: str, account: str, raw: int) -> bool:
    """Whether it was disabled."""
    now, was_off = tick(state, raw), key in state.shared.off
    state.shared.off.discard(key)
    wake(state, {account}, now)
    return was_off


def reset(state: State, subjects: Iterable[Subject], windows: Iterable[tuple[str, str]], account: str, raw: int) -> int:
    """Forgets rests, and windows by account and limit name; returns how many there were."""
    now, shared = tick(state, raw), state.shared
    gone = sum(shared.rests.pop(subject, None) is not None for subject in subjects)
    gone += sum(shared.windows.pop(name, None) is not None for name in windows)
    wake(state, {account}, now)
    return gone
