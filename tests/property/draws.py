"""What a step of a history may say, drawn by numbers: times, amounts, waits, and what is reported."""

from __future__ import annotations

from sidecar.model import bearing
from sidecar.model.words import ONE, Amounts, Failed, Member, Rest, Subject
from tests.property.worlds import GUARD, SECOND

HOUR = 3600 * SECOND
STEPS = (0, 1, 999, GUARD, GUARD + 1, SECOND, 2 * SECOND, 2 * SECOND + GUARD - 1, 2 * SECOND + GUARD)
LEAPS = (10 * SECOND, 10 * SECOND + 200_000 - 1, 10 * SECOND + 200_000, 15 * SECOND, 60 * SECOND, 61 * SECOND)
JUMPS = (900 * SECOND, 901 * SECOND, HOUR, 20 * HOUR, 24 * HOUR, 25 * HOUR, 700 * HOUR)
BACKS = (1, GUARD, SECOND, 30 * SECOND, HOUR)
WAITS = (0, SECOND, 3 * SECOND, 11 * SECOND, 100 * SECOND)
DELAYS = (1, SECOND, 2 * SECOND, 10 * SECOND, 30 * SECOND, 100 * SECOND, 2 * HOUR)
AMOUNTS: tuple[Amounts, ...] = (ONE, (1, 300, 200, 100, 300, 200), (1, 5, 3, 2, 4, 2), (1, 900, 500, 400, 900, 500))
SHARES = (0.0, 0.0, 0.2, 0.5)


def failed(choice: int, model: str) -> Failed:
    """A fault of the provider; those of one to three requests in a row open its breaker."""
    choice, failures = divmod(choice, 3)
    again, delay = divmod(choice, len(DELAYS))
    return Failed(
        bearing.resting_provider("door", model), failures + 1, 30 * SECOND, DELAYS[delay], again=again % 4 == 3
    )


def told_rests(member: Member, model: str | None, delay_us: int, throttle: str) -> dict[int, Rest]:
    """The rests that a report may tell of, of a member's key or its account."""
    of_key, of_account = Subject(member.account, member.key, model), Subject(member.account, None, model)
    most_us = 30 * SECOND
    return {
        0: Rest(of_account, delay_us, "rate_limit_minute", throttle=throttle),
        1: Rest(of_key, delay_us, "invalid_key", proved=False),
        2: Rest(of_key, delay_us, "invalid_key"),
        3: Rest(of_key, delay_us, "invalid_key", dead=True),
        4: Rest(of_account, SECOND, "rate_limit_minute", most_us=most_us),
        5: Rest(of_account, SECOND, "rate_limit_minute", most_us=most_us, throttle="p"),
    }
