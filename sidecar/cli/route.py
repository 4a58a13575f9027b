"""`sidecar route`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click
import orjson

from sidecar.cli import given
from sidecar.model.configured import SECOND_US, Config, Target
from sidecar.model.rotations import may_serve
from sidecar.ops import shown
from sidecar.proxy import route
from sidecar.proxy.errors import Refused
from sidecar.proxy.route import CALLED_IN, Candidate, Choice, bare, choose


@click.command("route")
@given.config_option
@click.argument("model")
@click.option(
    "--dialect",
    type=click.Choice(CALLED_IN),
    default="openai",
    show_default=True,
    help="Whose SDK asks.",
)
@click.option("--json", "as_json", is_flag=True, help="As JSON, in one line.")
def command(config_file: Path | None, model: str, dialect: str, as_json: bool) -> None:
    """Say where a call for MODEL would go, by what, and which targets it would pass over and why.

    Targets are tried in order, every key of one before the next, and told with what they change. Nothing is sent, and
    no store is asked. Exit 0: it would be served; 1: it would be answered 404.

    \b
        sidecar route gpt-4
        sidecar route claude-opus-4 --dialect anthropic
    """
    config = given.load(config_file)
    try:
        choice = choose(config, dialect, bare(config, dialect, None, model))
    except Refused as refused:
        given.fail(refused.message)
    if as_json:
        click.echo(orjson.dumps(_as_json(config, choice)))
    else:
        for line in _told(config, choice, model):
            click.echo(line)
    if not choice.targets:
        given.fail(f"No target serves it in the {dialect} dialect: a call would be answered 404.")


def _keys(config: Config, one: Candidate) -> int:
    return sum(may_serve(key, one.target.model or "") for key in config.pools[one.target.pool].keys)


def _told(config: Config, choice: Choice, model: str) -> Iterator[str]:
    callers = ", ".join(route.callers(config, choice.route.targets))
    yield f"{model}: {choice.by}, for {callers} callers"
    shares = dict(zip(choice.targets, route.shares(choice.targets), strict=True))
    for number, one in enumerate(choice.candidates, 1):
        yield f"  {'-' if one.why_not else number}  {_where(config, one)}"
        if not one.why_not:
            yield from (f"       {line}" for line in _changes(one.target, shares[one.target]))
    yield from (f"  {line}" for line in _answers(choice, model))


def _where(config: Config, one: Candidate) -> str:
    where = f"{one.target.pool}/{one.target.model}"
    if one.why_not:
        return f"{where}  left out: {one.why_not}"
    pool, count = config.pools[one.target.pool], _keys(config, one)
    keys = f"{count} key{'s' if count > 1 else ''}, {pool.strategy}, waits at most {pool.max_wait_us / SECOND_US:g} s"
    return f"{where}  {pool.provider.name} at {pool.provider.base_url}, {keys}"


def _changes(target: Target, share: float) -> Iterator[str]:
    """What is said of it beyond where it is: its share, and what it changes of a request."""
    if target.group:
        yield f"group {target.group}: first for {share:.0%} of the requests that come to it (weight {target.weight})"
    said = shown.target(target)
    for field in ("set", "default", "max"):
        if field in said:
            yield f"{field} {', '.join(f'{name} {_json(value)}' for name, value in said[field].items())}"
    for field in ("remove", "headers"):
        if field in said:
            yield f"{field} {', '.join(said[field])}"


def _json(value: object) -> str:
    return orjson.dumps(value).decode()


def _answers(choice: Choice, model: str) -> Iterator[str]:
    """What decides between the targets, and what becomes of an answer."""
    if len(choice.targets) > 1:
        named = ", ".join(sorted(choice.route.fallback_on))
        at_once = f", and at once after {named}" if named else ""
        yield f"the next has its turn when no key of those before it has room or works{at_once}"
    if choice.route.mask_model:
        yield f"answers call their model {model}"
    if choice.route.retry_empty:
        yield "an answer without content is asked for again"
    if choice.route.cache is not None:
        yield f"answers are kept: {_json(shown.cached(choice.route.cache))}"


def _as_json(config: Config, choice: Choice) -> dict[str, object]:
    shares = dict(zip(choice.targets, route.shares(choice.targets), strict=True))
    told = [
        shown.target(one.target)
        | {"keys": _keys(config, one), "share": shares.get(one.target), "left_out": one.why_not or None}
        for one in choice.candidates
    ]
    return {
        "by": choice.by,
        "callers": route.callers(config, choice.route.targets),
        "targets": told,
        "fallback_on": sorted(choice.route.fallback_on),
        "mask_model": choice.route.mask_model,
        "retry_empty": choice.route.retry_empty,
        "cache": shown.cached(choice.route.cache),
    }
