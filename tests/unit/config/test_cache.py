"""What the file says of the cache."""

from __future__ import annotations

import pytest

from sidecar.config.watch import Source
from sidecar.model.configured import Cache

from .conftest import Desk

POOLS = "pools: {p: {provider: openai, keys: {from_env: OPENAI_API_KEY}}}\n"
ENVIRON = {"OPENAI_API_KEY": "real-1"}


@pytest.mark.parametrize(
    ("said", "cache"),
    [
        ("", None),
        ("cache: off", None),
        ("cache: {}", Cache(600.0, 1024 * 1024, "all")),
        ("cache: {ttl: 24h, max_bytes: 64KiB, scope: client}", Cache(86_400.0, 64 * 1024, "client")),
    ],
)
def test_answers_are_kept_only_where_the_file_says_so(desk: Desk, said: str, cache: Cache | None) -> None:
    assert desk.load(POOLS + said, ENVIRON).cache == cache


def test_a_variable_turns_it_on(desk: Desk) -> None:
    config = desk.load(POOLS, ENVIRON | {"SIDECAR_CACHE": "{ttl: 1s, max_total: 1GiB}"})
    assert (config.cache, config.cache_total) == (Cache(ttl_s=1.0), 1024**3)


def test_its_own_redis_is_no_part_of_what_is_printed(desk: Desk) -> None:
    config = desk.load(POOLS + "cache: {redis: 'redis://:hush@127.0.0.1:6380/1'}", ENVIRON)
    assert config.cache_redis == "redis://:hush@127.0.0.1:6380/1"
    assert "hush" not in repr(config)


ROUTES = """
routes:
  own: {targets: [{pool: p}], cache: {ttl: 1h}}
  off: {targets: [{pool: p}], cache: off}
  as: {targets: [{pool: p}]}
"""


def test_a_route_may_keep_its_answers_otherwise(desk: Desk) -> None:
    """What it does not say is as the top says, or by default."""
    routes = desk.load(POOLS + "cache: {ttl: 1m, scope: client}" + ROUTES, ENVIRON).routes
    assert [route.cache for route in routes.values()] == [Cache(ttl_s=3600.0, scope="client"), "off", None]
    config = desk.load(POOLS + ROUTES, ENVIRON)
    assert config.cache is None
    assert config.routes["own"].cache == Cache(ttl_s=3600.0)


def test_where_it_is_needs_a_restart(desk: Desk) -> None:
    """All else that is said of it does not."""
    desk.write("sidecar.yaml", POOLS + "cache: {ttl: 1m}")
    source = Source(None, ENVIRON, desk.folder)
    running = source.load()
    desk.write("sidecar.yaml", POOLS + "cache: {ttl: 2m, redis: 'redis://127.0.0.1:6380/1'}")
    config, fixed = source.reload(running)
    assert fixed == ("cache.redis",)
    assert (config.cache, config.cache_redis) == (Cache(ttl_s=120.0), "")
