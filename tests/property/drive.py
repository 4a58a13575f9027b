"""Hypothesis drives histories through one kind of store."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from unittest import mock

import redis
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from sidecar.model import windows
from tests.property import replay

# Long enough that windows fill and rests end; what a shorter history would do without is shrunk to zeros.
STEPS = st.lists(st.integers(0, 2**32 - 1), min_size=20, max_size=60)


@contextmanager
def exact_up_to(maximum: int) -> Iterator[None]:
    """Limits above this maximum are kept in buckets, in the model as in the scripts."""
    with mock.patch.object(windows, "EXACT", maximum):
        yield


def drive(client: redis.Redis, scripts: dict[str, str], exact: int, histories: int, start: int | None = None) -> None:
    """Raises AssertionError with the shortest history found on which the scripts and the model differ."""

    @_settings(histories)
    @given(STEPS)
    def agree(steps: list[int]) -> None:
        replay.compare(client, shas, steps)

    with exact_up_to(exact):
        shas = replay.load(client, scripts)
        (agree if start is None else seed(start)(agree))()


def shortest(client: redis.Redis, scripts: dict[str, str], histories: int, start: int) -> list[int] | None:
    """The shortest history found on which the scripts and the model differ, without the steps that do nothing."""
    differing: list[list[int]] = []

    @seed(start)
    @_settings(histories)
    @given(STEPS)
    def agree(steps: list[int]) -> None:
        try:
            replay.compare(client, shas, steps)
        except AssertionError:
            differing.append([step for step in steps if step])
            raise

    with exact_up_to(64):
        shas = replay.load(client, scripts)
        with suppress(AssertionError):
            agree()
    return differing[-1] if differing else None


def _settings(histories: int) -> settings:
    return settings(
        max_examples=histories,
        deadline=None,
        database=None,
        print_blob=True,
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )
