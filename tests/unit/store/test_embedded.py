"""The embedded store: what it needs of the machine, and histories of users that come, go and die in one process."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sidecar.store import embedded, installed, memory
from sidecar.store.commands import Store
from sidecar.store.connect import StoreAway, StoreBroken
from sidecar.store.installed import Installed
from tests.embedded import Kept, number
from tests.embedded import opened as store
from tests.servers import binary

# --- what the machine has ---------------------------------------------------------------------------


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    """A folder to be the PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    return folder


def script(tools: Path, name: str, version: str, then: str = "exit 1") -> Path:
    """A server that says this version, and does something else when it is started."""
    file = tools / name
    file.write_text(f'#!/bin/sh\n[ "$1" = --version ] && echo "{version}" && exit 0\n{then}\n')
    file.chmod(0o755)
    return file


def find(tools: Path, tmp_path: Path) -> Installed | str:
    return installed.find({"PATH": str(tools), "XDG_STATE_HOME": str(tmp_path / "state")})


@pytest.mark.parametrize(
    ("name", "said", "version"),
    [
        ("redis-server", "Redis server v=6.2.0 sha=00000000:0 malloc=libc bits=64 build=1", (6, 2)),
        ("redis-server", "Redis server v=10.1.3 sha=00000000:0", (10, 1)),
        ("valkey-server", "Valkey server v=8.0.1 sha=00000000:0", (8, 0)),
    ],
)
def test_a_server_on_the_path_is_found(
    name: str, said: str, version: tuple[int, int], tools: Path, tmp_path: Path
) -> None:
    file = script(tools, name, said)
    assert find(tools, tmp_path) == Installed(str(file), version, tmp_path / "state" / "sidecar" / "redis")


def test_one_that_is_too_old_is_passed_over(tools: Path, tmp_path: Path) -> None:
    old = script(tools, "redis-server", "Redis server v=6.0.16 sha=0")
    assert find(tools, tmp_path) == f"{old} is version 6.0, older than 6.2 (install redis-server 6.2 or newer)"
    new = script(tools, "valkey-server", "Valkey server v=7.2.5 sha=0")
    found = find(tools, tmp_path)
    assert isinstance(found, Installed)
    assert found.binary == str(new)


def test_no_server_is_said_with_what_to_install(tools: Path, tmp_path: Path) -> None:
    assert find(tools, tmp_path) == (
        "neither redis-server nor valkey-server is on the PATH (install redis-server 6.2 or newer)"
    )
    broken = script(tools, "redis-server", "what?")
    assert find(tools, tmp_path) == f"{broken} does not say its version (install redis-server 6.2 or newer)"


def test_folders_are_private_also_those_that_were_not(tools: Path, tmp_path: Path) -> None:
    script(tools, "redis-server", "v=7.0.0")
    folder = tmp_path / "state" / "sidecar" / "redis"
    folder.mkdir(parents=True, mode=0o755)
    assert isinstance(find(tools, tmp_path), Installed)
    assert [oct(path.stat().st_mode & 0o777) for path in (folder, folder.parent)] == ["0o700", "0o700"]


