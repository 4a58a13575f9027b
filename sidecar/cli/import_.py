"""`sidecar import`."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import click

from sidecar.cli import given
from sidecar.config import ConfigError, env_file, environment
from sidecar.config.importing import Imported, imported, rendered
from sidecar.config.load import opened
from sidecar.config.replacing import alone, replace

_MAX_BYTES = 8 * 1024 * 1024
_HEAD = "# Made by `sidecar import`. Try it with `sidecar check`.\n"


@click.command("import")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, allow_dash=True))
@click.option("--provider", metavar="NAME", help="Whose keys these are, where they stand alone.")
@click.option("--pool", metavar="NAME", help="What to call their pool; else it is called like the provider.")
@click.option(
    "--output", "-o", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="Else standard output."
)
@click.option("--force", is_flag=True, help="Write over an --output that is there already.")
@click.option(
    "--env-file",
    "kept",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Where keys of the input are kept; default .env beside --output, else in the current folder.",
)
def command(
    file: Path, provider: str | None, pool: str | None, output: Path | None, force: bool, kept: Path | None
) -> None:
    """Make a config of FILE (`-`: standard input): a key pool, a LiteLLM config.yaml, or keys, one a line.

    \b
        sidecar import keys.json -o sidecar.yaml
        sidecar import litellm/config.yaml > sidecar.yaml
        pass show openai-keys | sidecar import - --provider openai --pool chat

    The config never holds a key: one that stands in FILE is appended to .env (mode 0600; names that are there stay as
    they are), and the config reads it by its name. A value NAME_PLACEHOLDER or os.environ/NAME is the variable NAME.
    What has no counterpart is told on standard error and in a comment of the config. Exit 1: nothing was written, and
    why.
    """
    try:
        text = _text(file)
        beside = kept or (output.parent if output else Path()) / ".env"
        with alone(beside.parent):
            _import(text, provider, pool, output, force, beside)
    except ConfigError as error:
        given.fail(str(error))
    except OSError as error:
        given.fail(f"{error.filename2 or error.filename or file}: {error.strerror}. Nothing was written.")


def _import(text: str, provider: str | None, pool: str | None, output: Path | None, force: bool, beside: Path) -> None:
    if output and os.path.lexists(output) and not force:
        raise ConfigError([f"{output} is there already. Give another --output, or --force."])
    before = environment.text_of(beside)
    taken = {**environment.parsed(before, str(beside)), **os.environ}
    made = imported(text, taken, provider=provider, pool=pool)
    texts = {beside: env_file.appended(before, made.secrets)} if made.secrets else {}
    yaml = _HEAD + _comment(made.notes) + rendered(made.document)
    closed = replace(texts | ({output: yaml} if output else {}), beside)
    if not output:
        click.echo(yaml, nl=False)
    told = (given.closed(str(beside)),) if closed else ()
    for line in (*made.notes, *_kept(made, beside), *told, *_unready(made, yaml, taken, output)):
        click.echo(line, err=True)


def _text(file: Path) -> str:
    """What stands in the file, or comes on standard input."""
    if str(file) == "-":
        content = sys.stdin.buffer.read(_MAX_BYTES + 1)
    else:
        with file.open("rb") as opened:
            content = opened.read(_MAX_BYTES + 1)
    if len(content) > _MAX_BYTES:
        raise ConfigError([f"{file}: is larger than {_MAX_BYTES} bytes."])
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError([f"{file}: is not UTF-8, at byte {error.start}."]) from None


def _comment(notes: Sequence[str]) -> str:
    """The notes for whoever reads the config later."""
    lines = ["What the input said otherwise:", *(f"- {note}" for note in notes)] if notes else []
    return "".join(f"# {' '.join(line.split())}\n" for line in lines)


def _kept(made: Imported, beside: Path) -> list[str]:
    """Where the keys are that stood in the input."""
    if not made.secrets:
        return []
    names = list(made.secrets)
    told = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    lines = [f"{beside}: keeps the keys of the input, as {told}."]
    if beside.name != ".env" or beside.parent.resolve() != Path.cwd():
        lines.append("`sidecar run` reads the .env of the folder it starts in: start it there, or set these variables.")
    return lines


def _unready(made: Imported, yaml: str, taken: Mapping[str, str], output: Path | None) -> list[str]:
    """What `run` would refuse as it stands: mostly variables that are not set here."""
    name, cwd = output or Path("sidecar.yaml"), Path.cwd()
    environ = {**taken} | {name: secret.reveal() for name, secret in made.secrets.items()}
    try:
        opened(name, environ, cwd, {cwd / name: yaml})
    except ConfigError as error:
        return ["To mend before it runs:", *error.problems]
    return []
