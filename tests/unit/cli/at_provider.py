"""Commands beside a strict provider that knows their keys."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from typing import Any

from click.testing import Result

from tests.unit.cli.conftest import SECRETS, Command


def openai(url: str, secrets: Sequence[str] = SECRETS, **fields: Any) -> dict[str, Any]:
    """A pool of keys `a`, `b`, ... at an OpenAI-like provider, one request a minute each."""
    keys = [{"id": f"{chr(97 + at)}" if at < 26 else f"k{at}", "secret": secret} for at, secret in enumerate(secrets)]
    one = [{"requests": 1, "per": "minute"}]
    return {"provider": None, "base_url": f"{url}/v1", "dialect": "openai", "keys": keys, "limits": one} | fields


async def checked(command: Command, *options: str) -> Result:
    """The command beside the provider, which lives in this loop."""
    return await asyncio.to_thread(command, "check", "--live", *options)


def told(done: Result) -> list[str]:
    """What it says of each key, without how long a good one took."""
    lines = [line for line in done.output.splitlines() if line.startswith("live ")]
    return [re.sub(r"\(\d+\.\d\d s\)", "(. s)", line.removeprefix("live").strip()) for line in lines]
