"""`failures.jsonl` tells what providers said, without secrets, within its size, and never at a request's expense."""

from __future__ import annotations

import json
import logging
import os
import queue
import stat
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from sidecar.model.configured import Secret
from sidecar.ops import failures
from sidecar.ops.failures import Failures
from sidecar.ops.redact import redactor
from tests.unit.ops.worlds import CONFIG, FIRST, SECOND, TOKEN, answered, attempted

REDACT = redactor(CONFIG)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "state" / "sidecar" / "failures.jsonl"


@pytest.fixture
def listener(file: Path) -> Iterator[Failures]:
    made = Failures(str(file), REDACT)
    yield made
    made.close()


def failed(told: bytes = b"no", **fields: Any) -> Any:
    return attempted(**{"outcome": "rate_limit_minute", "status": 429, "told": told} | fields)


def records(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_a_failure_is_a_line_and_a_success_is_none(listener: Failures, file: Path) -> None:
    listener(attempted())
    listener(attempted(outcome="cancelled", status=None))
    listener(answered(outcome="timeout"))
    listener(failed(b'{"error": "slow \xc3\xa4 \xff down"}', client="web"))
    listener.close()
    (record,) = records(file)
    assert record.pop("time").endswith("Z")
    assert record == {
        "request_id": "r1",
        "pool": "chat",
        "key": "chat-1",
        "client": "web",
        "model": "small",
        "status": 429,
        "class": "rate_limit_minute",
        "body": '{"error": "slow ä \ufffd down"}',
    }


def test_a_new_config_may_move_it_switch_it_off_and_know_more_secrets(listener: Failures, file: Path) -> None:
    moved = file.with_name("moved.jsonl")
    listener.follow("", REDACT)
    listener(failed(request_id="lost"))
    listener.follow(str(moved), redactor(CONFIG, replace(CONFIG, admin_token=Secret("another-admins-own"))))
    listener(failed(b"of another-admins-own"))
    listener.close()
    assert file.read_text() == ""
    assert [(record["request_id"], record["body"]) for record in records(moved)] == [("r1", "of admin_token")]


def test_nobody_else_may_read_it(listener: Failures, file: Path) -> None:
    listener(failed())
    listener.close()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700


def test_every_secret_is_its_id_however_it_is_written(listener: Failures, file: Path) -> None:
    """Those of other keys and of clients too, in a model's name, in UTF-16, and across the cut."""
    escaped = SECOND.replace("+", r"\u002b").replace("/", r"\/")
    forms = (FIRST, SECOND, quote(SECOND, safe=""), escaped, TOKEN, "the-admins-own", "pass@word-5150")
    for form in forms:
        listener(failed(f"key {form}.".encode(), model=form))
        listener(failed(f"key {form}.".encode("utf-16")))
    for before in range(failures.BODY - len(SECOND), failures.BODY + 1):
        listener(failed(b"x" * before + SECOND.encode() + b"y" * 9000))
    listener.close()
    told = file.read_text()
    assert not [form for form in (*forms, FIRST[:12], "and+m", TOKEN[:8]) if form in told]
    assert "key chat-1." in told
    cut = [record["body"] for record in records(file)[2 * len(forms) :]]
    assert [body.rstrip("y").lstrip("x") for body in cut] == ["chat-2"] * len(SECOND) + [""]
    assert max(map(len, cut)) <= failures.BODY + len("chat-2")


def test_only_the_first_part_of_a_body_is_kept(listener: Failures, file: Path) -> None:
    listener(failed(b"x" * 60_000))
    listener.close()
    assert records(file)[0]["body"] == "x" * 2048


def test_files_rotate_by_size_and_the_oldest_goes(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(failures, "MOST_BYTES", 1000)
    listener = Failures(str(file), REDACT)
    for number in range(40):
        listener(failed(b"x" * 300, request_id=f"r{number}"))
    listener.close()
    files = [file, *(file.with_name(f"failures.jsonl.{at}") for at in range(1, 5))]
    assert sorted(file.parent.iterdir()) == sorted(files)
    assert all(one.stat().st_size <= 1000 for one in files)
    kept = [record["request_id"] for one in reversed(files) for record in records(one)]
    assert kept == [f"r{number}" for number in range(40 - len(kept), 40)]
    assert len(kept) >= 5


def test_a_second_sidecar_appends_to_the_same_file(listener: Failures, file: Path) -> None:
    other = Failures(str(file), REDACT)
    listener(failed(request_id="one"))
    listener.close()
    other(failed(request_id="two"))
    other.close()
    assert [record["request_id"] for record in records(file)] == ["one", "two"]


def test_a_file_that_cannot_be_made_is_one_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("")
    listener = Failures(str(tmp_path / "file" / "failures.jsonl"), REDACT)
    for _ in range(3):
        listener(failed())
    listener.close()
    (warning,) = caplog.records
    assert warning.levelno == logging.WARNING
    assert warning.getMessage().startswith(f"failures are not written to {tmp_path}/file/failures.jsonl: ")


def test_a_full_disk_is_one_warning_and_leaves_lines_whole(
    listener: Failures, file: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A line is written in part, then none; once there is room again the next line begins anew."""
    room = [10, 0, 10**6, 10**6]
    write = os.write

    def short(to: int, data: bytes) -> int:
        most = room.pop(0)
        if not most:
            raise OSError(28, "No space left on device")
        return write(to, data[:most])

    with monkeypatch.context() as patch:
        patch.setattr(failures.os, "write", short)  # type: ignore[attr-defined]
        for number in range(4):
            listener(failed(request_id=f"r{number}"))
        listener.close()
    torn, *lines = file.read_text().splitlines()
    assert len(torn) == 10
    assert [json.loads(line)["request_id"] for line in lines] == ["r2", "r3"]
    assert [record.getMessage().rpartition(": ")[2] for record in caplog.records] == ["No space left on device"]


def test_a_disk_that_hangs_holds_up_nobody_and_what_is_left_out_is_told(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(failures, "MOST_QUEUED", 2)
    listener = Failures(str(file), REDACT)
    hanging, free = threading.Event(), threading.Event()
    append = listener._append

    def hang(file: Path, line: bytes) -> None:
        hanging.set()
        assert free.wait(60)
        append(file, line)

    monkeypatch.setattr(listener, "_append", hang)
    listener(failed(request_id="r0"))
    assert hanging.wait(60)
    for number in range(1, 6):
        listener(failed(request_id=f"r{number}"))
    with pytest.raises(queue.Full):
        listener._queue.put_nowait(None)
    free.set()
    listener.close()
    assert [(record["request_id"], record.get("left_out_before")) for record in records(file)] == [
        ("r0", None),
        ("r1", 3),
        ("r2", None),
    ]
