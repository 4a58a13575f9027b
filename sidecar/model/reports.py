"""What is learnt of keys, by attempts and from operators: the twins of `lua/report.lua` and `lua/admin.lua`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from sidecar.model import bearing, rests
from sidecar.model.configured import SECOND_US
from sidecar.model.rules import Refused, State, tick, wake
from sidecar.model.words import Failed, Report, Reported, Rest, Subject

# The provider's throttle: the same refusal without details from so many accounts within so long.
THROTTLED_ACCOUNTS, THROTTLED_WITHIN_US = 3, 5 * SECOND_US
NOBODYS = Subject("")  # instead of what rests, of a refusal that named its length: that rest stays
THROTTLE = Rest(NOBODYS, SECOND_US, "throttled", most_us=60 * SECOND_US)

MOST_PAUSE_US = 60 * SECOND_US  # of a provider's breaker


# --- what an attempt taught -------------------------------------------------------------------------


def report(state: State, report: Report, raw: int) -> Reported:
    """Sets rests, takes suspicions back, and ends the rests of a key that succeeded."""
    now, known, pool_rests = tick(state, raw), state.shared.rests, 0
    told: list[int | None] = []
    freed: list[Subject] = []
    for rest in report.rests:
        paused = _throttled(state, rest, report.moment_us, now, freed) if rest.throttle else None
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
        is_like_it = before is not None and (_names_length(rest) or before.subject == rest.subject)
        if rest.throttle and (old is None or old.ends <= now or (is_its_own and is_like_it)):
            lately.pop(rest.subject.account, None)
            whose = NOBODYS if _names_length(rest) else rest.subject
            lately[rest.subject.account] = Refused(now, set_now.ends, whose)
    clears = tuple(_take_back(state, subject, report.request, now) for subject in report.clears)
    subjects = [*report.ends, *([bearing.resting_pool(report.pool)] if report.pool else [])]
    subjects += [report.works] if report.works else []
    ends = tuple(_end(state, subject, report.moment_us, now) for subject in subjects)
    provider_rests = _failed(state, report.failed, report.moment_us, now) if report.failed else 0
    if report.left in known and (tried := rests.given_back(known[report.left], report.moment_us)):
        known[report.left] = tried
    return Reported(tuple(told), clears, ends, pool_rests, tuple(freed), provider_rests)


def _names_length(rest: Rest) -> bool:
    return rest.most_us == 0


def _is_alike(refused: Refused, rest: Rest, now: int) -> bool:
    """Whether it named no length either, or one that ends with this one's."""
    if not _names_length(rest):
        return refused.subject != NOBODYS
    return refused.subject == NOBODYS and abs(refused.ends - now - rest.delay_us) <= THROTTLED_WITHIN_US


def _throttled(state: State, rest: Rest, moment: int, now: int, freed: list[Subject]) -> int | None:
    """Until when the pool rests for a refusal without details; None: it may still be the key's. What it was taken for
    before, where no length was named, ends, and is added to `freed`."""
    pool, known = bearing.resting_pool(rest.throttle), state.shared.rests
    resting = known.get(pool)
    if resting is None or resting.ends + THROTTLE.most_us <= now:
        lately = state.refused.get(rest.throttle, {})
        others = {
            account: refused
            for account, refused in lately.items()
            if refused.at + THROTTLED_WITHIN_US > now
            and account != rest.subject.account
            and _is_alike(refused, rest, now)
        }
        if len(others) + 1 < THROTTLED_ACCOUNTS:
            return None
        for refused in others.values():
            if refused.subject in known and known[refused.subject].ends == refused.ends:
                del known[refused.subject]
                wake(state, {refused.subject.account}, now)
                freed.append(refused.subject)
        del state.refused[rest.throttle]
        resting = None
    named_us = rest.delay_us if _names_length(rest) else 0
    paused = replace(THROTTLE, delay_us=min(THROTTLE.most_us, max(THROTTLE.delay_us, named_us)))
    known[pool] = rests.refused(resting, paused, "", moment, now)
    return known[pool].ends


def _failed(state: State, failed: Failed, moment: int, now: int) -> int:
    """Counts a fault of a provider; how long it rests from now, if it is the last of the run or of a try after it."""
    known, old = state.shared.rests, state.shared.rests.get(failed.subject)
    if old is None or old.kind == rests.COUNTS:
        if failed.again:
            return 0
        run = old if old is not None and old.ends + failed.within_us > now else None
        count, since = (1, now) if run is None else (run.streak + 1, run.since)
        if count < failed.failures:
            known[failed.subject] = rests.Resting(now, since, now, rests.COUNTS, count, "", "overloaded")
            return 0
        old = None
    elif moment < old.since:
        return 0
    else:
        old = replace(old, grants=())
    paused = Rest(failed.subject, failed.pause_us, "overloaded", most_us=MOST_PAUSE_US)
    known[failed.subject] = rests.refused(old, paused, "", moment, now)
    return known[failed.subject].ends - now


def _take_back(state: State, subject: Subject, request: str, now: int) -> bool:
    rest = state.shared.rests.get(subject)
    if rest is None or rest.kind != rests.SUSPICION or rest.request != request:
        return False
    del state.shared.rests[subject]
    wake(state, {subject.account}, now)
    return True


def _end(state: State, subject: Subject, moment: int, now: int) -> bool:
    rest = state.shared.rests.get(subject)
    if rest is None or (moment < rest.since and rest.kind != rests.COUNTS):
        return False
    del state.shared.rests[subject]
    if rests.holds_back(rest, now):
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
