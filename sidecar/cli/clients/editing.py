"""The config file with a client changed: one command at a time, the virtual key on standard output and nowhere else."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import click

from sidecar.cli import given
from sidecar.config import ConfigError
from sidecar.config.client_edits import Edit, save
from sidecar.config.edit import Place
from sidecar.config.replacing import alone


def edited(config_file: Path | None, plan: Callable[[Place], Edit]) -> Edit:
    """What was planned, and is written now. Ends the command where it cannot be."""
    try:
        place = Place(config_file, dict(os.environ), Path.cwd())
        with alone(place.folder):
            edit = plan(place)
            save(edit)
    except ConfigError as error:
        given.fail(str(error))
    except OSError as error:
        given.fail(f"{error.filename}: {error.strerror}. Nothing was changed.")
    return edit


def tell(edit: Edit, *lines: str) -> None:
    """What was done on standard error, and the virtual key alone on standard output: `KEY=$(sidecar clients ...)`."""
    for line in (*lines, "Running sidecars of this file read it by themselves."):
        click.echo(line, err=True)
    if edit.token is not None:
        click.echo("The virtual key, which is shown this once:", err=True)
        click.echo(edit.token.reveal())
