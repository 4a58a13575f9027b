"""Whatever happens as one line: text for people, JSON for collectors, never a secret, a body or a header."""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Literal, TextIO

import orjson
from aiohttp.http_exceptions import HttpProcessingError

from sidecar.config.proposals import advice, told
from sidecar.model.classes import Class
from sidecar.model.events import (
    CANCELLED,
    Answered,
    Attempted,
    Drifted,
    Event,
    KeptChanged,
    KeyChanged,
    KeyManaged,
    Reloaded,
    StoreAtRisk,
    StoreChanged,
)
from sidecar.ops.redact import Redact

Level = Literal["debug", "info", "warning", "error"]
Format = Literal["text", "json"]
Value = str | int | float | bool | None
DRIFT_S = 60.0  # between two lines of one key's drifts

_NUMBERS: dict[Level, int] = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}
_COLOURS: dict[Level, str] = {"debug": "\x1b[2m", "info": "\x1b[32m", "warning": "\x1b[33m", "error": "\x1b[1;31m"}
_PLAIN = "\x1b[0m"
_KEPT = {
    ("answers", True): "the cache keeps answers again",
    ("answers", False): "the cache keeps no answers",
    ("ids", True): "which account made what is remembered again",
    ("ids", False): "which account made what is not remembered any more",
}
OURS = frozenset({"request_id", "outcome", "pool", "key", "client"})  # ids of ours, which no secret can be in


class Log:
    """Writes lines to one stream: at most one write each, nothing below `level`."""

    def __init__(
        self,
        stream: TextIO,
        style: Format = "text",
        level: Level = "info",
        redact: Redact = str,
        colour: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stream, self._colour, self._clock = stream, colour, clock
        self.redact = redact  # of the config that runs
        self._drifts: dict[tuple[str, str], float] = {}  # when a key's last one was told
        self._render: Callable[[Level, str, Mapping[str, Value]], str] = self._json if style == "json" else self._text
        self.threshold = _NUMBERS[level]

    def line(self, level: Level, msg: str, **fields: Value) -> None:
        """One line. Fields that are None or empty are left out; every text loses its secrets."""
        if _NUMBERS[level] < self.threshold:
            return
        said = {
            name: self.redact(value) if isinstance(value, str) and name not in OURS else value
            for name, value in fields.items()
            if value is not None and value != ""
        }
        # A reader that went away, or a full disk, must not fail the request that is told of.
        with suppress(OSError, ValueError):
            self._stream.write(self._render(level, self.redact(msg), said))
            self._stream.flush()

    def __call__(self, event: Event) -> None:
        """Listens: an event as its line."""
        match event:
            case Answered():
                self._answered(event)
            case Attempted():
                self._attempted(event)
            case KeyChanged():
                self._key_changed(event)
            case Drifted():
                self._drifted(event)
            case StoreChanged():
                self._store_changed(event)
            case KeptChanged(what, works, reason):
                self.line("info" if works else "warning", _KEPT[what, works], reason=reason)
            case StoreAtRisk(reason):
                self.line("warning" if reason else "info", reason or "Redis does not evict budgets any more")
            case KeyManaged():
                self.line("info", f"key {event.change}", pool=event.pool, key=event.key, by=event.by)
            case Reloaded():
                self._reloaded(event)

    def _answered(self, event: Answered) -> None:
        level: Level = "warning" if event.status >= 500 else "info"
        if _NUMBERS[level] < self.threshold:
            return
        self.line(
            level,
            "request",
            request_id=event.request_id,
            method=event.method,
            path=event.path.partition("?")[0],
            status=event.status,
            outcome=event.outcome,
            pool=event.pool,
            key=event.key,
            model=event.model,
            client=event.client,
            cache=event.cache,
            attempts=event.attempts,
            total_ms=_ms(event.total_s),
            wait_ms=_ms(event.waited_s),
            acquire_ms=_ms(event.acquire_s),
            first_byte_ms=_ms(event.first_byte_s),
        )

    def _attempted(self, event: Attempted) -> None:
        if event.outcome in {Class.OK, CANCELLED}:
            return
        self.line(
            "warning",
            "attempt",
            request_id=event.request_id,
            outcome=event.outcome,
            status=event.status,
            pool=event.pool,
            key=event.key,
            model=event.model,
            first_byte_ms=_ms(event.first_byte_s),
            # What a provider answers may quote the request: it is for the failures that are asked for alone.
            reason=event.told.decode("utf-8", "replace") if event.status is None else None,
        )

    def _key_changed(self, event: KeyChanged) -> None:
        dead = event.seconds == math.inf
        what = "key" if event.key else "pool"
        rests = f"{what} rests until a try with it works" if dead else f"{what} rests"
        self.line(
            "warning" if event.seconds else "info",
            rests if event.seconds else f"{what} is available again",
            request_id=event.request_id,
            pool=event.pool,
            key=event.key or None,
            model=event.model,
            reason=event.reason,
            seconds=round(event.seconds, 3) if event.seconds and not dead else None,
            suspicion=None if event.proved or not event.seconds else True,
        )

    def _drifted(self, event: Drifted) -> None:
        """Once per key and DRIFT_S: where the config is wrong, every key of a pool drifts, and again and again."""
        now, of = self._clock(), (event.pool, event.key)
        if now - self._drifts.get(of, -math.inf) < DRIFT_S:
            return
        self._drifts[of] = now
        self.line(
            "warning",
            "the provider refused although the budget had room",
            request_id=event.request_id,
            pool=event.pool,
            key=event.key,
            model=event.model,
            outcome=event.outcome,
            ours="; ".join(told(limit) for limit in event.limits),
            named=told(event.named) if event.named else None,
            drifts=event.count,
            configure=advice(event),
        )

    def _store_changed(self, event: StoreChanged) -> None:
        if event.emptied:
            self.line("error", "store was emptied: all budgets start from zero", reason=event.reason)
        elif event.up:
            self.line("info", "store is back")
        else:
            self.line("error", "store is away", reason=event.reason)

    def _reloaded(self, event: Reloaded) -> None:
        """A line for each thing that changed, or that must be mended."""
        if event.problems:
            self.line("error", "config rejected: what ran before runs on", cause=event.cause, by=event.by)
        else:
            self.line("info", "config reloaded", cause=event.cause, by=event.by, changes=len(event.changes))
        for problem in event.problems:
            self.line("error", " ".join(problem.split()))
        for change in event.changes:
            self.line("info", change)
        for warning in event.warnings:
            self.line("warning", warning)
        for name in event.needs_restart:
            self.line("warning", f"{name} was changed: that needs a restart, until then it stays as it was")

    # --- how a line looks ---------------------------------------------------------------------------

    def _json(self, level: Level, msg: str, fields: Mapping[str, Value]) -> str:
        record = {"time": now(), "level": level, "msg": msg, **fields}
        try:
            return orjson.dumps(record).decode() + "\n"
        except orjson.JSONEncodeError:  # a lone surrogate: bytes of a path that are no UTF-8
            return json.dumps(record) + "\n"

    def _text(self, level: Level, msg: str, fields: Mapping[str, Value]) -> str:
        shown = f"{level.upper():<7}"
        if self._colour:
            shown = f"{_COLOURS[level]}{shown}{_PLAIN}"
        told = "".join(f" {name}={_word(value)}" for name, value in fields.items() if name != "traceback")
        trace = "".join(f"    {_printable(line)}\n" for line in str(fields.get("traceback", "")).splitlines())
        return f"{now()} {shown} {_printable(msg)}{told}\n{trace}"


def now() -> str:
    return stamp(datetime.now(UTC))


def stamp(at: datetime) -> str:
    """`2026-11-21T08:48:59.520Z` of a moment in UTC."""
    return at.isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 1)


