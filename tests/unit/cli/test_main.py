"""The list of commands is there without them, and a mistake is told with what to do."""

from __future__ import annotations

import subprocess
import sys

import pytest

import sidecar
from sidecar.cli import COMMANDS
from tests.unit.cli.conftest import Command, Written
from tests.unit.running import environ


def test_help_names_every_command_and_imports_none() -> None:
    look = (
        "import sys\nfrom click.testing import CliRunner\nfrom sidecar.cli import main\n"
        "print(CliRunner().invoke(main, ['--help']).output)\n"
        "print([name for name in sys.modules if name.startswith(('sidecar.', 'rich', 'aiohttp'))])"
    )
    done = subprocess.run((sys.executable, "-c", look), env=environ(), capture_output=True, text=True, check=True)
    for name, text in COMMANDS.items():
        assert f"{name} " in done.stdout
        assert text in done.stdout
    assert done.stdout.endswith("['sidecar.cli']\n")


def test_python_m_sidecar_is_sidecar() -> None:
    done = subprocess.run(
        (sys.executable, "-m", "sidecar", "--version"), env=environ(), capture_output=True, text=True, check=True
    )
    assert done.stdout == f"sidecar, version {sidecar.__version__}\n"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_shows_how_it_is_called(name: str, command: Command) -> None:
    done = command(name, "--help")
    assert done.exit_code == 0
    assert f"    sidecar {name}" in done.output


@pytest.mark.parametrize("arguments", [["chekc"], ["run", "--log", "xml"], ["demo", "--keys", "0"], ["status", "x"]])
def test_a_command_called_wrongly_ends_with_2(arguments: list[str], command: Command) -> None:
    done = command(*arguments)
    assert done.exit_code == 2
    assert "Traceback" not in done.output


@pytest.mark.parametrize("name", ["run", "check", "status"])
def test_a_config_that_cannot_be_used_ends_with_1_and_says_why(name: str, command: Command) -> None:
    done = command(name, "--config", "missing.yaml")
    assert done.exit_code == 1
    assert done.output.startswith("missing.yaml: cannot be read")


def test_an_option_s_mistake_is_told_by_its_own_name(command: Command) -> None:
    done = command("run", "--listen", "nowhere")
    assert done.exit_code == 1
    assert '--listen: "nowhere" is no address.' in done.output
    assert "SIDECAR_LISTEN" not in done.output


@pytest.mark.parametrize("name", ["run", "check", "status"])
def test_a_redis_url_that_its_library_refuses_is_one_line(name: str, command: Command, written: Written) -> None:
    written(redis="redis://127.0.0.1:1/0?foo=1")
    done = command(name)
    assert done.exit_code == 1
    (line,) = (line for line in done.output.splitlines() if "no Redis URL" in line)
    assert "redis: is no Redis URL." in line
