"""Retries after a provider's faults are a share of its traffic, whatever comes."""

from __future__ import annotations

import math
import random

import pytest

from sidecar.pool.retries import FLOOR, MEMORY_S, Retries


def spent(retries: Retries, door: str, share: float = 0.2, now: float = 0) -> int:
    """How many retries are left, of which none is then; at most a hundred are asked for."""
    return next((n for n in range(100) if not retries.allow(door, share, now)), 100)


def test_slow_traffic_has_a_floor_of_retries() -> None:
    retries = Retries()
    retries.asked("d", 0)
    assert spent(retries, "d") == FLOOR


def test_retries_come_back_as_they_are_forgotten() -> None:
    retries = Retries()
    retries.asked("d", 0)
    assert spent(retries, "d") == FLOOR
    assert not retries.allow("d", 0.2, 1)
    assert retries.allow("d", 0.2, MEMORY_S / 5)
    assert not retries.allow("d", 0.2, MEMORY_S / 5)


@pytest.mark.parametrize("share", [0.05, 0.2, 1.0])
@pytest.mark.parametrize("every_s", [0.001, 0.1, 5.0])
def test_all_that_ask_again_after_every_fault_get_their_share_alone(share: float, every_s: float) -> None:
    """Over any time: the share, the floor, and the floor once more for each time that the counts forget in."""
    retries, dice, now, allowed, requests = Retries(), random.Random(7), 0.0, 0, 4000
    for _ in range(requests):
        now += dice.expovariate(1 / every_s)
        retries.asked("d", now)
        allowed += spent(retries, "d", share, now)
    assert allowed <= share * requests + FLOOR * (1 + now / MEMORY_S)
    assert allowed > share * requests * 0.9


def test_doors_count_apart() -> None:
    retries = Retries()
    for door in ("a", "b"):
        retries.asked(door, 0)
    assert spent(retries, "a") == FLOOR
    assert retries.allow("b", 0.2, 0)


def test_a_share_of_nothing_is_no_retry_and_off_is_no_bound() -> None:
    retries = Retries()
    retries.asked("d", 0)
    assert not retries.allow("d", 0.0, 0)
    assert all(retries.allow("d", math.inf, 0) for _ in range(1000))
