"""A process that uses the embedded store and nothing else: `grant` on its input takes one, `leave` ends it in order."""

from __future__ import annotations

import asyncio
import sys

from tests.embedded import number, opened


async def main() -> None:
    store = opened()
    for line in map(str.strip, iter(sys.stdin.readline, "")):
        if line == "leave":
            break
        _say(str(await number(store)))
    await store.close()
    _say("left")


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main())
