"""`sidecar demo`."""

from __future__ import annotations

import asyncio
import signal
import tempfile
from contextlib import AsyncExitStack, suppress
from pathlib import Path

import click

from sidecar.cli import given
from sidecar.cli.demo import screen, world
from sidecar.cli.demo.plan import Plan
from sidecar.cli.demo.traffic import Traffic

FRAMES_S = 0.25


@click.command("demo")
@click.option("--seconds", type=click.FloatRange(1, 86_400), default=20, show_default=True, help="How long to send.")
@click.option("--replicas", type=click.IntRange(1, 20), default=3, show_default=True, help="Sidecar processes.")
@click.option("--keys", type=click.IntRange(1, 100), default=5, show_default=True, help="Keys in the pool.")
@click.option("--rate", type=click.FloatRange(1, 500), default=25, show_default=True, help="Requests a second.")
def command(seconds: float, replicas: int, keys: int, rate: float) -> None:
    """See sidecars share a pool of keys, against a provider that counts for itself. No key and no Redis needed.

    Starts a strict simulated provider, real `sidecar run` processes on one store, and clients that call them in
    waves higher than the budgets. The provider also refuses and fails now and then. Ends with a verdict: exit 0,
    or 1 if a budget was exceeded or a client saw any of it.

    \b
        sidecar demo
        sidecar demo --seconds 60 --replicas 5 --keys 20 --rate 60
    """
    try:
        kept = asyncio.run(_demo(Plan(seconds, replicas, keys, rate)))
    except world.WorldError as error:
        given.fail(str(error))
    except (KeyboardInterrupt, asyncio.CancelledError):
        raise SystemExit(130) from None
    raise SystemExit(0 if kept else 1)


async def _demo(plan: Plan) -> bool:
    """Whether the promises were kept. All that it starts ends with it, also when it is cancelled."""
    task = asyncio.current_task()
    assert task is not None
    with suppress(NotImplementedError):
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sidecar-demo-")))
        provider = await stack.enter_async_context(plan.provider())
        store = await stack.enter_async_context(world.store(folder))
        file = folder / "sidecar.yaml"
        file.write_bytes(plan.config(provider.url, store.url))
        urls = await world.replicas(stack, file, plan.replicas)
        screen.introduce(plan, store.name)
        traffic = await stack.enter_async_context(Traffic(plan, provider, urls))
        with screen.shown() as show:
            async for elapsed_s in traffic.frames(FRAMES_S):
                show(traffic, elapsed_s)
        return screen.verdict(traffic)
