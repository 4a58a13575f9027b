"""`sidecar usage` shows what all replicas have counted; `sidecar status` the sums of each key."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import re
from pathlib import Path
from uuid import uuid4

import aiohttp
import pytest

from sidecar import config
from sidecar.model.configured import Config
from sidecar.model.counting import Counts, Row
from sidecar.store.commands import Store
from tests.servers import free_port
from tests.unit.cli.conftest import Command, Written
from tests.unit.running import running

ROWS = {
    Row("chat", "a", "web", "small"): {"requests": 3, "ok": 1_200, "timeout": 1, "connect": 7, "input": 20},
    Row("chat", "gone", "web", "small"): {"ok": 1},
    Row("chat", "", "web", "small"): {"requests": 1, "unserved/rate_limit_exceeded": 1},
}


@pytest.fixture(autouse=True)
def _used(written: Written, redis_url: str, tmp_path: Path) -> None:
    written(redis=redis_url, namespace=f"usage-{uuid4().hex[:8]}")
    use(ROWS, config.load(None, {}, tmp_path), "one")


def use(rows: dict[Row, Counts], loaded: Config, replica: str) -> None:
    async def used() -> None:
        store = Store.at(loaded.redis, loaded.namespace, lambda _: None)
        await store.counted.add(replica, 1, rows)
        await store.close()

    asyncio.run(used())


def test_the_table_has_a_line_for_each_key_and_their_sum(command: Command) -> None:
    lines = [" ".join(line.split()) for line in command("usage").output.splitlines()]
    assert re.fullmatch(r"usage, \d{4}-\d\d-\d\d, UTC", lines[0].strip())
    assert lines[1:] == [
        "pool key requests attempts successes input output cached reasoning failed and unserved, for what",
        "chat - 1 0 0 0 0 0 0 1 rate_limit_exceeded",
        "chat a 3 1,208 1,200 20 0 0 0 1 timeout, 7 connect",
        "chat gone 0 1 1 0 0 0 0",
        "total 4 1,209 1,201 20 0 0 0 1 timeout, 7 connect, 1 rate_limit_exceeded",
    ]
    assert command("usage", "--days", "0", "--by", "client").output.startswith("usage, since counting began")


def test_a_key_is_shown_by_the_id_that_this_config_gives_it(command: Command) -> None:
    """In the table, and in what the status says of it; the key that was `b` before is nobody's of this config."""
    loaded = config.load(None, {}, Path.cwd())
    first, second = loaded.pools["chat"].keys
    again = {
        Row("chat", f"b~{first.fingerprint}", "web", "small"): {"ok": 30},
        Row("chat", f"a~{second.fingerprint}", "web", "small"): {"ok": 400},
        Row("chat", "b~gone", "web", "small"): {"ok": 5_000},
    }
    use(again, loaded, "two")
    rows = json.loads(command("usage", "--json").output)["rows"]
    assert {row["key"]: row["sent"] for row in rows} == {"": 0, "a": 1_231, "b": 400, "b~gone": 5_000, "gone": 1}
    keys = json.loads(command("status", "--json").output)["pools"]["chat"]["keys"]
    assert [key["usage"]["total"]["sent"] for key in keys] == [1_231, 400]


def test_json_and_csv_say_the_same(command: Command) -> None:
    asked = ("usage", "--days", "2", "--by", "key,client")
    (line,) = command(*asked, "--json").output.splitlines()
    rows = json.loads(line)["rows"]
    lines = list(csv.DictReader(io.StringIO(command(*asked, "--csv").output)))
    assert [(row["key"], row["client"], str(row["attempts"])) for row in rows] == [
        (row["key"], row["client"], row["attempts"]) for row in lines
    ]
    assert len(lines) == 3


def test_status_shows_what_each_key_has_sent(command: Command) -> None:
    """Where no connection could be made nothing was."""
    used, unused = json.loads(command("status", "--json").output)["pools"]["chat"]["keys"]
    for span in ("today", "total"):
        assert used["usage"][span]["sent"] == 1201
        assert used["usage"][span]["failures"] == {"timeout": 1, "connect": 7}
        assert unused["usage"][span]["sent"] == 0
    lines = [line.split() for line in command("status").output.splitlines()]
    (line,) = (line for line in lines if line[:2] == ["chat", "a"])
    assert line[-2:] == ["1,201", "1,201"]


def test_what_is_not_kept_is_told(command: Command) -> None:
    done = command("usage", "--by", "week")
    assert (done.exit_code, done.output) == (
        1,
        '--by: "week" is nothing to sum by. Known: day, pool, key, client, model, or several of them.\n',
    )
    assert command("usage", "--days", "401").exit_code == 2


@pytest.mark.parametrize("store", ["memory", "away"])
def test_a_store_that_cannot_be_read_is_one_line(store: str, command: Command, written: Written) -> None:
    nobody = f"127.0.0.1:{free_port()}"
    written(redis="memory" if store == "memory" else f"redis://{nobody}/0", ops_listen=nobody)
    done = command("usage")
    assert done.exit_code == 1
    assert len(done.output.splitlines()) == 1
    assert ("Set `redis:`" if store == "memory" else "set `redis`") in done.output


async def test_the_sidecar_that_runs_is_asked(command: Command, written: Written, tmp_path: Path) -> None:
    """It has what was counted since its last flush, and with the memory store nobody else has anything."""
    told = written(ops_listen=f"127.0.0.1:{free_port()}", listen=f"127.0.0.1:{free_port()}").read_text()
    async with running(tmp_path, json.loads(told)) as sidecar:
        await sidecar.line("listening")
        url = f"http://{json.loads(told)['listen']}/v1/models/nobody"
        async with aiohttp.ClientSession() as http, http.get(url) as answer:
            assert answer.status >= 400
        asked = ("usage", "--days", "2", "--by", "client,model")
        (line,) = (await asyncio.to_thread(command, *asked, "--json")).output.splitlines()
        found = json.loads(line)
        assert (found["days"], found["by"], found["total"]["requests"]) == (2, ["client", "model"], 1)
        csv_told = (await asyncio.to_thread(command, *asked, "--csv")).output
        assert csv_told.startswith("client,model,requests,")
        assert (await asyncio.to_thread(command, "usage", "--by", "week")).output.startswith('--by: "week"')
