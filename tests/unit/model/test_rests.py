"""A rest only moves later, doubles where nobody named its length, and is tried at growing intervals."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.model import rests
from sidecar.model.configured import SECOND_US
from sidecar.model.rests import (
    DEAD,
    DEAD_PROBE_US,
    FORGOTTEN_US,
    LONG_US,
    MOST_PROBE_US,
    NEVER,
    PROVED,
    SUSPICION,
    Resting,
)
from sidecar.model.words import Rest, Subject

NOW = 1_790_000_000_000_000
HOUR_US = 3600 * SECOND_US
ACCOUNT = Subject("a")
GUARD_US = SECOND_US


def named(delay_us: int, proved: bool = True, dead: bool = False) -> Rest:
    return Rest(ACCOUNT, delay_us, "why", proved, dead)


def unnamed(delay_us: int = 60 * SECOND_US, most_us: int = HOUR_US) -> Rest:
    return Rest(ACCOUNT, delay_us, "why", most_us=most_us)


def refused(rest: Rest, now: int = NOW, old: Resting | None = None, moment: int | None = None) -> Resting:
    return rests.refused(old, rest, "r", now if moment is None else moment, now)


def test_short_rest_is_over_when_it_ends() -> None:
    rest = refused(named(60 * SECOND_US))
    assert (rest.ends, rest.next, rest.kind) == (NOW + 60 * SECOND_US, rest.ends, PROVED)


@pytest.mark.parametrize(
    ("delay_us", "tried_us"), [(LONG_US, LONG_US), (LONG_US + 1, LONG_US), (40 * HOUR_US, LONG_US)]
)
def test_rest_longer_than_15_minutes_is_first_tried_after_15(delay_us: int, tried_us: int) -> None:
    """137 hours and 18 days have been named."""
    assert refused(named(delay_us)).next == NOW + tried_us


def test_probes_come_at_growing_intervals_up_to_six_hours_and_none_after_the_end() -> None:
    rest = refused(named(100 * HOUR_US))
    gaps, last = [], NOW
    while rest.next < rest.ends:
        gaps.append(rest.next - last)
        last = rest.next
        rest = rests.granted(rest, rest.next, rest.next, GUARD_US)
    assert gaps[:6] == [LONG_US, LONG_US, 2 * LONG_US, 4 * LONG_US, 8 * LONG_US, 16 * LONG_US]
    assert set(gaps[6:]) == {MOST_PROBE_US}
    assert rest.next == rest.ends


def test_dead_key_is_for_probers_only_and_for_one_of_them_at_a_time() -> None:
    rest = refused(named(HOUR_US, dead=True))
    assert (rest.ends, rest.kind) == (NEVER, DEAD)
    assert rests.free_at(rest, NOW, False, GUARD_US) == NEVER
    assert rests.free_at(rest, NOW, True, GUARD_US) == NOW + DEAD_PROBE_US
    gaps, last = [], NOW
    for _ in range(12):
        gaps.append(rest.next - last)
        last = rest.next
        rest = rests.granted(rest, rest.next, rest.next, GUARD_US)
    assert gaps[:5] == [60 * SECOND_US * n for n in (1, 1, 2, 4, 8)]
    assert gaps == sorted(gaps)
    assert gaps[-1] == MOST_PROBE_US


def free_at(rest: Resting, t: int) -> int:
    return rests.free_at(rest, t, probing=False, guard_us=GUARD_US)


def test_end_of_a_rest_is_worth_one_grant_a_guard() -> None:
    """Else all who waited for it would hit the key at once that was just refused."""
    rest = refused(named(60 * SECOND_US))
    for nth in range(3):
        assert free_at(rest, NOW) == rest.ends + nth * GUARD_US
        rest = rests.granted(rest, rest.ends + nth * GUARD_US, NOW, GUARD_US)
    assert free_at(rest, rest.ends + 10 * GUARD_US) == rest.ends + 10 * GUARD_US


def test_who_goes_away_leaves_the_moment_to_others_and_nobody_else_s() -> None:
    rest = refused(named(60 * SECOND_US))
    for nth in range(3):
        rest = rests.granted(rest, rest.ends + nth * GUARD_US, NOW, GUARD_US)
    left = rests.given_back(rest, rest.ends + GUARD_US)
    assert left is not None
    assert free_at(left, NOW) == rest.ends + GUARD_US
    assert rests.given_back(left, rest.ends + GUARD_US) is None


def test_reservation_that_a_longer_rest_overtook_leaves_no_moment_within_it() -> None:
    """Its key would be granted before the moment that the provider named."""
    rest = refused(named(60 * SECOND_US))
    rest = rests.granted(rest, rest.ends, NOW, GUARD_US)
    longer = refused(named(300 * SECOND_US), NOW + SECOND_US, rest)
    assert rests.given_back(longer, rest.ends) is None
    assert free_at(longer, NOW) == longer.ends


def test_probe_that_was_not_sent_is_due_again() -> None:
    rest = refused(named(HOUR_US))
    probed = rests.granted(rest, rest.next, rest.next, GUARD_US)
    assert free_at(probed, NOW) == NOW + 2 * LONG_US
    left = rests.given_back(probed, rest.next)
    assert left is not None
    assert free_at(left, NOW) == NOW + LONG_US


def test_unnamed_length_doubles_up_to_the_most_and_begins_anew_a_day_after() -> None:
    rest, delays, now = None, [], NOW
    for _ in range(9):
        rest = refused(unnamed(), now, rest)
        delays.append((rest.ends - now) // (60 * SECOND_US))
        now = rest.ends
    assert rest is not None
    assert delays == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    forgotten = refused(unnamed(), rest.ends + FORGOTTEN_US, rest)
    assert forgotten.ends - forgotten.since == 60 * SECOND_US
    assert refused(unnamed(), rest.ends + FORGOTTEN_US - 1, rest).streak == 10


def test_requests_that_were_on_their_way_when_it_began_do_not_double_it() -> None:
    rest = refused(unnamed())
    for _ in range(5):
        rest = refused(unnamed(), NOW + SECOND_US, rest, moment=NOW - 1)
    assert (rest.streak, rest.ends) == (1, NOW + 61 * SECOND_US)


def test_named_length_does_not_double_and_counts_for_no_streak() -> None:
    rest = refused(named(60 * SECOND_US), NOW, refused(named(60 * SECOND_US)))
    assert (rest.ends - NOW, rest.streak) == (60 * SECOND_US, 0)


def test_default_above_the_most_is_kept() -> None:
    assert refused(unnamed(120 * SECOND_US, 60 * SECOND_US)).ends == NOW + 120 * SECOND_US


@given(
    st.lists(
        st.tuples(
            st.integers(0, HOUR_US),
            st.integers(1, 3 * HOUR_US),
            st.sampled_from([named, unnamed]),
            st.booleans(),
            st.booleans(),
        ),
        min_size=2,
        max_size=9,
    )
)
def test_while_it_lasts_a_rest_only_moves_later_and_stays_proved(
    steps: list[tuple[int, int, type[Rest], bool, bool]],
) -> None:
    """A suspicion on top of it could else be taken back, and would end what the provider named."""
    now, old = NOW, None
    for gap, delay, make, proved, dead in steps:
        now += gap
        new = refused(replace(make(delay), proved=proved or dead, dead=dead), now, old)  # type: ignore[call-arg, arg-type]
        if old is not None and old.ends > now:
            assert new.ends >= old.ends
            assert new.kind >= old.kind
            assert new.since == old.since
        if old is not None and old.ends + FORGOTTEN_US > now:
            assert new.next >= old.next
        assert new.ends > now
        old = new


def test_shorter_rest_on_top_of_a_longer_one_keeps_its_name() -> None:
    long = rests.refused(None, Rest(ACCOUNT, HOUR_US, "rate_limit_day"), "first", NOW, NOW)
    both = rests.refused(long, Rest(ACCOUNT, SECOND_US, "rate_limit_minute", proved=False), "second", NOW, NOW)
    assert both == long
    later = rests.refused(long, Rest(ACCOUNT, 2 * HOUR_US, "billing"), "third", NOW, NOW)
    assert (later.ends, later.request, later.reason) == (NOW + 2 * HOUR_US, "third", "billing")


def test_text_of_redis_is_read() -> None:
    """A reason may hold anything, bars too."""
    text = f"{NOW + 2}|{NOW}|{NOW + 1}|0|3|{NOW + 2}{NOW + 3}|abc|because|of this"
    grants = (NOW + 2, NOW + 3)
    assert rests.read(text) == Resting(NOW + 2, NOW, NOW + 1, SUSPICION, 3, "abc", "because|of this", grants)
