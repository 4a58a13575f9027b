"""`sidecar demo` shows real processes keep their promises, and cleans up after itself."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from sidecar.cli.demo import screen, world
from sidecar.cli.demo.plan import PERIOD_S, SWELL, WINDOW_S, Plan
from sidecar.cli.demo.traffic import Traffic
from sidecar.simulate.ledger import Arrival
from tests.unit.running import environ

DEMO = (sys.executable, "-m", "sidecar", "demo")
PLAN = Plan(seconds=1, replicas=1, keys=2, rate=4)


def demo(folder: Path, *arguments: str, path: str | None = None) -> subprocess.Popen[str]:
    given = {"TMPDIR": str(folder)} | ({"PATH": path} if path else {})
    return subprocess.Popen((*DEMO, *arguments), env=environ(given), stdout=subprocess.PIPE, text=True)


@pytest.mark.parametrize("path", [None, "/nonexistent"], ids=["installed-redis", "no-redis"])
def test_it_ends_with_a_verdict_and_leaves_nothing(path: str | None, tmp_path: Path) -> None:
    """With a Redis of the machine, and with a simulated one where there is none."""
    with demo(tmp_path, "--seconds", "2.5", "--replicas", "2", "--rate", "15", path=path) as process:
        told, _ = process.communicate()
        assert process.returncode == 0
    verdict = told.splitlines()[-1]
    assert re.match(r"0 budgets exceeded, \d+ requests, 0 client 429s, 0 other failures; \d+ failovers", verdict)
    assert ("fakeredis" in told.splitlines()[0]) == (path is not None)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ended_early_it_leaves_nothing_either(number: signal.Signals, tmp_path: Path) -> None:
    with demo(tmp_path, "--seconds", "600", "--replicas", "1") as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert "requests" in process.stdout.readline()
        process.send_signal(number)
        assert process.wait() == 130
    assert list(tmp_path.iterdir()) == []


async def test_a_process_that_does_not_start_is_told_with_its_last_words(tmp_path: Path) -> None:
    from contextlib import AsyncExitStack

    (tmp_path / "sidecar.yaml").write_text("listn: 1")
    async with AsyncExitStack() as stack:
        with pytest.raises(world.WorldError, match="listn: there is no such field"):
            await world.replicas(stack, tmp_path / "sidecar.yaml", 1)


def test_waves_exceed_the_budget_for_a_while_and_not_on_average() -> None:
    plan = Plan(seconds=60, replicas=3, keys=5, rate=25)
    per_second = plan.budget.max * plan.keys / WINDOW_S
    assert plan.rate < per_second < plan.rate_at(PERIOD_S / 4)
    assert plan.rate_at(3 * PERIOD_S / 4) == pytest.approx(plan.rate * (1 - SWELL))


def test_its_secrets_are_in_no_repr() -> None:
    assert len(set(PLAN.secrets.values())) == 2
    assert not [secret for secret in PLAN.secrets.values() if secret in repr(PLAN)]


async def test_a_budget_exceeded_or_a_429_seen_fails_the_verdict(capsys: pytest.CaptureFixture[str]) -> None:
    async with PLAN.provider() as provider:
        traffic = Traffic(PLAN, provider, ["http://127.0.0.1:9"])
        assert screen.verdict(traffic)
        traffic.statuses["429"] += 1
        assert not screen.verdict(traffic)
        traffic.statuses.clear()
        traffic.statuses["broken"] += 1
        assert not screen.verdict(traffic)
        traffic.statuses.clear()
        secret = PLAN.secrets["key-2"]
        provider.arrivals.extend(
            Arrival(at, "POST", "/", secret, provider.accounts[secret]) for at in range(PLAN.budget.max + 1)
        )
        assert not screen.verdict(traffic)
    told = capsys.readouterr().out
    assert f"key-2: {PLAN.budget.max + 1} arrivals in {WINDOW_S} s, allowed are {PLAN.budget.max}" in told
    assert "1 budgets exceeded" in told
    assert secret not in told


def test_the_users_own_log_of_failures_is_not_written_by_the_demo() -> None:
    assert json.loads(PLAN.config("http://127.0.0.1:9", "redis://127.0.0.1:9"))["failures"] == "off"
