"""`sidecar keys add`."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from sidecar.cli import given
from sidecar.config import ConfigError
from sidecar.config.edit import Addition, Asked, Place, plan, save, usable
from sidecar.config.replacing import alone
from sidecar.model.configured import Secret

_MOST = 64 * 1024  # characters of standard input: more is no key


# Extra arguments are taken, and refused here: click would name them, and they may be the key.
@click.command("add", context_settings={"allow_extra_args": True})
@click.argument("pool", default="")
@click.option("--id", "key_id", default="", metavar="ID", help="What to call it, where the pool's keys have names.")
@given.config_option
@click.pass_context
def add(ctx: click.Context, pool: str, key_id: str, config_file: Path | None) -> None:
    """Add a key to POOL, where its other keys come from. Without POOL: to the only one.

    \b
        sidecar keys add chat                   asks for the key, and does not show it
        pass show openai | sidecar keys add spare --id team-c

    Keys of variables: the next number, in .env. Keys that the config lists: an entry there, and the secret in .env.
    Keys of a folder: a file. Where there is no key yet, POOL is a provider. An .env is the current folder's, so that a
    config elsewhere is refused then. The secret is never an argument: others would see it in the list of processes.
    Exit 1: nothing was changed, and why.
    """
    if ctx.args:
        raise click.UsageError("The only argument is POOL. A key is none: pipe it in, or type it at the prompt.")
    try:
        secret = _secret()
        place = Place(config_file, dict(os.environ), Path.cwd())
        with alone(place.folder):
            addition = plan(Asked(secret, pool, key_id), place)
            closed = save(addition)
    except ConfigError as error:
        given.fail(str(error))
    except OSError as error:
        given.fail(f"{error.filename}: {error.strerror}. No key was added.")
    _tell(addition, closed=closed)


def _secret() -> Secret:
    """From a pipe or a file as it comes, from a terminal by a hidden prompt."""
    if sys.stdin.isatty():
        return usable(click.prompt("Key", hide_input=True, err=True, default="", show_default=False))
    try:
        return usable(sys.stdin.read(_MOST))
    except UnicodeDecodeError:
        raise ConfigError(["what was given is not UTF-8, so it is no key."]) from None


def _tell(addition: Addition, *, closed: bool) -> None:
    click.echo(f"pool {addition.pool} has one more key: {addition.id} ({addition.where})")
    if addition.also:
        click.echo(f"It is one account with {', '.join(addition.also)}, which has the same secret.")
    if closed:
        click.echo(given.closed(addition.private.name))
