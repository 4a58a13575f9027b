"""`failures.jsonl`: each attempt that failed, with what its provider said of it, written by a thread of its own.

A request never waits for the disk: what the queue has no room for is left out, and the next line says how many that
were. Each line is appended whole to a file that is opened anew, so several sidecars of one user may write into one.
"""

from __future__ import annotations

import errno
import logging
import os
import queue
import threading
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from sidecar.model.classes import Class
from sidecar.model.events import CANCELLED, Attempted, Event
from sidecar.ops.log import stamp
from sidecar.ops.redact import Redactor

log = logging.getLogger(__name__)

MOST_BYTES = 10 * 1024 * 1024  # of a file, before it becomes FILE.1
FILES = 5  # that are kept: FILE, FILE.1, ... FILE.4
BODY = 2048  # characters of a provider's body
MOST_QUEUED = 256  # failures that wait for the disk, of at most 64 KiB each
CLOSE_S = 2.0  # that the end of the process waits for the disk


class Failures:
    """Writes what failed into a file. Where that cannot be written, one warning says so, and the sidecar goes on."""

    def __init__(self, file: str, redact: Redactor) -> None:
        """`file` "": nothing is written."""
        self._name = ""
        self._queue: queue.Queue[tuple[datetime, Attempted] | None] = queue.Queue(MOST_QUEUED)
        self._left_out = 0
        self._ails = False  # the disk: told once, until it is well again
        self._torn = False  # the last line was not written to its end
        self._thread: threading.Thread | None = None  # from the first failure on
        self.follow(file, redact)

    def follow(self, file: str, redact: Redactor) -> None:
        """Where failures go from here on, and what is a secret. Tries the file, so that a wrong one is told at once."""
        changed = file != self._name
        self._name, self._redact = file, redact
        if changed:
            self._try(b"")

    def __call__(self, event: Event) -> None:
        """Listens."""
        if not self._name or not isinstance(event, Attempted) or event.outcome in {Class.OK, CANCELLED}:
            return
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="failures", daemon=True)
            self._thread.start()
        try:
            self._queue.put_nowait((datetime.now(UTC), event))
        except queue.Full:
            self._left_out += 1

    def close(self) -> None:
        """Writes what is queued, unless the disk hangs."""
        if self._thread is None:
            return
        with suppress(queue.Full):
            self._queue.put(None, timeout=CLOSE_S)
            self._thread.join(CLOSE_S)

    # --- in the thread ------------------------------------------------------------------------------

    def _run(self) -> None:
        while (failed := self._queue.get()) is not None:
            left_out, self._left_out = self._left_out, 0
            try:
                line = self._line(*failed, left_out)
            except Exception:  # of one failure: the others are told
                log.exception("a failure of pool %s cannot be written down", failed[1].pool)
            else:
                self._try(line)

    def _line(self, at: datetime, event: Attempted, left_out: int) -> bytes:
        # Without NULs, so that a secret in UTF-16 is found like any other.
        told = event.told.replace(b"\0", b"").decode(errors="replace")
        record: dict[str, Any] = {
            "time": stamp(at),
            "request_id": event.request_id,
            "pool": event.pool,
            "key": event.key,
            "client": event.client,
            "model": self._redact(event.model),
            "status": event.status,
            "class": event.outcome,
            "body": self._redact.head(told, BODY),
        }
        if left_out:
            record["left_out_before"] = left_out
        return orjson.dumps(record) + b"\n"

    def _try(self, line: bytes) -> None:
        if not self._name:
            return
        file = Path(self._name)
        try:
            self._append(file, line)
            self._ails = False
        except OSError as error:
            if not self._ails:
                log.warning("failures are not written to %s: %s", file, error.strerror or error)
            self._ails = True

    def _append(self, file: Path, line: bytes) -> None:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if len(line) > MOST_BYTES - _size(file):
            _rotate(file)
        whole = b"\n" + line if self._torn else line
        to = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            written = os.write(to, whole)
        finally:
            os.close(to)
        if written < len(whole):
            self._torn = self._torn or written > 0
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._torn = False


def _rotate(file: Path) -> None:
    """Each file becomes the next, and the last is lost. Another process may have been faster."""
    names = [file, *(file.with_name(f"{file.name}.{at}") for at in range(1, FILES))]
    for older, newer in zip(names[::-1], names[-2::-1], strict=False):
        with suppress(FileNotFoundError):
            newer.replace(older)


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except FileNotFoundError:
        return 0
