"""What a config is read from is read again when it changed, and only once it lies still."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sidecar.config import ConfigError
from sidecar.config.watch import Source
from sidecar.model.configured import Config

A, B, C = (f"sk-{letter}0a1b2c3d4e5f60718293" for letter in "abc")
POOL = {"provider": "openai", "keys": [{"id": "a", "secret": A}]}


def write(file: Path, pool: dict[str, Any] | None = None, **fields: Any) -> None:
    file.write_text(json.dumps({"pools": {"chat": pool or POOL}} | fields))


def secrets(config: Config) -> list[str]:
    return [key.secret.reveal() for pool in config.pools.values() for key in pool.keys]


def noticed(source: Source) -> bool:
    """Whether looks that follow one another find a change in the end."""
    return [source.changed() for _ in range(3)][-1]


def from_file(folder: Path) -> Path:
    write(folder / "sidecar.yaml")
    return folder / "sidecar.yaml"


def from_dotenv(folder: Path) -> Path:
    write(folder / "sidecar.yaml", {"provider": "openai", "keys": {"from_env": "SPARE"}})
    (folder / ".env").write_text(f"SPARE={A}\n")
    return folder / ".env"


def from_secret_file(folder: Path) -> Path:
    write(folder / "sidecar.yaml", {"provider": "openai", "keys": [{"id": "a", "secret_file": "s/key"}]})
    (folder / "s").mkdir()
    (folder / "s" / "key").write_text(A)
    return folder / "s" / "key"


def from_folder(folder: Path) -> Path:
    write(folder / "sidecar.yaml", {"provider": "openai", "keys": {"from_dir": "keys"}})
    (folder / "keys").mkdir()
    (folder / "keys" / "a").write_text(A)
    return folder / "keys" / "a"


MADE: list[Callable[[Path], Path]] = [from_file, from_dotenv, from_secret_file, from_folder]


@pytest.mark.parametrize("made", MADE, ids=lambda made: made.__name__)
@pytest.mark.parametrize("way", ["written", "replaced", "same size and time"])
def test_whatever_was_read_is_noticed_when_it_changes(made: Callable[[Path], Path], way: str, tmp_path: Path) -> None:
    file = made(tmp_path)
    source = Source(None, {}, tmp_path)
    assert secrets(source.load()) == [A]
    assert not noticed(source)
    text, before = file.read_text().replace(A, B), file.stat()
    if way == "replaced":
        (tmp_path / "new").write_text(text)
        (tmp_path / "new").replace(file)
    else:
        file.write_text(text)
    if way == "same size and time":
        os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert noticed(source)
    assert secrets(source.load()) == [B]
    assert not noticed(source)


def test_a_file_that_is_still_being_written_is_left_alone(tmp_path: Path) -> None:
    """Each look finds another state of it; only the second that finds the same says so."""
    file = from_file(tmp_path)
    source = Source(None, {}, tmp_path)
    source.load()
    source.changed()
    for length in (10, 20, 30):
        file.write_text("#" * length)
        assert not source.changed()
    write(file, {"provider": "openai", "keys": [{"id": "a", "secret": B}]})
    assert not source.changed()
    assert source.changed()


def test_keys_that_come_and_go_in_a_folder_are_noticed(tmp_path: Path) -> None:
    from_folder(tmp_path)
    source = Source(None, {}, tmp_path)
    source.load()
    (tmp_path / "keys" / "b").write_text(B)
    assert noticed(source)
    assert secrets(source.load()) == [A, B]
    (tmp_path / "keys" / "a").unlink()
    assert noticed(source)
    assert secrets(source.load()) == [B]


def test_kubernetes_swap_of_a_link_above_the_files_is_noticed(tmp_path: Path) -> None:
    """`a -> ..data/a`, `..data -> ..2026_1`: only `..data` is replaced, by one that points to another folder."""
    folder = tmp_path / "keys"
    for number, secret in enumerate((A, B)):
        (folder / f"..{number}").mkdir(parents=True)
        (folder / f"..{number}" / "a").write_text(secret)
        os.utime(folder / f"..{number}" / "a", ns=(0, 0))
    (folder / "..data").symlink_to("..0")
    (folder / "a").symlink_to("..data/a")
    write(tmp_path / "sidecar.yaml", {"provider": "openai", "keys": {"from_dir": "keys"}})
    source = Source(None, {}, tmp_path)
    assert secrets(source.load()) == [A]
    assert not noticed(source)
    (folder / "..new").symlink_to("..1")
    (folder / "..new").replace(folder / "..data")
    assert noticed(source)
    assert secrets(source.load()) == [B]


def test_what_was_missing_is_noticed_when_it_comes(tmp_path: Path) -> None:
    """A rejected config names a file that is not there yet."""
    file = from_file(tmp_path)
    source = Source(None, {}, tmp_path)
    source.load()
    write(file, {"provider": "openai", "keys": [{"id": "a", "secret_file": "late"}]})
    assert noticed(source)
    with pytest.raises(ConfigError, match="late"):
        source.load()
    assert not noticed(source)
    (tmp_path / "late").write_text(C)
    assert noticed(source)
    assert secrets(source.load()) == [C]


def test_a_rejected_config_is_not_read_again_until_it_changes(tmp_path: Path) -> None:
    """Also where a file of keys changed that the rejected config did not come to."""
    key = from_secret_file(tmp_path)
    source = Source(None, {}, tmp_path)
    source.load()
    key.write_text(B)
    (tmp_path / "sidecar.yaml").write_text("pools: {")
    with pytest.raises(ConfigError):
        source.load()
    assert not noticed(source)


def test_a_dotenv_and_a_file_that_come_later_are_noticed(tmp_path: Path) -> None:
    source = Source(None, {"OPENAI_API_KEY": A}, tmp_path)
    assert secrets(source.load()) == [A]
    (tmp_path / ".env").write_text(f"OPENAI_API_KEY_1={B}\n")
    assert noticed(source)
    assert secrets(source.load()) == [A, B]
    from_file(tmp_path)
    assert noticed(source)
    assert list(source.load().pools) == ["chat"]


def test_a_file_once_used_that_goes_is_an_error_and_no_config_of_the_environment(tmp_path: Path) -> None:
    file = from_file(tmp_path)
    source = Source(None, {"OPENAI_API_KEY": C}, tmp_path)
    source.load()
    file.unlink()
    assert noticed(source)
    with pytest.raises(ConfigError, match=r"sidecar\.yaml: cannot be read"):
        source.load()


# --- what is damaged takes no key away -----------------------------------------------------------------


DAMAGED: dict[str, tuple[bytes | None, str]] = {
    "Latin-1": (b"K_1=%s\n# caf\xe9\n", r"\.env: line 2 is not UTF-8"),
    "quote": (b"K_1=%s\nK_2='never closed\n", r"\.env: line 2 is no NAME=value"),
    "cut off": (b"K_1=%s\nK_2", r"\.env K_2 is empty, and a running key .* to remove the key, remove the variable\."),
    "placeholder": (b"K_1=%s\nK_2=your_key_here\n", r"\.env K_2 is a placeholder, no key, and a running key "),
    "empty": (b"", r"\.env: is empty, and running keys .* To remove them, remove the file\."),
    "folder": (None, r"\.env: cannot be read"),
}


@pytest.mark.parametrize(("content", "told"), DAMAGED.values(), ids=DAMAGED)
@pytest.mark.parametrize("base", ["K", "OPENAI_API_KEY"])
def test_a_damaged_dotenv_takes_no_key_away(content: bytes | None, told: str, base: str, tmp_path: Path) -> None:
    """Although the pool still has one that the environment holds; also where there is no file but `.env`."""
    if base == "K":
        write(tmp_path / "sidecar.yaml", {"provider": "openai", "keys": {"from_env": "K"}})
    file = tmp_path / ".env"
    file.write_text(f"{base}_1={A}\n{base}_2={B}\n")
    source = Source(None, {base: C}, tmp_path)
    running = source.load()
    file.unlink()
    if content is None:
        file.mkdir()
    else:
        file.write_bytes(content.replace(b"K_", b"%s_" % base.encode()).replace(b"%s", A.encode()))
    with pytest.raises(ConfigError, match=told.replace("K_2", f"{base}_2")):
        source.reload(running)


@pytest.mark.parametrize("content", ["", " \n", "your_key_here"])
@pytest.mark.parametrize("made", [from_secret_file, from_folder])
def test_a_file_of_a_secret_that_is_emptied_takes_no_key_away(
    made: Callable[[Path], Path], content: str, tmp_path: Path
) -> None:
    """The pool has another key, so that it could go on."""
    file = made(tmp_path)
    pool = json.loads((tmp_path / "sidecar.yaml").read_text())["pools"]["chat"]
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "b").write_text(B)
    write(tmp_path / "sidecar.yaml", pool | {"from_dir": "more"})
    source = Source(None, {}, tmp_path)
    running = source.load()
    file.write_text(content)
    with pytest.raises(ConfigError, match=r"and a running key had its secret there\. Give it one; to remove the key, "):
        source.reload(running)
    file.write_text(C)
    assert secrets(source.reload(running)[0]) == [C, B]


def test_a_secret_that_its_variable_no_longer_holds_takes_no_key_away(tmp_path: Path) -> None:
    keys = [{"id": "a", "secret": "${SPARE}"}, {"id": "b", "secret": B}]
    write(tmp_path / "sidecar.yaml", {"provider": "openai", "keys": keys})
    (tmp_path / ".env").write_text(f"SPARE={A}\n")
    source = Source(None, {}, tmp_path)
    running = source.load()
    (tmp_path / ".env").write_text("SPARE=\n")
    with pytest.raises(ConfigError, match=r"keys\[0\]\.secret: the secret is empty, .* remove the entry\."):
        source.reload(running)


def test_keys_that_are_removed_go(tmp_path: Path) -> None:
    """A line of `.env`, all of it, a file of a folder, an entry. An empty one that never ran is left out as ever."""
    keys = [{"id": "a", "secret_file": "a"}, {"id": "b", "secret": B}]
    for name in ("a", "keys/b", "keys/c"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(f"{A}-{name[-1]}")
    pools: dict[str, dict[str, Any]] = {
        "listed": {"provider": "openai", "keys": keys},
        "folder": {"provider": "openai", "keys": {"from_dir": "keys"}},
        "env": {"provider": "openai", "keys": {"from_env": "SPARE"}},
    }
    (tmp_path / "sidecar.yaml").write_text(json.dumps({"pools": pools}))
    (tmp_path / ".env").write_text(f"SPARE_1={A}\nSPARE_2={B}\nSPARE_3=\n")
    source = Source(None, {"SPARE": C}, tmp_path)
    running = source.load()
    (tmp_path / ".env").write_text(f"SPARE_1={A}\nSPARE_3=\n")
    (tmp_path / "keys" / "b").unlink()
    (tmp_path / "keys" / "new").write_text("")
    (tmp_path / "a").write_text("")
    pools["listed"]["keys"] = keys[1:]
    (tmp_path / "sidecar.yaml").write_text(json.dumps({"pools": pools}))
    after, _ = source.reload(running)
    assert {name: len(pool.keys) for name, pool in after.pools.items()} == {"listed": 1, "folder": 1, "env": 2}
    (tmp_path / ".env").unlink()
    last, _ = source.reload(after)
    assert len(last.pools["env"].keys) == 1


# --- what only a restart changes --------------------------------------------------------------------


def test_what_is_fixed_stays_and_is_named_while_the_rest_is_taken(tmp_path: Path) -> None:
    file = from_file(tmp_path)
    source = Source(None, {}, tmp_path)
    running = source.load()
    fixed: dict[str, Any] = {"listen": "127.0.0.1:4999", "namespace": "other", "redis": "redis://10.0.0.9:6379/0"}
    write(file, **fixed, hosts=["new.example"])
    config, named = source.reload(running)
    assert set(named) == set(fixed)
    assert (config.listen, config.namespace, config.redis) == (running.listen, running.namespace, running.redis)
    assert config.hosts == ("new.example",)


def test_a_key_is_called_as_before_though_the_namespace_was_changed(tmp_path: Path) -> None:
    """Its fingerprint follows from the namespace: under another name its budget would begin anew."""
    file = from_file(tmp_path)
    source = Source(None, {}, tmp_path)
    running = source.load()
    write(file, namespace="other")
    config, _ = source.reload(running)
    assert config.pools["chat"].keys[0].fingerprint == running.pools["chat"].keys[0].fingerprint


def test_clients_stay_needed_while_the_process_listens_beyond_loopback(tmp_path: Path) -> None:
    """The file is right by itself: it moves `listen` to the loopback too. But the port stays open to others."""
    file = from_file(tmp_path)
    write(file, listen="0.0.0.0:4000", clients=[{"id": "web", "token": "token-of-web-0a1b2c3d"}])
    source = Source(None, {}, tmp_path)
    running = source.load()
    write(file)
    with pytest.raises(ConfigError, match=r"listen \(as it is until a restart\): 0\.0\.0\.0:4000 is open"):
        source.reload(running)
