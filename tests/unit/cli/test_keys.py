"""`sidecar keys` and `sidecar reload` ask the sidecar that runs, and Redis where none does."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from aiohttp import web
from click.testing import Result

from tests.servers import free_port
from tests.unit.cli.conftest import SECRETS, Command, Written
from tests.unit.running import Running, running

TOKEN = "admin-token-0a1b2c3d"


@pytest.fixture(autouse=True)
def _user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGNAME", "alice\r\n")


@pytest.fixture
def told(redis_url: str) -> dict[str, Any]:
    """The fields of a config on a real Redis, whose ops plane is where nobody listens yet."""
    return {"redis": redis_url, "namespace": f"keys-{uuid4().hex[:8]}", "ops_listen": f"127.0.0.1:{free_port()}"}


@asynccontextmanager
async def served(folder: Path) -> AsyncIterator[Running]:
    """A sidecar of ./sidecar.yaml, listening."""
    config = json.loads((folder / "sidecar.yaml").read_text())
    async with running(folder, config) as sidecar:
        await sidecar.line("listening")
        yield sidecar


async def called(command: Command, *arguments: str) -> Result:
    return await asyncio.to_thread(command, *arguments)


def states(command: Command) -> dict[str, bool]:
    done = command("keys", "list", "--json")
    assert done.exit_code == 0, done.output
    return {key["id"]: key["enabled"] for key in json.loads(done.stdout)["keys"]}


def test_without_a_sidecar_redis_is_changed_and_that_is_said(
    command: Command, written: Written, told: dict[str, Any]
) -> None:
    written(**told)
    done = command("keys", "disable", "b")
    assert done.exit_code == 0
    assert done.output == f"chat/b disabled (in Redis: no sidecar answers at {told['ops_listen']})\n"
    assert states(command) == {"a": True, "b": False}
    assert "chat/b was disabled already" in command("keys", "disable", "chat/b").output
    assert "disabled since " in command("keys", "list").output
    assert f"by alice, {socket.gethostname()}" in command("status").output
    assert command("keys", "enable", "b").output.startswith("chat/b enabled")
    assert states(command) == {"a": True, "b": True}
    assert command("keys", "reset", "b", "--budgets").output.startswith("chat/b had nothing to reset")


async def test_a_running_sidecar_is_asked_and_tells_of_it(
    command: Command, written: Written, told: dict[str, Any], tmp_path: Path
) -> None:
    written(**told, admin_token=TOKEN)
    async with served(tmp_path) as sidecar:
        done = await called(command, "keys", "disable", "b")
        assert done.output == f"chat/b disabled (by the sidecar at {told['ops_listen']})\n"
        line = await sidecar.line("key disabled")
        assert (line["pool"], line["key"], line["by"]) == ("chat", "b", "alice, 127.0.0.1")
        assert "by alice, 127.0.0.1" in (await called(command, "keys", "list")).output
        await called(command, "reload")
        assert (await sidecar.line("config reloaded"))["by"] == "alice, 127.0.0.1"
        assert await asyncio.to_thread(states, command) == {"a": True, "b": False}
        done = await called(command, "keys", "disable", "nobody/at/all?x")
        assert done.exit_code == 1
        assert 'There is no key "nobody/at/all?x". There are: a, b.' in done.output
    assert await asyncio.to_thread(states, command) == {"a": True, "b": False}


@pytest.mark.parametrize("field", ["namespace", "redis"])
async def test_where_a_sidecar_has_another_store_nothing_is_changed(
    field: str, command: Command, written: Written, told: dict[str, Any], tmp_path: Path
) -> None:
    """It may have a key of this id too, and in the store that this config names nobody might look."""
    written(**told)
    other = {"namespace": f"{told['namespace']}-2", "redis": f"{told['redis'].rpartition('/')[0]}/1"}[field]
    async with served(tmp_path):
        written(**told | {field: other})
        done = await called(command, "keys", "disable", "b")
        assert done.exit_code == 1
        why = f"the sidecar at {told['ops_listen']} has another store or namespace "
        why += f"({told['redis']}, namespace {told['namespace']}) than this config. "
        why += f"Run this where that sidecar's config is ({tmp_path / 'sidecar.yaml'}), with its store as SIDECAR_REDIS"
        assert done.output.startswith(f"Nothing was changed: {why}")
        done = await called(command, "reload")
        assert (done.exit_code, done.output.startswith(f"Not reloaded: {why}")) == (1, True)
        done = await called(command, "keys", "list")
        assert (done.exit_code, done.stderr.startswith(f"Read from this config's own store: {why}")) == (0, True)
        assert await asyncio.to_thread(states, command) == {"a": True, "b": True}
        written(**told)
        assert await asyncio.to_thread(states, command) == {"a": True, "b": True}


async def test_another_configs_sidecar_on_the_same_store_is_left_alone(
    command: Command, written: Written, told: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two folders, all defaults: the same address, store, namespace and ids, and other keys."""
    written(**told)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    keys = [{"id": "a", "secret": "sk-not0your0key1"}, {"id": "b", "secret": "sk-not0your0key2"}]
    chat = {"provider": "gemini", "keys": keys}
    (elsewhere / "sidecar.yaml").write_text(json.dumps(told | {"pools": {"chat": chat}}))
    async with served(tmp_path):
        monkeypatch.chdir(elsewhere)
        why = f"the sidecar at {told['ops_listen']} has none of this config's keys. "
        why += f"Run this where that sidecar's config is ({tmp_path / 'sidecar.yaml'}), or set `ops_listen` to"
        for deed in ("disable", "enable", "reset"):
            done = await called(command, "keys", deed, "b")
            assert (done.exit_code, done.output.startswith(f"Nothing was changed: {why}")) == (1, True)
        done = await called(command, "reload")
        assert (done.exit_code, done.output.startswith(f"Not reloaded: {why}")) == (1, True)
        for question in (("status", "--json"), ("usage", "--json"), ("keys", "list", "--json")):
            done = await called(command, *question)
            assert (done.exit_code, done.stderr.startswith(f"Read from this config's own store: {why}")) == (0, True)
            json.loads(done.stdout)
        monkeypatch.chdir(tmp_path)
        assert await asyncio.to_thread(states, command) == {"a": True, "b": True}


