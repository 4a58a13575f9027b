"""Binds both planes, hands events to their listeners, and ends in order: this file alone knows signals."""

from __future__ import annotations

import asyncio
import errno
import gc
import signal
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, TypeVar

from aiohttp import web

import sidecar
from sidecar.config.watch import Source
from sidecar.model.configured import Address, Config
from sidecar.model.events import Emit, Event
from sidecar.ops import app as ops
from sidecar.ops.failures import Failures
from sidecar.ops.log import Log
from sidecar.ops.metrics import Metrics
from sidecar.ops.redact import redactor
from sidecar.ops.stream import Stream
from sidecar.proxy import app as proxy
from sidecar.proxy.certificates import Certificates
from sidecar.proxy.origin.connections import Connections
from sidecar.proxy.passing import LAST_WORD_S
from sidecar.proxy.reviving import reviving
from sidecar.proxy.upstream import Upstream
from sidecar.replica import Follow, Replica
from sidecar.store.commands import Store
from sidecar.store.home import Home

GRACE_S = 30.0
COLLECT = 10_000, 20, 20  # objects before the collector looks: a request leaves few cycles, and looking took 5 % of it
MET_TURNS = 8  # of the loop, from a connection in the kernel's hands to the beginning of its request
LAST_BYTES_S = 1.0  # for a connection whose request is over to write its last bytes

T = TypeVar("T")


class CannotStart(Exception):
    """A setting cannot be used here; the text says which one to change."""


@dataclass(frozen=True, slots=True)
class Signals:
    """SIGTERM and SIGINT: the first asks to end, the second to end at once. SIGHUP: to read the config anew."""

    end: asyncio.Event = field(default_factory=asyncio.Event)
    at_once: asyncio.Event = field(default_factory=asyncio.Event)
    reread: asyncio.Event = field(default_factory=asyncio.Event)

    def received(self) -> None:
        (self.at_once if self.end.is_set() else self.end).set()

    @contextmanager
    def caught(self) -> Iterator[None]:
        """Catches them as long as it lasts. Where the loop cannot (Windows), Ctrl-C cancels the main task instead."""
        loop = asyncio.get_running_loop()
        handlers = {signal.SIGTERM: self.received, signal.SIGINT: self.received}
        with suppress(NotImplementedError, AttributeError):
            handlers[signal.SIGHUP] = self.reread.set
        with suppress(NotImplementedError):
            for name, handler in handlers.items():
                loop.add_signal_handler(name, handler)
        try:
            yield
        finally:
            with suppress(NotImplementedError):
                for name in handlers:
                    loop.remove_signal_handler(name)


def run(main: Coroutine[Any, Any, T]) -> T:
    """Runs to its end, on uvloop where that is installed: a third less CPU a request."""
    try:
        from uvloop import new_event_loop  # noqa: PLC0415 - not on every platform
    except ImportError:
        return asyncio.run(main)
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        return runner.run(main)


async def serve(config: Config, log: Log, grace_s: float = GRACE_S, source: Source | None = None) -> None:
    """Serves until SIGTERM or SIGINT, then lets requests under way end within the grace.

    `source`: where the config came from, to follow its changes. Raises CannotStart. A store that cannot be reached
    stops nothing: readiness and the log say so until it is back.
    """
    metrics = Metrics(config)
    stream = Stream(log.redact)
    failures = Failures(config.failures, redactor(config))
    emit = _all(log, metrics, stream, failures)
    upstream, certificates = Upstream(), _certificates(config)
    try:
        store = Store.at(config.redis, config.namespace, emit)
    except ValueError as error:
        raise CannotStart(f"redis: {error}") from None
    follow = _follower(log, metrics, stream, failures, upstream.connections, certificates)
    try:
        replica = Replica(config, store, emit, source, follow)
    except ValueError as error:
        raise CannotStart(f"cache.redis: {error}") from None
    signals = Signals()
    with signals.caught():
        # Left from the last to the first: health can be asked until the last report is sent.
        async with AsyncExitStack() as stack:
            stack.callback(failures.close)
            pages = ops.pages(replica, metrics)
            operations = await stack.enter_async_context(
                _listening(ops.server(replica, pages, stream), config.ops_listen, "ops_listen")
            )
            stack.push_async_callback(replica.close)
            data = await stack.enter_async_context(_forwarding(replica, pages, upstream, certificates))
            announce(config, store.home, log)
            await replica.start()
            # What was imported and read stays for good: the collector need not look at it again.
            gc.collect()
            gc.freeze()
            gc.set_threshold(*COLLECT)
            log.line("info", "listening", listen=_bound(data), ops_listen=_bound(operations))
            rereading = asyncio.create_task(_reread(replica, signals.reread))
            await signals.end.wait()
            rereading.cancel()
            stream.end()
            await _drain(replica, data, signals.at_once, grace_s, log)
    log.line("info", "ended")


def _all(*listeners: Emit) -> Emit:
    def emit(event: Event) -> None:
        for listener in listeners:
            listener(event)

    return emit