def test_a_folder_that_cannot_be_had_is_said(tools: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file in its place, or somebody else's folder: an embedded store would be theirs."""
    script(tools, "redis-server", "v=7.0.0")
    (tmp_path / "state").write_text("a file")
    assert "cannot be used (Not a directory; set XDG_STATE_HOME" in str(find(tools, tmp_path))
    (tmp_path / "state").unlink()
    monkeypatch.setattr(os, "geteuid", lambda: 987_654)
    assert "cannot be used (it belongs to another user; set XDG_STATE_HOME" in str(find(tools, tmp_path))


@pytest.mark.parametrize(
    ("environ", "folder"),
    [
        ({"HOME": "/home/ada", "XDG_STATE_HOME": "/var/ada"}, "/var/ada/sidecar"),
        ({"HOME": "/home/ada", "XDG_STATE_HOME": "var/ada"}, "/home/ada/.local/state/sidecar"),
        ({"HOME": "/home/ada", "XDG_STATE_HOME": ""}, "/home/ada/.local/state/sidecar"),
    ],
)
def test_the_state_folder_follows_the_desktop_specification(environ: dict[str, str], folder: str) -> None:
    assert installed.state_folder(environ) == Path(folder)


def test_a_container_is_told_that_it_is_alone(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    home = store().home
    assert "budgets are not shared with other containers" in home.warning
    assert str(kept.folder) in home.warning
    assert not home.private


async def test_memory_serves_where_there_is_no_server(tools: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tools))
    user = store()
    assert user.home.private
    assert user.home.warning.startswith("neither redis-server nor valkey-server is on the PATH (install")
    assert user.home.warning.endswith(memory.LOST)
    assert await number(user) == 0
    await user.close()


# --- the server -------------------------------------------------------------------------------------


async def test_a_server_that_does_not_start_says_why_and_knows_no_secret(tmp_path: Path, tools: Path) -> None:
    """What it is given of the environment is what a binary may need to run."""
    script(tools, "redis-server", "v=7.0.0", then=f"/usr/bin/env > {tmp_path}/seen; echo 'Bad directive' >&2; exit 1")
    given = {"PATH": str(tools), "XDG_STATE_HOME": str(tmp_path / "state"), "OPENAI_API_KEY": "sk-hush"}
    open_connection, home = embedded.at(given)
    user = Store(open_connection, "test", lambda _: None, home)
    with pytest.raises(StoreAway, match="redis-server does not start: Bad directive"):
        await user.inspect(())
    await user.close()
    seen = (tmp_path / "seen").read_text()
    assert f"PATH={tools}\n" in seen
    assert "hush" not in seen


async def test_an_older_server_does_not_begin_anew_beside_newer_data(tmp_path: Path, tools: Path) -> None:
    """Redis 6.2 does not look where Redis 7 writes: it would start empty."""
    script(tools, "redis-server", "v=6.2.14", then=f"touch {tmp_path}/started")
    (tmp_path / "state" / "sidecar" / "redis" / "appendonlydir").mkdir(parents=True)
    open_connection, home = embedded.at({"PATH": str(tools), "XDG_STATE_HOME": str(tmp_path / "state")})
    with pytest.raises(StoreBroken, match=r"written by a newer server than redis-server 6\.2: install that one"):
        await open_connection().connect()  # type: ignore[no-untyped-call]
    await home.leave()
    assert not (tmp_path / "started").exists()


async def test_nothing_can_be_read_by_others_and_no_port_is_open(kept: Kept) -> None:
    user = store()
    assert await number(user) == 0
    modes = {path.name: path.stat().st_mode & 0o077 for path in (kept.folder, *kept.folder.rglob("*"))}
    assert {"redis.sock", "redis.log", "users.lock", "server.lock", "appendonlydir"} < modes.keys()
    assert set(modes.values()) == {0}
    assert "port=0" in (kept.folder / "redis.log").read_text()
    await user.close()


async def test_a_path_too_long_for_a_socket_is_reached(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    if not installed.DESCRIPTORS.is_dir():
        pytest.skip("only Linux reaches a socket through a descriptor")
    long = Kept(kept.state / ("x" * 120))
    monkeypatch.setenv("XDG_STATE_HOME", str(long.state))
    first, second = store(), store()
    assert [await number(first), await number(second)] == [0, 1]
    await first.close()
    assert long.lives
    await second.close()
    assert not long.lives


async def test_namespaces_of_one_server_stay_apart(kept: Kept) -> None:
    users = [store("one"), store("other")]
    assert [await number(user) for user in users] == [0, 0]
    assert kept.starts == 1
    for user in users:
        await user.close()


async def test_stale_files_of_a_dead_server_do_no_harm(kept: Kept) -> None:
    """A socket that nobody listens on, a pid that is another's."""
    user = store()
    await number(user)
    await user.close()
    (kept.folder / "redis.sock").write_text("")
    (kept.folder / "redis.pid").write_text(f"{os.getpid()}\n")
    user = store()
    assert await number(user) == 1
    await user.close()


async def test_who_only_looks_leaves_no_server(kept: Kept) -> None:
    """And one who never looked starts none."""
    await store().close()
    assert not (kept.folder / "server.lock").exists()
    user = store()
    await user.inspect(())
    assert kept.lives
    await user.close()
    assert not kept.lives


async def test_a_log_that_has_grown_begins_anew(kept: Kept) -> None:
    user = store()
    await user.inspect(())
    await user.close()
    log = kept.folder / "redis.log"
    log.write_bytes(b"x" * (embedded.LOG_MOST + 1))
    await user.close()
    user = store()
    await user.inspect(())
    assert 0 < log.stat().st_size < embedded.LOG_MOST
    await user.close()


# --- histories --------------------------------------------------------------------------------------

STEPS = st.lists(st.sampled_from(["come", "come", "grant", "grant", "leave", "die", "kill the server"]), max_size=14)


@pytest.fixture
def base(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder for the state folders of many histories; short, for the socket's sake."""
    if binary() is None:
        pytest.skip("no redis-server process")
    with tempfile.TemporaryDirectory() as folder:
        monkeypatch.setenv("XDG_STATE_HOME", folder)
        yield Path(folder)


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS, chosen=st.randoms(use_true_random=False))
def test_any_history_has_one_server_as_long_as_it_is_used(steps: list[str], chosen: Random, base: Path) -> None:
    """No grant is lost or given twice, whoever comes, leaves and dies; the last that leaves ends the server."""
    asyncio.run(_live(steps, chosen, Kept(base)))
    shutil.rmtree(base / "sidecar", ignore_errors=True)


async def _live(steps: list[str], chosen: Random, kept: Kept) -> None:
    users: list[Store] = []
    grants = 0
    async with AsyncExitStack() as stack:
        for step in [*steps, "come", "grant"]:
            if step == "come":
                users.append(store())
                stack.push_async_callback(users[-1].close)
                await users[-1].inspect(())
            elif step == "kill the server" and kept.lives:
                kept.kill()
            elif users:
                user = chosen.choice(users)
                grants += await _act(user, step, grants)
                users = [other for other in users if step == "grant" or other is not user]
                assert users or step == "die" or not kept.lives
    assert not kept.lives


async def _act(user: Store, step: str, grants: int) -> int:
    """How many grants it took."""
    if step == "grant":
        assert await number(user) == grants
        return 1
    if step == "die":
        _die(user)
    await user.close()
    return 0


def _die(user: Store) -> None:
    """What the kernel does for a process that is killed: its locks go and nothing else happens."""
    server = user.home.leave.__self__  # type: ignore[attr-defined]
    os.close(server._entered)
    server._entered = None
