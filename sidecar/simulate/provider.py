"""The strict provider on a socket: it takes one credential, counts every arrival for itself and fails on demand.

    async with StrictProvider({"sk-a": "acme", "sk-b": "acme"}, [(10, 60)]) as provider:
        provider.faults.append(Fault(key="sk-a", status=503, times=1))
        ...  # provider.url + "/v1" for OpenAI's dialect, provider.url for Anthropic's and Gemini's
        assert provider.excess() == []

As its own process: `python -m sidecar.simulate.provider --keys '{"sk-a": "acme"}' --budgets '[[10, 60]]'` prints one
line of JSON with its url once it listens. There `POST /_control` and `GET /_report` do what orders.py says.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NoReturn, Self
from urllib.parse import parse_qsl

import orjson
from aiohttp import web

from sidecar.simulate import failures, orders, refusals
from sidecar.simulate.answers import Answer, answer
from sidecar.simulate.budgets import SECOND_NS, Arrival, Budget, Given
from sidecar.simulate.calls import Call, CallError
from sidecar.simulate.failures import Fault
from sidecar.simulate.kept import Kept
from sidecar.simulate.ledger import Ledger, Peak, Violation
from sidecar.simulate.tokens import WORDS, Cost, say

Keys = Mapping[str, str | None] | Iterable[str]

HEALTHY = Fault()
CREDENTIAL_HEADERS = ("authorization", "x-api-key", "x-goog-api-key")
KEPT_CALLS = 32
MAX_HEAD = 64 * 1024  # of the request line, and of one header


class StrictProvider:
    """A provider that serves every dialect, and what it saw.

    `keys` maps a secret to its account; a secret without one is an account of its own, named like the secret.
    `budgets` are `Budget`s, (max, window seconds), (max, window seconds, model pattern), or fields by name; all hold.
    `clock` tells nanoseconds since 1970; without one it is the machine's monotonic clock, whose wall time is that of
    the start. `offset_s` sets it forward, or back.
    With `keeps` it has files, batches, caches and stored answers, each for the account that made it; else what asks for
    them is echoed. Requests that come without exactly one known credential are refused and belong to no account. A
    plain path (`/echo/...`, and all that no dialect knows) also takes the secret from any header or query field, or
    none at all.
    """

    def __init__(
        self,
        keys: Keys,
        budgets: Iterable[Given] = (),
        *,
        words: Sequence[str] = WORDS,
        keeps: bool = False,
        host: str = "127.0.0.1",
        port: int = 0,
        clock: Callable[[], int] | None = None,
    ) -> None:
        given = keys if isinstance(keys, Mapping) else dict.fromkeys(keys)
        self.accounts = {secret: account or secret for secret, account in given.items()}
        self.faults: list[Fault] = []  # the first that concerns a request is what befalls it
        self.calls: deque[Call] = deque(maxlen=KEPT_CALLS)  # the latest, whole
        self.open = 0  # requests that came and have not ended
        self.url = ""
        self.offset_s = 0.0  # between its clock and the machine's
        self._epoch_ns = 0 if clock else time.time_ns() - time.monotonic_ns()
        self._ledger = Ledger(budgets, self._epoch_ns)
        self._words, self._address, self._clock = words, (host, port), clock or time.monotonic_ns
        self._kept = Kept() if keeps else None
        self._throttled_ns = -math.inf
        self._connections: list[tuple[Arrival, web.BaseRequest]] = []  # of what is open
        self._held = asyncio.Event()
        self._waiting: list[tuple[Callable[[], object], asyncio.Future[None]]] = []
        self._runner: web.ServerRunner | None = None

    # --- in process ---------------------------------------------------------------------------------

    @property
    def arrivals(self) -> list[Arrival]:
        """Every request since the start or `reset`, in the order that headers were read."""
        return self._ledger.arrivals

    @property
    def violations(self) -> list[Violation]:
        """Every budget that an arrival exceeded, as it was found when it came."""
        return self._ledger.violations

    def counts(self) -> dict[str, int]:
        """How many requests each known key brought, whatever they were answered; 0 for one that brought none."""
        counted = dict.fromkeys(self.accounts, 0)
        for arrival in self.arrivals:
            if arrival.account:
                counted[arrival.key] += 1
        return counted

    def worst(self, account: str) -> dict[Budget, int]:
        """For each budget the most arrivals in any of its windows, counted anew over all arrivals of the account."""
        return self._ledger.worst(account)

    def excess(self) -> list[Peak]:
        """Every account and budget whose fullest window held too many, counted anew: [] is the promise kept."""
        return self._ledger.excess()

    def peaks(self) -> list[Peak]:
        """The fullest window of every account and budget, with its overrun."""
        return list(self._ledger.peaks())

    def most_in_flight(self, account: str = "") -> int:
        """The most requests that were open at once, of an account or of all."""
        return self._ledger.most_in_flight(account)

    @property
    def now_ns(self) -> int:
        """What an arrival would be dated now."""
        return self._clock() + round(self.offset_s * SECOND_NS)

    def throttle(self, seconds: float) -> None:
        """Refuse everybody alike for so long, as an egress address is refused: no account, quota or delay is named."""
        self._throttled_ns = self.now_ns + seconds * SECOND_NS

    def release(self) -> None:
        """Let every request go on that hangs or is held now."""
        self._held.set()
        self._held = asyncio.Event()

    def reset(self) -> None:
        """Forget what arrived and remove the faults. Requests that are open stay open and counted as such."""
        self._ledger.reset()
        self._throttled_ns = -math.inf
        self.calls.clear()
        self.faults.clear()

    async def wait_for(self, predicate: Callable[[], object]) -> None:
        """Return once the predicate holds.

        It is asked now and whenever a request comes, is read, meets its fault, is answered or ends.
        """
        if predicate():
            return
        waiting = (predicate, asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        try:
            await waiting[1]
        finally:
            self._waiting.remove(waiting)

    def _changed(self) -> None:
        for predicate, future in self._waiting:
            if not future.done() and predicate():
                future.set_result(None)

    # --- on the socket ------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        """Listen. Raises OSError where the address is taken."""
        # Nothing is decompressed: bodies are shown as they came. A client that goes away cancels its handler.
        server = web.Server(
            self._handle,
            handler_cancellation=True,
            auto_decompress=False,
            access_log=None,
            max_line_size=MAX_HEAD,
            max_field_size=MAX_HEAD,
        )
        self._runner = web.ServerRunner(server, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, *self._address).start()
        host, port = self._runner.addresses[0][:2]
        self.url = f"http://{host}:{port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._runner:
            self.release()
            await self._runner.cleanup()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        at_ns = self.now_ns
        path, _, query = request.raw_path.partition("?")
        if path in {"/_control", "/_report"}:
            return await orders.answer(self, request, path)
        headers = tuple((name.decode("latin-1"), text.decode("latin-1")) for name, text in request.raw_headers)
        call = Call(len(self.arrivals), request.method, path, query, headers)
        arrival = Arrival(at_ns, request.method, path, tag=request.headers.get("x-client-request-id", ""))
        secrets = self._credentials(call)
        if len(secrets) == 1:
            arrival.key, arrival.account = secrets[0], self.accounts.get(secrets[0], "")
        self._leave_lost()
        self._ledger.begin(arrival)
        self._connections.append((arrival, request))
        self.open += 1
        self._changed()
        try:
            response = await self._serve(request, call, arrival, len(secrets))
            arrival.ended = "answered"
        except (asyncio.CancelledError, ConnectionError):
            arrival.ended = "cancelled" if arrival.ended == "open" else arrival.ended
            raise asyncio.CancelledError from None  # which aiohttp takes for a lost client, without a traceback
        finally:
            self._left(arrival)
            self._connections = [one for one in self._connections if one[0] is not arrival]
            self.open -= 1
            self._changed()
        return response

    def _left(self, arrival: Arrival) -> None:
        """It is in flight no longer: said before its last byte, after which its client may send the next."""
        self._ledger.end(arrival)

    def _leave_lost(self) -> None:
        """Who hung up is gone from the moment that the connection knows, though its handler is cancelled later."""
        for arrival, request in self._connections:
            if request.transport is None or request.transport.is_closing():
                self._left(arrival)

    def _credentials(self, call: Call) -> list[str]:
        """Every credential in the request. What an own API calls its header or field is known by the secret in it."""
        found = [_bare(text) for name, text in call.headers if name.lower() in CREDENTIAL_HEADERS]
        fields = parse_qsl(call.query, keep_blank_values=True) if call.query else []
        if call.dialect != "plain":
            return found + [text for name, text in fields if name == "key"]
        others = [_bare(text) for name, text in call.headers if name.lower() not in CREDENTIAL_HEADERS]
        return found + [text for text in (*others, *(text for _, text in fields)) if text in self.accounts]

    async def _serve(
        self, request: web.BaseRequest, call: Call, arrival: Arrival, credentials: int
    ) -> web.StreamResponse:
        call.read(await request.content.read())
        arrival.model = call.model
        self.calls.append(call)
        self._changed()
        fault = next((fault for fault in self.faults if fault.concerns(arrival)), HEALTHY)
        said, cost = self._said(call, fault, arrival)
        arrival.input, arrival.output, arrival.cached, _ = cost
        refusal = self._refusal(call, arrival, credentials)
        if refusal is not None:
            return await self._send(request, arrival, refusal, HEALTHY)
        if fault.times:
            fault.times -= 1
        self._changed()
        return await self._send(request, arrival, said, fault)

    def _said(self, call: Call, fault: Fault, arrival: Arrival) -> tuple[Answer, Cost]:
        """What is answered with this fault, and its tokens: an answer that is no success from the start costs none."""
        told = say(call, self._words, fault.tokens)
        try:
            kept = self._kept.answer(call, arrival.account) if self._kept and arrival.account else None
            healthy = kept or answer(call, told)
            if self._kept and not kept:
                healthy = self._kept.keep(call, arrival.account, healthy)
        except CallError as wrong:
            healthy = failures.failed(call.dialect, 400, str(wrong))
        said = fault.spoil(call, arrival.key, healthy)
        return said, told.cost if said.status < 400 else Cost()

    def _refusal(self, call: Call, arrival: Arrival, credentials: int) -> Answer | None:
        """What a request without exactly one known credential hears, and one over its budget. Faults come after."""
        if credentials > 1:
            return failures.multiple(call.dialect)
        if credentials == 0:
            return None if call.dialect == "plain" else failures.missing(call.dialect)
        if not arrival.account:
            return failures.invalid(call.dialect, arrival.key)
        self._leave_lost()
        violation = self._ledger.enter(arrival)
        if arrival.at_ns < self._throttled_ns:
            return failures.throttled(call.dialect)
        now = datetime.fromtimestamp(0, UTC) + timedelta(microseconds=(arrival.at_ns + self._epoch_ns) // 1000)
        return refusals.limited(call, violation, now) if violation else None

    async def _send(self, request: web.BaseRequest, arrival: Arrival, said: Answer, fault: Fault) -> web.StreamResponse:
        if fault.hang:
            await self._held.wait()
        if fault.headers_s:
            await asyncio.sleep(fault.headers_s)
        if fault.close == "before":
            self._hang_up(request, arrival)
        arrival.status = said.status
        self._changed()
        if said.stream or fault.close or fault.first_byte_s or fault.hold:
            return await self._stream(request, arrival, said, fault)
        self._left(arrival)
        response = web.Response(status=said.status, headers=said.headers, body=b"".join(said.chunks))
        await response.prepare(request)
        await response.write_eof()
        return response

    async def _stream(
        self, request: web.BaseRequest, arrival: Arrival, said: Answer, fault: Fault
    ) -> web.StreamResponse:
        response = web.StreamResponse(status=said.status, headers=said.headers)
        if not said.stream:
            response.content_length = sum(map(len, said.chunks))
        await response.prepare(request)
        await asyncio.sleep(fault.first_byte_s)
        first, second = _halves(said.chunks) if fault.close or fault.hold else ((), said.chunks)
        for number, chunk in enumerate(first):
            await self._write(response, chunk, fault.chunk_s if number else 0)
        if fault.hold:
            await self._held.wait()
        if fault.close:
            self._hang_up(request, arrival)
        for number, chunk in enumerate(second, 1):
            if number == len(second):
                self._left(arrival)
            await self._write(response, chunk, fault.chunk_s if first or number > 1 else 0)
        await response.write_eof()
        return response

    async def _write(self, response: web.StreamResponse, chunk: bytes, wait_s: float) -> None:
        if wait_s:
            await asyncio.sleep(wait_s)
        await response.write(chunk)

    def _hang_up(self, request: web.BaseRequest, arrival: Arrival) -> NoReturn:
        arrival.ended = "closed"
        if request.transport:
            request.transport.close()
        raise asyncio.CancelledError


def _bare(text: str) -> str:
    scheme, _, token = text.partition(" ")
    return token.strip() if scheme.lower() == "bearer" else text


def _halves(chunks: Sequence[bytes]) -> tuple[Sequence[bytes], Sequence[bytes]]:
    """Cut in the middle of the middle chunk: what is cut there is no whole event."""
    middle = len(chunks) // 2
    half = len(chunks[middle]) // 2
    return (*chunks[:middle], chunks[middle][:half]), (chunks[middle][half:], *chunks[middle + 1 :])


# --- as its own process -----------------------------------------------------------------------------


def _json_or_file(text: str) -> Any:
    return orjson.loads(text if text.lstrip().startswith(("{", "[")) else Path(text).read_bytes())


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m sidecar.simulate.provider", description="A strict simulated provider."
    )
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0: the system chooses one")
    parser.add_argument(
        "--keys", type=_json_or_file, required=True, help='{"secret": "account"} or ["secret"], or a file of it'
    )
    parser.add_argument(
        "--budgets",
        type=_json_or_file,
        default=[],
        help='[[max, seconds, "model*"]] or [{"max": 9, "window_s": 60, "unit": "tokens"}], or a file of it',
    )
    parser.add_argument(
        "--words", type=_json_or_file, default=list(WORDS), help='["Hel", "lo"]: what it answers, in chunks'
    )
    parser.add_argument("--keeps", action="store_true", help="keep files, batches, caches and stored answers")
    return parser.parse_args()


async def _run(given: argparse.Namespace) -> None:
    stop = asyncio.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(name, stop.set)
    async with StrictProvider(
        given.keys, given.budgets, words=given.words, keeps=given.keeps, host=given.host, port=given.port
    ) as provider:
        sys.stdout.write(orjson.dumps({"url": provider.url}).decode() + "\n")
        sys.stdout.flush()
        await stop.wait()


if __name__ == "__main__":
    asyncio.run(_run(_arguments()))
