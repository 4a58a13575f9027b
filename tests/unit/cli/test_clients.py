"""`sidecar clients`: virtual keys are shown once, on standard output alone, and the file keeps what opens nothing."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiohttp
import pytest
import redis
from click.testing import CliRunner, Result

from sidecar import config
from sidecar.cli import main
from sidecar.model.tokens import SHAPE, digest
from sidecar.store.names import Names, window_field
from tests.servers import free_port
from tests.unit.running import environ, running

from .conftest import SECRETS, Command, Written

POOL = f"redis: memory\npools: {{chat: {{provider: openai, keys: [{{id: a, secret: {SECRETS[0]}}}]}}}}\n"


def clients(*arguments: str, code: int = 0) -> Result:
    done = CliRunner().invoke(main, ["clients", *arguments])
    assert done.exit_code == code, done.output
    return done


def listed() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(clients("list", "--json").stdout)["clients"]
    return found


def test_the_first_virtual_key_is_shown_once_and_opens_the_door(tmp_path: Path) -> None:
    """Nothing else is on standard output, so that a variable can take it; the file has its hash."""
    (tmp_path / "sidecar.yaml").write_text(POOL)
    done = clients("init", "web")
    token = done.stdout.strip()
    assert SHAPE.fullmatch(token)
    assert token not in done.stderr
    assert "sidecar.yaml: client web is the first." in done.stderr
    written = (tmp_path / "sidecar.yaml").read_text()
    assert (token in written, f"sha256:{digest(token)}" in written) == (False, True)
    assert [(one["id"], one["tokens"][0]["hash"]) for one in listed()] == [("web", digest(token)[:8])]
    assert "there are clients already: web." in clients("init", code=1).stderr


def test_without_a_file_or_a_key_it_says_what_to_do(tmp_path: Path) -> None:
    assert "there is no key for any provider" in clients("init", code=1).stderr
    assert list(tmp_path.iterdir()) == []
    (tmp_path / ".env").write_text(f"OPENAI_API_KEY={SECRETS[0]}\nSIDECAR_REDIS=memory\n")
    assert "`sidecar clients init` writes sidecar.yaml" in clients("create", "web", code=1).stderr
    assert "There is no client" in clients("list").stdout
    clients("init")
    assert SECRETS[0] not in (tmp_path / "sidecar.yaml").read_text()
    assert [one["id"] for one in listed()] == ["app"]


def test_a_client_is_made_renewed_and_revoked(tmp_path: Path, command: Command) -> None:
    (tmp_path / "sidecar.yaml").write_text(POOL)
    clients("init")
    asked = (
        "--model",
        "gpt-4o*",
        "--model",
        "o3",
        "--priority",
        "batch",
        "--concurrency",
        "2",
        "--expires",
        "9999-12-31",
    )
    first = clients("create", "jobs", *asked).stdout.strip()
    made = listed()[1]
    assert (made["models"], made["priority"], made["tokens"]) == (
        ["gpt-4o*", "o3"],
        "batch",
        [{"hash": digest(first)[:8], "expires": "9999-12-31", "expired": False}],
    )
    assert "Say when its new one does" in clients("rotate", "jobs", code=1).stderr
    done = clients("rotate", "jobs", "--overlap", "2h", "--expires", "never")
    assert f"{digest(first)[:8]} is good until 2" in done.stderr
    assert [token["hash"] for token in listed()[1]["tokens"]] == [digest(first)[:8], digest(done.stdout.strip())[:8]]
    assert "client   jobs; only gpt-4o*, o3; 2 requests in flight; priority batch" in command("check").output
    done = clients("rotate", "jobs", "--overlap", "0s")
    assert "No other one is good any more." in done.stderr
    assert len(listed()[1]["tokens"]) == 1
    done = clients("revoke", "jobs")
    assert (done.stdout, "client jobs is revoked" in done.stderr) == ("", True)
    assert [one["id"] for one in listed()] == ["app"]
    assert "is the only client" in clients("revoke", "app", code=1).stderr


@pytest.mark.parametrize("overlap", ["a day", "24", "99999h", "-1h"])
def test_an_overlap_is_a_duration(tmp_path: Path, overlap: str) -> None:
    (tmp_path / "sidecar.yaml").write_text(f"{POOL}clients: [{{id: web, token: t}}]\n")
    assert "is no duration such as 30m, 24h or 0s" in clients("rotate", "web", "--overlap", overlap, code=1).stderr


def test_two_commands_at_once_lose_nothing(tmp_path: Path) -> None:
    """Each reads what the other has written."""
    (tmp_path / "sidecar.yaml").write_text(f"{POOL}clients: [{{id: web, token: t}}]\n")
    called = (sys.executable, "-m", "sidecar", "clients", "create")
    running = [subprocess.Popen((*called, f"c{at}"), stdout=subprocess.DEVNULL, env=environ()) for at in range(3)]
    assert [one.wait() for one in running] == [0, 0, 0]
    assert sorted(one["id"] for one in listed()) == ["c0", "c1", "c2", "web"]


def test_what_has_expired_is_told_by_list_and_check(tmp_path: Path, command: Command) -> None:
    (tmp_path / "sidecar.yaml").write_text(f"{POOL}clients: [{{id: web, token: tok-1, expires: 2020-01-31}}]\n")
    known = digest("tok-1")[:8]
    assert f"{known} expired 2020-01-31" in clients("list").stdout
    (line,) = (line for line in command("check").output.splitlines() if line.startswith("warning  the token"))
    assert line == (
        f"warning  the token {known} of client web expired at 2020-01-31: `sidecar clients rotate web` makes a new one"
    )


# --- what was used ------------------------------------------------------------------------------------


def _spent(told: dict[str, Any], folder: Path, count: int) -> None:
    """As many requests of `web` stand in the window of its first limit."""
    loaded = config.load(None, {}, folder)
    client = loaded.clients[0]
    with redis.Redis.from_url(told["redis"]) as store:
        now_s, rest_us = store.time()
        moment = now_s * 1_000_000 + rest_us
        field = window_field(client.account, client.limits[0])
        store.hset(Names(loaded.namespace).state, field, f"{count:016d}{moment:016d}{count:016d}")


def _used() -> list[tuple[int | None, int | None]]:
    return [(limit["used"], limit["remaining"]) for limit in listed()[0]["limits"]]


def test_what_a_client_has_used_is_asked_of_redis_or_not_known(
    tmp_path: Path, written: Written, redis_url: str
) -> None:
    """Where neither answers the clients are listed all the same."""
    limits = [{"requests": 5, "per": "hour"}, {"tokens": 100, "per": "calendar_month"}]
    told = {"redis": redis_url, "namespace": f"clients-{uuid4().hex[:8]}", "ops_listen": f"127.0.0.1:{free_port()}"}
    caller = {"clients": [{"id": "web", "token": "t-0", "limits": limits}]}
    written(**told, **caller)
    assert _used() == [(0, 5), (0, 100)]
    _spent(told, tmp_path, 3)
    assert _used() == [(3, 2), (0, 100)]
    shown = [" ".join(line.split()) for line in clients("list").stdout.splitlines()]
    assert shown[1].startswith("web all requests per hour 3/5 interactive ")
    assert shown[2] == "tokens per calendar_month UTC 0/100"
    written(**told | {"redis": f"redis://127.0.0.1:{free_port()}"}, **caller)
    assert _used() == [(None, None), (None, None)]
    written(**caller)
    assert "?/5" in clients("list").stdout


async def test_a_running_sidecar_is_asked_and_the_clients_are_those_of_the_file(
    tmp_path: Path, written: Written
) -> None:
    """It alone knows its memory. Who was added a moment ago is listed too, whether or not it has read of that."""
    told = {"redis": "memory", "ops_listen": f"127.0.0.1:{free_port()}"}
    caller = {"id": "web", "token": "t-0", "limits": [{"requests": 5, "per": "hour"}]}
    file = written(**told, clients=[caller])
    async with running(tmp_path, json.loads(file.read_text())) as sidecar:
        await sidecar.line("listening")
        written(**told, clients=[caller, {"id": "jobs", "token": "t-1", "limits": [{"requests": 7, "per": "day"}]}])
        found = await asyncio.to_thread(listed)
        assert [(one["id"], one["limits"][0]["max"]) for one in found] == [("web", 5), ("jobs", 7)]
        assert (found[0]["limits"][0]["used"], found[0]["limits"][0]["remaining"]) == (0, 5)
        async with aiohttp.ClientSession() as http, http.get(f"http://{told['ops_listen']}/admin/v1/clients") as answer:
            (asked, *_) = (await answer.json())["clients"]
        assert asked == found[0]