def _word(value: Value) -> str:
    """A value that ends where it seems to end: one with spaces, quotes or control characters is quoted."""
    if not isinstance(value, str):
        return str(value).lower() if isinstance(value, bool) else str(value)
    if value.isprintable() and not set(value) & {" ", '"', "="}:
        return value
    return json.dumps(value).replace("\x7f", "\\u007f")


def _printable(text: str) -> str:
    """Without what could forge a line or drive a terminal."""
    return text if text.isprintable() else json.dumps(text).replace("\x7f", "\\u007f")[1:-1]


# --- what libraries say -----------------------------------------------------------------------------


class Foreign(logging.Handler):
    """Records of the standard `logging`, aiohttp's, asyncio's and redis's among them, as lines of a Log."""

    def __init__(self, log: Log) -> None:
        super().__init__()
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        level: Level = "info"
        if record.levelno >= logging.ERROR:
            level = "error"
        elif record.levelno >= logging.WARNING:
            level = "warning"
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, HttpProcessingError):
            # Its text quotes the header or the line that could not be read.
            self._log.line("warning", "malformed request", error=type(error).__name__, logger=record.name)
            return
        trace = _FORMATTER.formatException(record.exc_info) if record.exc_info and error else None
        self._log.line(level, _message(record), logger=record.name, traceback=trace)


_FORMATTER = logging.Formatter()


def _message(record: logging.LogRecord) -> str:
    try:
        return " ".join(record.getMessage().splitlines())
    except (TypeError, ValueError):
        return str(record.msg)


def take_over(log: Log) -> None:
    """Makes the standard `logging` and Python's warnings go through `log`.

    Nothing below `info` is taken from libraries: their debug lines quote headers. aiohttp's access log is off.
    """
    logging.raiseExceptions = False
    logging.captureWarnings(True)
    logging.basicConfig(handlers=[Foreign(log)], level=max(log.threshold, logging.INFO), force=True)
    logging.getLogger("aiohttp.access").disabled = True
