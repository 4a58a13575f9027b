"""`sidecar usage`."""

from __future__ import annotations

from pathlib import Path

import click
import orjson

from sidecar.cli import given, reach, show
from sidecar.ops.usage import BadQuestion, as_csv, summed_by
from sidecar.store.upkeep import USAGE_DAYS


@click.command("usage")
@given.config_option
@click.option(
    "--days",
    type=click.IntRange(0, USAGE_DAYS),
    default=1,
    show_default=True,
    metavar="N",
    help="The last N days (UTC), today included; 0: since counting began.",
)
@click.option(
    "--by",
    default="key",
    show_default=True,
    metavar="NAMES",
    help="What to sum by: day, pool, key, client, model, or several of them with commas.",
)
@click.option("--csv", "style", flag_value="csv", help="As CSV, with a header.")
@click.option("--json", "style", flag_value="json", help="As JSON, in one line.")
def command(config_file: Path | None, days: int, by: str, style: str | None) -> None:
    """Show what was sent, what came of it, and the tokens that it took, over all replicas.

    Attempts are sends to a provider: each succeeded or failed. Requests are those of clients that asked for a key, for
    the one that they held last, whatever the attempts; of these `unserved` got no provider's answer. Days are kept for
    400 days, sums for ever. What replicas count is here within a second or two. Where a sidecar of this config runs, it
    is asked (its `ops_listen`, with `admin_token`), else Redis directly.

    \b
        sidecar usage
        sidecar usage --days 30 --by day
        sidecar usage --days 0 --by client,model
        sidecar usage --days 400 --by day,key,client,model --csv > usage.csv
    """
    try:
        summed_by(by, days)
    except BadQuestion as bad:
        given.fail(f"--{bad}")
    found = reach.ask(config_file, lambda place: place.usage(days, by))
    if style == "csv":
        click.echo(as_csv(found), nl=False)
    elif style == "json":
        click.echo(orjson.dumps(found))
    else:
        out = show.console()
        out.print(show.usage(found, out.width))
