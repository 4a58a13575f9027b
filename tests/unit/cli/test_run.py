"""`sidecar run` logs as its reader can read, and ends with a line whatever ends it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sidecar.config.watch import Source
from sidecar.model.configured import Config
from sidecar.ops.log import Log
from sidecar.serve import CannotStart
from tests.unit.cli.conftest import SECRETS, Command, Written


def ends_with(monkeypatch: pytest.MonkeyPatch, error: BaseException | None) -> list[tuple[Any, ...]]:
    """Serving says one line and ends so; what it was given is kept."""
    given: list[tuple[Any, ...]] = []

    async def serve(config: Config, log: Log, grace_s: float, source: Source) -> None:
        given.append((config, grace_s))
        assert source.load() == config
        log.line("info", f"met {SECRETS[0]}")
        if error:
            raise error

    monkeypatch.setattr("sidecar.cli.run.serve", serve)
    return given


def test_options_go_before_the_file(command: Command, written: Written, monkeypatch: pytest.MonkeyPatch) -> None:
    written(listen="127.0.0.1:1", redis="memory")
    given = ends_with(monkeypatch, None)
    url = "redis://127.0.0.1:6390/2"
    done = command("run", "--listen", "127.0.0.1:4001", "--ops-listen", "[::1]:9", "--redis", url, "--grace", "2.5")
    assert done.exit_code == 0
    ((config, grace_s),) = given
    assert [str(config.listen), str(config.ops_listen), config.redis, grace_s] == [
        "127.0.0.1:4001",
        "[::1]:9",
        url,
        2.5,
    ]


@pytest.mark.parametrize(("style", "json_lines"), [("json", True), ("text", False), ("auto", True)])
def test_lines_are_json_where_no_terminal_reads_them(
    style: str, json_lines: bool, command: Command, written: Written, monkeypatch: pytest.MonkeyPatch
) -> None:
    written()
    ends_with(monkeypatch, None)
    done = command("run", "--log", style)
    (line,) = done.output.splitlines()
    assert line.startswith("{") is json_lines
    assert "met a" in line


def test_what_nobody_foresaw_is_one_line_without_secrets(
    command: Command, written: Written, monkeypatch: pytest.MonkeyPatch
) -> None:
    written()
    ends_with(monkeypatch, RuntimeError(f"lost {SECRETS[1]}"))
    done = command("run")
    assert done.exit_code == 1
    last = json.loads(done.output.splitlines()[-1])
    assert (last["level"], last["msg"]) == ("error", "sidecar cannot go on")
    assert "RuntimeError: lost b" in last["traceback"]
    assert not [secret for secret in SECRETS if secret in done.output]


def test_an_address_that_cannot_be_bound_is_one_line(
    command: Command, written: Written, monkeypatch: pytest.MonkeyPatch
) -> None:
    written()
    ends_with(monkeypatch, CannotStart("127.0.0.1:1 is in use"))
    done = command("run", "--log-level", "error")
    assert done.exit_code == 1
    (line,) = done.output.splitlines()
    assert json.loads(line)["msg"] == "127.0.0.1:1 is in use"


def test_ctrl_c_where_signals_cannot_be_caught_ends_with_130(
    command: Command, written: Written, monkeypatch: pytest.MonkeyPatch
) -> None:
    written()
    monkeypatch.setattr("sidecar.cli.run.run", lambda main: main.close() or (_ for _ in ()).throw(KeyboardInterrupt))
    assert command("run").exit_code == 130
