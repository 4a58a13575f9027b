"""`sidecar check --live` proposes limits, from what answers name and from what refusals named before."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
import yaml
from click.testing import Result

from sidecar import config
from sidecar.model.events import Drifted
from sidecar.model.outcomes import NamedLimit
from sidecar.model.rotations import rotation
from sidecar.model.words import Ask, Grant
from sidecar.simulate.failures import Fault
from sidecar.simulate.provider import StrictProvider
from sidecar.store.commands import Store
from tests.unit.cli.at_provider import checked, openai, told
from tests.unit.cli.conftest import SECOND, Command, Written

NAMED = {"x-ratelimit-limit-requests-minute": "5", "x-ratelimit-remaining-requests-minute": "4"}


def proposed(done: Result) -> str:
    """What is printed behind the verdicts."""
    _, _, snippet = done.output.partition("propose ")
    return snippet


async def test_limits_that_the_config_lacks_are_proposed_ready_to_paste(
    command: Command, written: Written, provider: StrictProvider, tmp_path: Path
) -> None:
    """The lowest that any key's answer names; what only a refusal names as well."""
    words = "Rate limit reached for gpt-4o in organization o on requests per min (RPM): Limit 3, Used 3, Requested 1."
    provider.faults.append(Fault(key=SECOND, status=429, body={"error": {"message": words}}))
    provider.faults.append(Fault(headers=NAMED | {"x-ratelimit-limit-requests-hour": "300"}))
    written(openai(provider.url, limits=None))
    done = await checked(command)
    assert done.exit_code == 0
    assert proposed(done).splitlines() == [
        " for pools.chat, by what chat names:",
        "    limits:",
        "      - {requests: 3, per: minute}",
        "      - {requests: 300, per: hour}",
    ]
    pasted = yaml.safe_load(proposed(done).partition("\n")[2])
    written(openai(provider.url, **pasted))
    loaded = config.load(None, {}, tmp_path)
    assert [(limit.max, limit.window_us) for limit in loaded.budgets[loaded.pools["chat"].keys[0].account]] == [
        (3, 60_000_000),
        (300, 3_600_000_000),
    ]


async def test_a_limit_that_is_higher_than_the_providers_is_contradicted(
    command: Command, written: Written, provider: StrictProvider
) -> None:
    provider.faults.append(Fault(headers=NAMED))
    written(openai(provider.url, limits=[{"requests": 9, "per": "minute"}]))
    assert "- {requests: 5, per: minute}  # instead of 9 requests per minute" in proposed(await checked(command))


@pytest.mark.parametrize("ours", [5, 1])
async def test_what_the_config_holds_or_holds_lower_is_not_proposed(
    command: Command, written: Written, provider: StrictProvider, ours: int
) -> None:
    provider.faults.append(Fault(headers=NAMED))
    written(openai(provider.url, limits=[{"requests": ours, "per": "minute"}]))
    done = await checked(command)
    assert told(done) == ["a ok (. s)", "b ok (. s)"]
    assert "propose" not in done.output


async def test_a_limit_without_a_window_is_told_but_not_as_an_entry(
    command: Command, written: Written, provider: StrictProvider
) -> None:
    provider.faults.append(Fault(headers={"x-ratelimit-limit-requests": "60"}))
    written(openai(provider.url))
    assert "      # 60 requests: over which time, the answer does not say" in proposed(await checked(command))


@pytest.mark.parametrize(
    "again",
    [
        {"x-ratelimit-limit-requests": "5"},
        {"x-ratelimit-limit": "5"},
        {"x-ratelimit-limit-minute": "6"},
        {"anthropic-ratelimit-requests-limit": "7"},
    ],
)
async def test_a_quota_that_is_named_twice_is_proposed_once(
    command: Command, written: Written, provider: StrictProvider, again: dict[str, str]
) -> None:
    provider.faults.append(Fault(headers=again | NAMED))
    written(openai(provider.url, limits=None))
    assert proposed(await checked(command)).splitlines()[2:] == ["      - {requests: 5, per: minute}"]


async def test_a_maximum_without_a_window_that_no_other_has_is_told_beside_them(
    command: Command, written: Written, provider: StrictProvider
) -> None:
    """It may be another quota: a day's."""
    provider.faults.append(Fault(headers=NAMED | {"x-ratelimit-limit-requests": "200"}))
    written(openai(provider.url, limits=None))
    assert len(proposed(await checked(command)).splitlines()[2:]) == 2


async def test_what_refusals_named_while_a_sidecar_ran_is_proposed_too(
    command: Command, written: Written, provider: StrictProvider, shared: dict[str, str], tmp_path: Path
) -> None:
    written(openai(provider.url), **shared)
    loaded = config.load(None, {}, tmp_path)
    pool = loaded.pools["chat"]
    store = Store.at(loaded.redis, loaded.namespace, lambda _: None)
    grant = await store.acquire(Ask((rotation(pool, loaded.budgets, "m"),), (0,)), lambda _: None)
    assert isinstance(grant, Grant)
    named = NamedLimit("requests", "day", 250, 0, None, "m")
    counted = asyncio.Event()
    event = Drifted("r", "chat", "a", "m", "rate_limit_day", grant.limits, named, "UTC", 0)
    store.drifted(pool.keys[0].fingerprint, grant, event, lambda _: counted.set())
    await counted.wait()
    await store.close()
    assert "      - {requests: 250, per: day, model: m}" in proposed(await checked(command))
