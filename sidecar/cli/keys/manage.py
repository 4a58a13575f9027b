"""`sidecar keys disable`, `enable` and `reset`."""

from __future__ import annotations

from pathlib import Path

import click

from sidecar.cli import given, reach
from sidecar.ops.keys import Deed


@click.command("disable")
@click.argument("key", metavar="ID")
@given.config_option
def disable(key: str, config_file: Path | None) -> None:
    """Grant a key no more, on any replica, until it is enabled again. Requests under way end as they began.

    It is known by its secret: the same secret in another pool is disabled too, a new secret under its id is not.

    \b
        sidecar keys disable chat-2
    """
    _do("disable", key, config_file)


@click.command("enable")
@click.argument("key", metavar="ID")
@given.config_option
def enable(key: str, config_file: Path | None) -> None:
    """Grant a disabled key again.

    \b
        sidecar keys enable chat-2
    """
    _do("enable", key, config_file)


@click.command("reset")
@click.argument("key", metavar="ID")
@click.option("--budgets", is_flag=True, help="Also forget what its account has spent.")
@given.config_option
def reset(key: str, budgets: bool, config_file: Path | None) -> None:
    """End every cooldown of a key and of its account, and forget its drift; with --budgets what the account has spent.

    The provider forgets nothing: it may refuse what a reset lets through, and then the key rests again.

    \b
        sidecar keys reset chat-2
        sidecar keys reset chat-2 --budgets
    """
    _do("reset", key, config_file, budgets)


def _do(deed: Deed, key: str, config_file: Path | None, budgets: bool = False) -> None:
    told, how = reach.do(config_file, deed, key, budgets)
    if told["changed"]:
        what = told["status"]
    else:
        what = "had nothing to reset" if deed == "reset" else f"was {told['status']} already"
    click.echo(f"{told['pool']}/{told['key']} {what} ({how})")
