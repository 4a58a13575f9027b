"""`sidecar route`."""

from __future__ import annotations

from pathlib import Path

import click
import orjson

from sidecar.cli import given
from sidecar.model.configured import SECOND_US, Config
from sidecar.model.rotations import may_serve
from sidecar.proxy.errors import Refused
from sidecar.proxy.route import Candidate, Choice, choose


@click.command("route")
@given.config_option
@click.argument("model")
@click.option(
    "--dialect",
    type=click.Choice(["openai", "anthropic", "gemini"]),
    default="openai",
    show_default=True,
    help="Whose SDK asks.",
)
@click.option("--json", "as_json", is_flag=True, help="As JSON, in one line.")
def command(config_file: Path | None, model: str, dialect: str, as_json: bool) -> None:
    """Say where a call for MODEL would go, by what, and which targets it would pass over and why.

    Targets are tried in order, every key of one before the next. Nothing is sent, and no store is asked. Exit 0: it
    would be served; 1: it would be answered 404.

    \b
        sidecar route gpt-4
        sidecar route claude-opus-4 --dialect anthropic
    """
    config = given.load(config_file)
    try:
        choice = choose(config, dialect, model)
    except Refused as refused:
        given.fail(refused.message)
    if as_json:
        click.echo(orjson.dumps(_as_json(config, choice)))
    else:
        click.echo(f"{model}: {choice.by}")
        for number, one in enumerate(choice.candidates, 1):
            click.echo(f"  {'-' if one.why_not else number}  {_told(config, one)}")
    if not choice.targets:
        given.fail(f"No target serves it in the {dialect} dialect: a call would be answered 404.")


def _keys(config: Config, one: Candidate) -> int:
    return sum(may_serve(key, one.target.model or "") for key in config.pools[one.target.pool].keys)


def _told(config: Config, one: Candidate) -> str:
    where = f"{one.target.pool}/{one.target.model}"
    if one.why_not:
        return f"{where}  left out: {one.why_not}"
    pool, count = config.pools[one.target.pool], _keys(config, one)
    keys = f"{count} key{'s' if count > 1 else ''}, {pool.strategy}, waits at most {pool.max_wait_us / SECOND_US:g} s"
    return f"{where}  {pool.provider.name} at {pool.provider.base_url}, {keys}"


def _as_json(config: Config, choice: Choice) -> dict[str, object]:
    told = [
        {
            "pool": one.target.pool,
            "model": one.target.model,
            "keys": _keys(config, one),
            "left_out": one.why_not or None,
        }
        for one in choice.candidates
    ]
    return {"by": choice.by, "targets": told}
