"""`sidecar keys add` takes the secret from a pipe or a hidden prompt, and says where the key went."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from click.testing import CliRunner

from sidecar.cli import main

from .conftest import SECRETS, Command, Written


def add(*arguments: str, stdin: str, code: int = 0) -> str:
    done = CliRunner().invoke(main, ["keys", "add", *arguments], input=stdin)
    assert done.exit_code == code, done.output
    assert not [secret for secret in SECRETS if secret in done.output]
    return done.output


def test_a_piped_key_is_added_and_run_would_use_it(tmp_path: Path, command: Command) -> None:
    assert add("openai", stdin=f"{SECRETS[0]}\n") == "pool openai has one more key: openai-1 (.env OPENAI_API_KEY)\n"
    assert add(stdin=SECRETS[1]) == "pool openai has one more key: openai-2 (.env OPENAI_API_KEY_1)\n"
    assert "key    openai-2 (.env OPENAI_API_KEY_1)" in command("check").output


def test_a_list_of_the_file_gets_an_entry(written: Written, command: Command) -> None:
    file = written()
    told = add("chat", "--id", "c", stdin="sk-111122223333aaaabbbb")
    assert told == "pool chat has one more key: c (sidecar.yaml, its secret in .env as CHAT_C_API_KEY)\n"
    assert '{"id": "c", "secret": "${CHAT_C_API_KEY}"}' in file.read_text()
    assert "3 keys of 3 accounts" in command("check").output


def test_an_env_file_that_is_open_to_everyone_is_closed_and_told(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text(f"OPENAI_API_KEY={SECRETS[0]}\n")
    file.chmod(0o644)
    assert add(stdin=SECRETS[1]).splitlines()[1:] == [".env: was open to everyone. Its mode is 0600 now."]
    assert file.stat().st_mode & 0o777 == 0o600


def test_a_duplicate_is_refused_by_id(written: Written, tmp_path: Path) -> None:
    written()
    told = add(stdin=SECRETS[1], code=1)
    assert told == 'pool "chat" has this key already: "b" (sidecar.yaml pools.chat.keys[1]).\n'
    assert not (tmp_path / ".env").exists()


@pytest.mark.parametrize("stdin", ["", "\n", "a b", "one\ntwo\n", "your_key_here"])
def test_what_is_no_key_changes_nothing(tmp_path: Path, stdin: str) -> None:
    add("openai", stdin=stdin, code=1)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "keys", [[{"id": "a", "secret": SECRETS[0]}], {"from_env": "CHAT_KEY"}], ids=["list", "variables"]
)
def test_a_config_elsewhere_gets_no_secret_that_it_would_not_find(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: Written, keys: object
) -> None:
    """Whoever starts beside it reads another .env than the current folder's."""
    file = written({"keys": keys})
    (tmp_path / "home").mkdir()
    monkeypatch.chdir(tmp_path / "home")
    monkeypatch.setenv("CHAT_KEY", SECRETS[0])
    before = file.read_text()
    told = add("chat", "--config", "../sidecar.yaml", stdin=SECRETS[1], code=1)
    assert f"Run this in {tmp_path}, or list the key there with a `secret_file`. No key was added." in told
    assert (file.read_text(), list(Path().iterdir())) == (before, [])


def test_a_folder_of_keys_is_added_to_from_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: Written
) -> None:
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / "a").write_text(SECRETS[0])
    file = written({"keys": {"from_dir": "keys"}})
    (tmp_path / "home").mkdir()
    monkeypatch.chdir(tmp_path / "home")
    add("chat", "--id", "b", "--config", str(file), stdin=SECRETS[1])
    assert (tmp_path / "keys" / "b").read_text() == f"{SECRETS[1]}\n"


def test_who_edits_the_same_config_from_another_folder_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: Written
) -> None:
    """It is the config's folder that is locked, wherever the command was called."""
    file = written({"keys": {"from_dir": "keys"}})
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / "a").write_text(SECRETS[0])
    locked: list[Path] = []

    @contextmanager
    def alone(folder: Path) -> Iterator[None]:
        locked.append(folder.resolve())
        yield

    monkeypatch.setattr(sys.modules["sidecar.cli.keys.add"], "alone", alone)  # the package calls the command so
    (tmp_path / "home").mkdir()
    monkeypatch.chdir(tmp_path / "home")
    add("chat", "--config", str(file), stdin=SECRETS[1])
    assert locked == [tmp_path]


def test_a_config_in_a_folder_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    told = add("chat", "--config", "gone/sidecar.yaml", stdin=SECRETS[1], code=1)
    assert told == f"{tmp_path / 'gone'}: No such file or directory. No key was added.\n"


def test_an_argument_is_no_place_for_a_key(tmp_path: Path) -> None:
    """It is taken for a pool, and not repeated."""
    assert "(hidden) is no provider." in add(SECRETS[0], stdin="sk-other1Q9", code=1)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("arguments", [("openai", SECRETS[0]), ("openai", SECRETS[0], "--id", "a", SECRETS[1])])
def test_a_key_behind_the_pool_is_refused_and_not_repeated(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    told = add(*arguments, stdin="sk-other1Q9", code=2)
    assert told.endswith("The only argument is POOL. A key is none: pipe it in, or type it at the prompt.\n")
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def terminal() -> Iterator[tuple[int, int]]:
    """Both ends of a pseudo-terminal."""
    ends = pty.openpty()
    yield ends
    for end in ends:
        with suppress(OSError):
            os.close(end)


def test_a_terminal_is_asked_without_an_echo(tmp_path: Path, terminal: tuple[int, int]) -> None:
    """The prompt comes, what is typed does not come back, and no process list ever had it."""
    ours, theirs = terminal
    process = subprocess.Popen(
        [sys.executable, "-m", "sidecar", "keys", "add", "openai"],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        cwd=tmp_path,
        start_new_session=True,
    )
    os.close(theirs)  # else its end would never be seen
    seen = _until(ours, b"Key: ")
    os.write(ours, f"{SECRETS[0]}\n".encode())
    seen += _until(ours, b"OPENAI_API_KEY)")
    assert process.wait(30) == 0
    assert SECRETS[0].encode() not in seen
    assert (tmp_path / ".env").read_text() == f"OPENAI_API_KEY={SECRETS[0]}\n"


def _until(end: int, text: bytes) -> bytes:
    seen = b""
    while text not in seen:
        seen += os.read(end, 1024)
    return seen


def test_two_at_once_are_both_kept(tmp_path: Path) -> None:
    """Of real processes that read and write the same file, none writes over what another added."""
    environ = dict(os.environ)
    running = []
    for number in range(4):
        process = subprocess.Popen(
            [sys.executable, "-m", "sidecar", "keys", "add", "openai"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            cwd=tmp_path,
            env=environ,
        )
        assert process.stdin is not None
        process.stdin.write(f"sk-0a1b2c3d4e5f{number}\n".encode())
        process.stdin.close()
        running.append(process)
    assert [process.wait(60) for process in running] == [0, 0, 0, 0]
    lines = (tmp_path / ".env").read_text().splitlines()
    assert sorted(line.partition("=")[0] for line in lines) == ["OPENAI_API_KEY"] + [
        f"OPENAI_API_KEY_{number}" for number in (1, 2, 3)
    ]
    assert len({line.partition("=")[2] for line in lines}) == 4
