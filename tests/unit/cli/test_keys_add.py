"""`sidecar keys add` takes the secret from a pipe or a hidden prompt, and says where the key went."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
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


def test_an_argument_is_no_place_for_a_key(tmp_path: Path) -> None:
    """It is taken for a pool, and not repeated."""
    assert "(hidden) is no provider." in add(SECRETS[0], stdin="sk-other1Q9", code=1)
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