def _follower(
    log: Log,
    metrics: Metrics,
    stream: Stream,
    failures: Failures,
    connections: Connections,
    certificates: Certificates | None,
) -> Follow:
    """What was made of the config and outlives it. Secrets of requests under way are still hidden."""

    def follow(config: Config, former: Sequence[Config]) -> None:
        redact = log.redact = stream.redact = redactor(config, *former)
        failures.follow(config.failures, redact)
        metrics.follow(config)
        connections.keep((config, *former))
        if certificates is not None and config.tls is not None:
            try:
                certificates.follow(config.tls)
            except OSError as error:  # replaced since the config was checked: the next look finds it
                log.line("warning", "the former certificate stays", reason=error.strerror or type(error).__name__)

    return follow


async def _reread(replica: Replica, asked: asyncio.Event) -> None:
    while True:
        await asked.wait()
        asked.clear()
        await replica.reload("signal")


def announce(config: Config, home: Home, log: Log) -> None:
    """What this replica was told: the first lines of its log."""
    log.line("info", "starting", version=sidecar.__version__, namespace=config.namespace, failures=config.failures)
    for pool in config.pools.values():
        ids = ", ".join(key.id for key in pool.keys)
        log.line("info", f"pool {pool.name}", provider=pool.provider.name, count=len(pool.keys), keys=ids)
    for warning in config.warnings:
        log.line("warning", warning)
    if not home.private and home.told:
        log.line("info", "budgets are kept for all sidecars of this user", store=home.told)
    if home.warning:
        log.line("warning", home.warning)


# --- the planes -------------------------------------------------------------------------------------


@asynccontextmanager
async def _forwarding(
    replica: Replica, pages: Mapping[str, ops.Page], upstream: Upstream, certificates: Certificates | None
) -> AsyncIterator[web.ServerRunner]:
    context = certificates.listening if certificates else None
    try:
        server = proxy.server(replica, pages, upstream)
        listening = _listening(server, replica.state.config.listen, "listen", context)
        async with listening as data, reviving(replica, upstream):
            yield data
    finally:
        await upstream.close()


@asynccontextmanager
async def _listening(
    server: web.Server, address: Address, setting: str, context: ssl.SSLContext | None = None
) -> AsyncIterator[web.ServerRunner]:
    runner = web.ServerRunner(server, shutdown_timeout=LAST_BYTES_S)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, address.host, address.port, backlog=1024, ssl_context=context).start()
        except OSError as error:
            raise CannotStart(_unbound(error, address, setting)) from None
        yield runner
    finally:
        await runner.cleanup()


def _certificates(config: Config) -> Certificates | None:
    try:
        return Certificates(config.tls) if config.tls else None
    except OSError as error:
        raise CannotStart(f"tls: the certificate or its key cannot be used: {error.strerror or error}") from None


def _unbound(error: OSError, address: Address, setting: str) -> str:
    match error.errno:
        case errno.EADDRINUSE:
            return f"{address} is in use: set `{setting}`, or stop what holds it."
        case errno.EACCES:
            return f"{address} may not be bound by this user: set `{setting}` to a port above 1023."
        case errno.EADDRNOTAVAIL:
            return f"{address} is no address of this machine: set `{setting}`."
    return f"{address} cannot be bound ({error.strerror or error}): set `{setting}`."


def _bound(runner: web.ServerRunner) -> str:
    """Where a plane listens, with the port that the system chose."""
    return ", ".join(str(Address(*bound[:2])) for bound in runner.addresses)


# --- the end ----------------------------------------------------------------------------------------


async def _drain(replica: Replica, data: web.ServerRunner, at_once: asyncio.Event, grace_s: float, log: Log) -> None:
    """Takes no new request and waits until those under way have ended, the grace is over or a second signal comes.

    Who is still there then is told, and has LAST_WORD_S to hear it.
    """
    replica.draining = True
    server = data.server
    assert isinstance(server, proxy.Server)
    await _meet(server)
    for site in data.sites:
        await site.stop()
    await _meet(server)
    log.line("info", "draining", requests=replica.inflight, grace_s=grace_s)
    server.pre_shutdown()
    await _first((replica.idle.wait, at_once.wait), grace_s)
    if replica.inflight:
        log.line("warning", "requests are cut off", requests=replica.inflight)
        server.stop()
        await _first((replica.idle.wait,), LAST_WORD_S)
    await server.shutdown(0.05 if replica.inflight else LAST_BYTES_S)


async def _meet(server: web.Server) -> None:
    """Returns once who has connected is accepted and read: the process may have had no time for them yet.

    The loop accepts one connection a turn.
    """
    quiet = known = 0
    until = monotonic() + LAST_BYTES_S
    while quiet < MET_TURNS and monotonic() < until:
        await asyncio.sleep(0)
        count = len(server.connections)
        quiet, known = quiet + 1 if count == known else 0, count


async def _first(waits: Sequence[Callable[[], Coroutine[Any, Any, object]]], most_s: float) -> None:
    tasks = [asyncio.ensure_future(wait()) for wait in waits]
    await asyncio.wait(tasks, timeout=most_s, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()