async def test_a_key_that_the_sidecar_has_not_read_yet_is_not_taken_for_its_former_one(
    command: Command, written: Written, told: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(**told)
    async with served(tmp_path) as sidecar:
        (tmp_path / ".env").write_text("SIDECAR_HOSTS=not a host\n")
        await sidecar.line("config rejected: what ran before runs on")
        keys = [{"id": "a", "secret": SECRETS[0], "account": "acme"}, {"id": "b", "secret": "sk-not0your0key2"}]
        written({"keys": keys}, **told)
        monkeypatch.setenv("SIDECAR_HOSTS", "a.example")
        done = await called(command, "keys", "disable", "b")
        assert done.exit_code == 1
        assert "has not the key that this config calls chat/b. `sidecar reload` says whether" in done.output
        assert "chat/a disabled (by the sidecar" in (await called(command, "keys", "disable", "a")).output


async def test_the_same_keys_from_another_file_are_the_same_keys(
    command: Command, written: Written, told: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where the sidecar runs in a container, and the file is mounted under another name."""
    text = written(**told).read_text()
    (tmp_path / "mounted").mkdir()
    (tmp_path / "mounted" / "sidecar.yaml").write_text(text)
    async with served(tmp_path):
        monkeypatch.chdir(tmp_path / "mounted")
        done = await called(command, "keys", "disable", "b")
        assert done.output == f"chat/b disabled (by the sidecar at {told['ops_listen']})\n"
        assert (await called(command, "reload")).exit_code == 0


async def test_a_sidecar_that_wants_another_token_is_not_passed_by(
    command: Command, written: Written, told: dict[str, Any], tmp_path: Path
) -> None:
    written(**told, admin_token=TOKEN)
    async with served(tmp_path):
        written(**told, admin_token="another-token-77aa88bb")
        done = await called(command, "keys", "disable", "b")
        assert done.exit_code == 1
        assert "Send the `admin_token`" in done.output
        assert "another-token" not in done.output


async def test_open_to_others_and_without_a_token_it_is_done_in_redis_and_told_how_to_mend_it(
    command: Command, written: Written, told: dict[str, Any], tmp_path: Path
) -> None:
    port = told["ops_listen"].rpartition(":")[2]
    written(**told | {"ops_listen": f"0.0.0.0:{port}"})
    async with served(tmp_path):
        why = f"the sidecar at 127.0.0.1:{port} is open to other machines and has no token for this: "
        why += "set `admin_token`, or SIDECAR_ADMIN_TOKEN for it and for this command"
        done = await called(command, "keys", "disable", "b")
        assert done.output == f"chat/b disabled (in Redis: {why})\n"
        done = await called(command, "reload")
        assert (done.exit_code, done.output) == (1, f"Not reloaded: {why}.\n")


@pytest.mark.parametrize("status", [200, 401, 403, 503])
@pytest.mark.parametrize("said", [{}, {"error": "unauthorized"}, {"error": {"message": "No."}}, []], ids=str)
async def test_what_else_answers_there_is_one_line(
    status: int, said: Any, command: Command, written: Written, told: dict[str, Any]
) -> None:
    """Another program may hold the port."""

    async def answer(_: web.BaseRequest) -> web.Response:
        return web.json_response(said, status=status)

    runner = web.ServerRunner(web.Server(answer))
    await runner.setup()
    await web.TCPSite(runner, *told["ops_listen"].split(":")).start()
    written(**told)
    done = await called(command, "keys", "disable", "b")
    assert len(done.output.splitlines()) == 1
    assert told["ops_listen"] in done.output
    await runner.cleanup()


async def test_reload_says_what_changed_or_why_it_is_rejected(
    command: Command, written: Written, told: dict[str, Any], tmp_path: Path
) -> None:
    written(**told)
    async with served(tmp_path) as sidecar:
        written({"max_wait": "3s"}, **told, listen="127.0.0.1:0")
        done = await called(command, "reload")
        assert done.output.endswith(f"changed\nreloaded by the sidecar at {told['ops_listen']}\n")
        await sidecar.line("pool chat: max_wait changed")
        written({"max_wait": "3s"}, **told, listen="127.0.0.1:0")
        (tmp_path / ".env").write_text("SIDECAR_HOSTS=not a host\n")
        done = await called(command, "reload")
        assert done.exit_code == 1
        assert "env SIDECAR_HOSTS" in done.output
        assert not [secret for secret in SECRETS if secret in done.output]


def test_reload_without_a_sidecar_says_so(command: Command, written: Written, told: dict[str, Any]) -> None:
    written(**told)
    done = command("reload")
    assert (done.exit_code, done.output) == (1, f"Not reloaded: no sidecar answers at {told['ops_listen']}.\n")


@pytest.mark.parametrize(
    ("fields", "arguments", "message"),
    [
        ({"redis": "memory"}, ("keys", "disable", "b"), "read a replica's own memory"),
        ({"redis": "redis://127.0.0.1:1/0"}, ("keys", "list"), "The store cannot be used"),
        ({}, ("keys", "enable", "c"), 'There is no key "c". There are: a, b.'),
    ],
)
def test_what_cannot_be_done_is_one_line(
    fields: dict[str, Any], arguments: tuple[str, ...], message: str, command: Command, written: Written, told: Any
) -> None:
    written(**told | fields)
    done = command(*arguments)
    assert done.exit_code == 1
    (line,) = done.output.splitlines()
    assert message in line


def test_without_a_server_s_binary_no_key_is_said_to_be_changed(
    command: Command, written: Written, told: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The embedded store is this command's own memory then, which no sidecar reads."""
    written(**told | {"redis": "embedded"})
    monkeypatch.setenv("PATH", str(tmp_path))
    done = command("keys", "disable", "b")
    assert done.exit_code == 1
    assert "no other process can read a replica's own memory: neither redis-server" in done.output


def test_an_id_of_two_pools_wants_its_pool(command: Command, told: dict[str, Any], tmp_path: Path) -> None:
    pools = {
        name: {"provider": "openai", "keys": [{"id": "a", "secret": secret}]}
        for name, secret in zip(("chat", "spare"), SECRETS, strict=True)
    }
    (tmp_path / "sidecar.yaml").write_text(json.dumps(told | {"pools": pools}))
    done = command("keys", "disable", "a")
    assert done.exit_code == 1
    assert "say which, chat/a or spare/a" in done.output
    assert command("keys", "disable", "spare/a").exit_code == 0
    listed = json.loads(command("keys", "list", "--json").output)["keys"]
    assert [(key["pool"], key["enabled"]) for key in listed] == [("chat", True), ("spare", False)]


@pytest.mark.parametrize("name", ["list", "disable", "enable", "reset"])
def test_every_command_of_the_group_shows_how_it_is_called(name: str, command: Callable[..., Result]) -> None:
    done = command("keys", name, "--help")
    assert done.exit_code == 0
    assert f"    sidecar keys {name}" in done.output
