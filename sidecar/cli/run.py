"""`sidecar run`."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path

import click

from sidecar.cli import given
from sidecar.ops.log import Format, Level, Log, take_over
from sidecar.ops.redact import Redact, redactor
from sidecar.serve import GRACE_S, CannotStart, run, serve


@click.command("run")
@given.config_option
@click.option("--listen", metavar="ADDR", help="Where applications call; default 127.0.0.1:4000.")
@click.option("--ops-listen", metavar="ADDR", help="Metrics and health; default 127.0.0.1:9464.")
@click.option(
    "--redis", metavar="URL", help="The store that all replicas share: a URL, `embedded` (default), `memory`."
)
@click.option("--log", "style", type=click.Choice(["text", "json", "auto"]), default="auto", show_default=True)
@click.option(
    "--log-level",
    "level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    default="info",
    show_default=True,
    help="`warning` leaves out the line of each request.",
)
@click.option(
    "--grace",
    "grace_s",
    type=click.FloatRange(0, 3600),
    default=GRACE_S,
    show_default=True,
    metavar="SECONDS",
    help="How long requests may go on after SIGTERM or Ctrl-C; a second one ends at once.",
)
def command(
    config_file: Path | None,
    listen: str | None,
    ops_listen: str | None,
    redis: str | None,
    style: str,
    level: Level,
    grace_s: float,
) -> None:
    """Forward requests to LLM providers with a key of the pool that has room.

    \b
        OPENAI_API_KEY=... sidecar run
        sidecar run --config sidecar.yaml --redis redis://127.0.0.1:6379/0
        sidecar run --listen 0.0.0.0:4000 --log json        beyond loopback `clients` are wanted

    Then point an SDK's base URL at http://localhost:4000/v1 (OpenAI), or http://localhost:4000 (Anthropic, Gemini).
    Logs go to standard error: text on a terminal, else JSON. Exit 0: ended by a signal; 1: cannot run, and why.

    A changed config, .env or file of keys is read within two seconds, on SIGHUP or `sidecar reload` at once. Requests
    under way end as they began; a config that cannot be used changes nothing.
    """
    source, config = given.source(config_file, {"--listen": listen, "--ops-listen": ops_listen, "--redis": redis})
    log = _log(style, level, redactor(config))
    take_over(log)
    try:
        run(serve(config, log, grace_s, source))
    except CannotStart as error:
        log.line("error", str(error))
        raise SystemExit(1) from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    except Exception:
        logging.getLogger("sidecar").exception("sidecar cannot go on")
        raise SystemExit(1) from None


def _log(style: str, level: Level, redact: Redact) -> Log:
    terminal = sys.stderr.isatty()
    chosen: Format = "text" if style == "text" or (style == "auto" and terminal) else "json"
    return Log(sys.stderr, chosen, level, redact, colour=terminal and not os.environ.get("NO_COLOR"))
