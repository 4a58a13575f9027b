"""What several commands are given, and how they end where it cannot be used: one message, exit 1."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import click

from sidecar import config
from sidecar.config.watch import Source
from sidecar.model.configured import Config
from sidecar.ops.redact import redactor
from sidecar.store.commands import Store

F = TypeVar("F", bound=Callable[..., Any])


def config_option(function: F) -> F:
    """`--config FILE`, as the argument `config_file`."""
    return click.option(
        "--config",
        "config_file",
        type=click.Path(path_type=Path, dir_okay=False),
        metavar="FILE",
        help="The config; else $SIDECAR_CONFIG, ./sidecar.yaml, or keys found in the environment and .env.",
    )(function)


def load(config_file: Path | None) -> Config:
    """The config of this call."""
    return source(config_file, {})[1]


def source(config_file: Path | None, settings: Mapping[str, str | None]) -> tuple[Source, Config]:
    """The config with the command line's own settings (`--listen` -> text) before all others, and where it is from."""
    given = {option: text for option, text in settings.items() if text is not None}
    names = {option: f"SIDECAR_{option.removeprefix('--').replace('-', '_').upper()}" for option in given}
    environ = dict(os.environ) | {names[option]: text for option, text in given.items()}
    found = Source(config_file, environ, Path.cwd())
    try:
        return found, found.load()
    except config.ConfigError as error:
        text = str(error)
        for option, name in names.items():
            text = text.replace(f"env {name}", option)
        fail(text)


def store(config: Config) -> Store:
    """The config's store, not yet reached."""
    try:
        return Store.at(config.redis, config.namespace, emit=lambda _: None)
    except ValueError as error:
        fail(f"redis: {error}")


def store_fault(config: Config, wrong: str) -> str:
    """What follows the name of a store that is away or unable, and the way out: an embedded one nobody has to start."""
    way_out = "Or set" if config.redis == "embedded" else "Start it, or set"
    return f"cannot be used: {redactor(config)(wrong).rstrip('.')}. {way_out} `redis`."


def closed(file: str) -> str:
    """What is told of a file of secrets that `replacing.replace` closed."""
    return f"{file}: was open to everyone. Its mode is 0600 now."


def fail(text: str) -> NoReturn:
    """Ends the command with a message that says what to do."""
    click.echo(text, err=True)
    raise SystemExit(1)
