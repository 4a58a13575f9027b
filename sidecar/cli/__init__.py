"""The command line. A command is imported when it is called: `run` never waits for what only `demo` draws."""

from __future__ import annotations

import keyword
import signal
import threading
from importlib import import_module

import click

import sidecar

# Each in a module of its own name (a `_` behind it where Python has the word), with its line in the list of commands.
COMMANDS = {
    "run": "Serve: forward requests with rotated keys.",
    "check": "Say what `run` would do, and whether the store answers.",
    "route": "Say where a call for a model would go, and why.",
    "keys": "List, add, disable, enable and reset keys.",
    "clients": "List who may call; make, renew and revoke virtual keys.",
    "reload": "Make the running sidecar read its config anew.",
    "status": "Show budgets, cooldowns and rotations as the store has them.",
    "import": "Make a config of another program's keys, or of a list of them.",
    "usage": "Show requests, failures, tokens by key, model, client, pool or day.",
    "demo": "See it work, against a simulated provider: no key needed.",
}


class Commands(click.Group):
    """A group that knows its commands' names and lines without importing them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        if cmd_name == "run":
            _outlive_hangups()
        module = cmd_name + "_" * keyword.iskeyword(cmd_name)
        command: click.Command = import_module(f"sidecar.cli.{module}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


def _outlive_hangups() -> None:
    """A SIGHUP before `serve` catches it asks for a config that is about to be read: it must not end the process, which
    imports for half a second. A handler, not SIG_IGN: what this process starts would inherit that."""
    if hasattr(signal, "SIGHUP") and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGHUP, lambda *_: None)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(sidecar.__version__, prog_name="sidecar")
def main() -> None:
    """Rotate LLM API keys exactly, over all replicas, and keep every key inside its budget.

    \b
        sidecar demo                  see it work; needs no key and no config
        OPENAI_API_KEY=... sidecar run
        sidecar check                 what would run, and what must be mended

    Then point an SDK's base URL at http://localhost:4000/v1.
    """
