"""The scripts and the model answer alike, on fakeredis and on Redis, with exact windows and with buckets."""

from __future__ import annotations

import fakeredis
import pytest
import redis

from tests.property import replay
from tests.property.counterexamples import HISTORIES
from tests.property.drive import drive, exact_up_to

EXACT = pytest.mark.parametrize("exact", [64, 1], ids=["exact", "buckets"])


@EXACT
def test_on_redis(redis_url: str, exact: int) -> None:
    """Thousands of histories here, a million with `python -m tests.property`."""
    with redis.Redis.from_url(redis_url) as client:
        drive(client, replay.texts(exact), exact, histories=3000)


@EXACT
def test_on_fakeredis(exact: int) -> None:
    """The memory store runs the same scripts."""
    with fakeredis.FakeRedis() as client:
        drive(client, replay.texts(exact), exact, histories=500)


@EXACT
@pytest.mark.parametrize("name", HISTORIES)
def test_histories_that_once_differed(redis_url: str, exact: int, name: str) -> None:
    """Each was shrunk from a difference, or from a mutation of the scripts that it tells apart."""
    with redis.Redis.from_url(redis_url) as client, exact_up_to(exact):
        replay.compare(client, replay.load(client, replay.texts(exact)), HISTORIES[name])
