"""`sidecar status` shows what the store holds: asked of the sidecar that runs, and of Redis where none does."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from pathlib import Path
from uuid import uuid4

import pytest

from sidecar import config
from sidecar.model.configured import Config, Limit
from sidecar.model.events import Drifted
from sidecar.model.outcomes import NamedLimit
from sidecar.model.rotations import rotation
from sidecar.model.words import Ask, Grant, Report, Rest, Subject
from sidecar.ops.survey import Budget, Survey
from sidecar.store.commands import Store
from sidecar.store.upkeep import SHARED
from tests.embedded import Kept
from tests.servers import free_port
from tests.unit.cli.conftest import Command, Written
from tests.unit.running import environ, running

MODEL = "gemini-2.5-pro"
UNNAMED = "gemini-9-new"  # the config says nothing of it


@pytest.fixture
def used(written: Written, redis_url: str, tmp_path: Path) -> Config:
    """Grants for MODEL, UNNAMED and the shared rotation; rests of key b for the first two and of account acme."""
    written(redis=redis_url, namespace=f"status-{uuid4().hex[:8]}")
    loaded = config.load(None, {}, tmp_path)
    asyncio.run(_use(loaded))
    return loaded


async def _use(loaded: Config) -> None:
    store = Store.at(loaded.redis, loaded.namespace, lambda _: None)
    asked = Ask((rotation(loaded.pools["chat"], loaded.budgets, MODEL),), (0,))
    grants = [await store.acquire(asked, lambda _: None) for _ in range(3)]
    grant = grants[-1]
    assert isinstance(grant, Grant)
    for model in (UNNAMED, SHARED):
        once = Ask((rotation(loaded.pools["chat"], loaded.budgets, model),), (0,))
        assert isinstance(await store.acquire(once, lambda _: None), Grant)
    first, second = loaded.pools["chat"].keys
    rests = (
        Rest(Subject(first.account, None), 5400_000_000, "quota_exhausted_billing"),
        Rest(Subject(second.account, second.fingerprint, MODEL), 60_000_000, "permission", proved=False),
        Rest(Subject(second.account, None, UNNAMED), 30_000_000, "rate_limit_minute"),
    )
    told = asyncio.Event()
    store.report(Report("r", rests), (), lambda _: told.set())
    await told.wait()
    drifted = asyncio.Event()
    store.drifted(first.fingerprint, grant, _drift(grant), lambda _: drifted.set())
    await drifted.wait()
    await store.beat("one", 60_000_000)
    await store.close()


def _drift(grant: Grant) -> Drifted:
    named = NamedLimit("requests", "minute", 2, 0, 50.0, MODEL)
    return Drifted("r", "chat", "a", MODEL, "rate_limit_minute", grant.limits, named, "UTC", 0)


@pytest.mark.usefixtures("used")
def test_a_refusal_with_room_in_the_budget_is_shown_with_the_limit_that_was_named(command: Command) -> None:
    first, second = json.loads(command("status", "--json").output)["pools"]["chat"]["keys"]
    drift = first["drift"]
    assert 0 <= drift.pop("seconds_ago") < 60
    assert drift == {
        "count": 1,
        "model": MODEL,
        "outcome": "rate_limit_minute",
        "named": {"unit": "requests", "per": "minute", "max": 2, "model": MODEL},
    }
    assert second["drift"] is None
    told = " ".join(command("status").output.split())
    assert "refused once with room in the budget, last" in told
    assert f"it names 2 requests per minute for {MODEL}" in told


@pytest.mark.usefixtures("used")
def test_json_has_budgets_cooldowns_grants_and_replicas(command: Command) -> None:
    done = command("status", "--json")
    assert done.exit_code == 0
    (line,) = done.output.splitlines()
    status = json.loads(line)
    first, second = status["pools"]["chat"]["keys"]
    assert status["replicas"] == 1
    assert status["pools"]["chat"]["grants"] == {MODEL: 3, UNNAMED: 1, "*": 1}
    assert {"unit": "requests", "per": "minute", "model": "", "used": 4, "max": 15, "enforced": True} in first[
        "budgets"
    ]
    assert {"unit": "requests", "per": "90s", "model": MODEL, "used": 1, "max": 2, "enforced": True} in second[
        "budgets"
    ]
    (rest,) = first["cooldowns"]
    assert (rest["model"], rest["reason"], rest["suspicion"]) == ("", "quota_exhausted_billing", False)
    assert 5300 < rest["seconds"] <= 5400
    doubt, unnamed = second["cooldowns"]
    assert (doubt["model"], doubt["reason"], doubt["suspicion"]) == (MODEL, "permission", True)
    assert (unnamed["model"], unnamed["reason"], unnamed["suspicion"]) == (UNNAMED, "rate_limit_minute", False)


@pytest.mark.usefixtures("used")
def test_the_table_shows_every_key_with_what_it_used_and_why_it_rests(command: Command) -> None:
    told = " ".join(command("status").output.split())
    for part in (
        "replicas alive: 1",
        "chat a requests per minute 4/15",
        "quota_exhausted_billing, 1h",
        f"requests per 90s for {MODEL} 1/2",
        f"permission for {MODEL}, ",
        "more (suspicion)",
        f"rate_limit_minute for {UNNAMED}, ",
        f"grants {MODEL}: 3, {UNNAMED}: 1, *: 1",
    ):
        assert part in told


@pytest.mark.usefixtures("used")
def test_a_budget_of_no_key_is_the_pools_own(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    total = Budget("chat", "", Limit("requests", 9, 60_000_000, 1_000_000), used=4)
    monkeypatch.setattr(Survey, "budgets", lambda _: iter((total,)))
    status = json.loads(command("status", "--json").output)
    told = {"unit": "requests", "per": "minute", "model": "", "used": 4, "max": 9, "enforced": True}
    assert status["pools"]["chat"]["total"] == [told]
    assert [key["budgets"] for key in status["pools"]["chat"]["keys"]] == [[], []]


@pytest.mark.usefixtures("used")
def test_watch_shows_it_again_until_it_is_interrupted(tmp_path: Path) -> None:
    command = (sys.executable, "-m", "sidecar", "status", "--watch", "--json")
    with subprocess.Popen(command, cwd=tmp_path, env=environ(), stdout=subprocess.PIPE, text=True) as watching:
        assert watching.stdout is not None
        lines = [json.loads(watching.stdout.readline()) for _ in range(2)]
        watching.send_signal(signal.SIGINT)
        assert watching.wait() == 0
    assert [line["pools"].keys() for line in lines] == [{"chat"}, {"chat"}]


def test_a_store_that_nobody_else_can_read_is_said_so(command: Command, written: Written) -> None:
    written(ops_listen=f"127.0.0.1:{free_port()}")
    done = command("status")
    assert done.exit_code == 1
    assert "Set `redis:` or REDIS_URL to share and keep them" in done.output


def test_budgets_of_an_embedded_store_are_shown_where_no_sidecar_runs(
    command: Command, written: Written, tmp_path: Path, kept: Kept
) -> None:
    """And no server is left for it."""
    written(redis="embedded", ops_listen=f"127.0.0.1:{free_port()}")
    asyncio.run(_use(config.load(None, {}, tmp_path)))
    assert not kept.lives
    status = json.loads(command("status", "--json").output)
    assert status["pools"]["chat"]["grants"] == {MODEL: 3, UNNAMED: 1, "*": 1}
    assert not kept.lives


def test_a_store_that_is_away_is_one_line(command: Command, written: Written) -> None:
    written(redis=f"redis://127.0.0.1:{free_port()}/0")
    done = command("status")
    assert done.exit_code == 1
    assert len(done.output.splitlines()) == 1
    assert "The store cannot be used" in done.output
    assert done.output.endswith(". Start it, or set `redis`.\n")


def test_an_embedded_store_that_cannot_be_loaded_is_one_line(command: Command, written: Written, kept: Kept) -> None:
    """It says what to mend: nobody has to start it."""
    written(redis="embedded", ops_listen=f"127.0.0.1:{free_port()}")
    assert command("status").exit_code == 0
    kept.spoil()
    done = command("status")
    assert done.exit_code == 1
    (line,) = done.output.splitlines()
    assert f"move {kept.folder} away" in line
    assert line.endswith(". Or set `redis`.")
    assert "Start it" not in line


@pytest.mark.parametrize("command_line", [("status", "--json"), ("status", "--watch", "--json")])
async def test_the_sidecar_that_runs_is_asked_for_what_only_it_knows(
    command_line: tuple[str, ...], written: Written, tmp_path: Path
) -> None:
    """Of the memory store nobody else can read anything."""
    fields = json.loads(written(ops_listen=f"127.0.0.1:{free_port()}").read_text())
    async with running(tmp_path, fields) as sidecar:
        await sidecar.line("listening")
        asking = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "sidecar", *command_line), cwd=tmp_path, env=environ(), stdout=subprocess.PIPE
        )
        assert asking.stdout is not None
        for _ in range(1 + ("--watch" in command_line)):
            told = json.loads(await asking.stdout.readline())
            assert [key["id"] for key in told["pools"]["chat"]["keys"]] == ["a", "b"]
        if "--watch" in command_line:
            asking.send_signal(signal.SIGINT)
        assert await asking.wait() == 0
