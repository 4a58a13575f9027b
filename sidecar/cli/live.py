"""`sidecar check --live`: one cheap call with each key, sent as the data plane sends and inside the same budgets.

What it finds is told, not reported: no key rests for it, and none is brought back.
"""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from time import monotonic
from typing import Any, Literal

import msgspec
from rich.progress import BarColumn, MofNCompleteColumn, Progress
from rich.text import Text

from sidecar.cli import given, show
from sidecar.cli.proposing import proposed
from sidecar.model.classes import Class, Scope
from sidecar.model.configured import SECOND_US, Config, Key, Pool, Proxy, Target
from sidecar.model.outcomes import NamedLimit
from sidecar.model.words import Exhausted, Refusal
from sidecar.ops.redact import Redact
from sidecar.pool.drifting import RATE_LIMITS
from sidecar.pool.pool import Pools
from sidecar.pool.resting import DEAD, DISABLED
from sidecar.pool.search import Held, Search
from sidecar.providers import limits
from sidecar.providers.dialect import ERROR_BYTES
from sidecar.proxy.call import Call
from sidecar.proxy.inflate import unpacked
from sidecar.proxy.origin.connections import NotSent
from sidecar.proxy.origin.gate import Late
from sidecar.proxy.origin.incoming import Lost
from sidecar.proxy.reviving import cheap_call
from sidecar.proxy.upstream import Reply, Upstream
from sidecar.store.drifts import Drift

AT_ONCE = 8  # calls under way
ANSWER_S = 15.0  # for connecting and for the answer, or the pool's timeout if that is shorter
SHOWN = 160  # characters of what a provider says
_SENTENCES = ("message", "detail", "error", "error_description", "msg", "title")


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of one key. Its fault: `dead`, the key is refused; `away`, nobody there serves it; "", neither."""

    told: str
    fault: Literal["", "dead", "away"] = ""
    named: tuple[NamedLimit, ...] = ()  # limits that the answer names


def run(config: Config, redact: Redact) -> str:
    """Prints one line a key, in config order, and returns what must be mended, or "".

    On a terminal a bar shows how far it is. Raises StoreAway or StoreUnable.
    """
    keys = [(pool, key) for pool in config.pools.values() for key in pool.keys]
    times = Counter(key.id for _, key in keys)
    out = show.console()
    bar = Progress(BarColumn(), MofNCompleteColumn(), console=out, transient=True, disable=not out.is_terminal)
    faults: Counter[str] = Counter()
    seen: dict[str, dict[str, tuple[NamedLimit, ...]]] = {name: {} for name in config.pools}
    with bar:
        task = bar.add_task("", total=len(keys))

        def tell(pool: Pool, key: Key, verdict: Verdict) -> None:
            faults[verdict.fault] += 1
            seen[pool.name][key.id] = verdict.named
            name = key.id if times[key.id] == 1 else f"{pool.name}/{key.id}"
            out.print(Text(f"live     {name} {redact(verdict.told)}"), soft_wrap=True)

        drifts = asyncio.run(try_keys(config, redact, tell, lambda: bar.advance(task)))
    for pool, key in keys:
        if (drift := drifts.get(key.fingerprint)) and drift.told.named:
            seen[pool.name][key.id] += (drift.told.named,)
    for name, named in seen.items():
        for line in proposed(config, config.pools[name], named):
            out.print(Text(redact(line)), soft_wrap=True)
    return _to_mend(faults, len(keys))


def _to_mend(faults: Counter[str], keys: int) -> str:
    told = []
    if faults["dead"]:
        told.append(f"{faults['dead']} of {keys} keys cannot be used: replace them, pay for them or take them out")
    if faults["away"]:
        told.append(
            f"{faults['away']} of {keys} keys met no provider that serves them: look at base_url, network and provider"
        )
    return "; ".join(told) + "." if told else ""


async def try_keys(
    config: Config, redact: Redact, tell: Callable[[Pool, Key, Verdict], None], done: Callable[[], None]
) -> Mapping[str, Drift]:
    """Tells each key's verdict in config order; `done` is called as each is known, in any order.

    Returns what replicas kept of drifts, by the keys' fingerprints: refusals name limits that no cheap call does.
    """
    async with AsyncExitStack() as stack:
        store = given.store(config)
        stack.push_async_callback(store.close)
        upstream = Upstream()
        stack.push_async_callback(upstream.close)
        trial = _Trial(config, Pools(_for_any_call(config), store, lambda _: None), upstream, redact)
        keys = [(pool, key) for pool in config.pools.values() for key in pool.keys]
        tasks = [asyncio.create_task(trial.verdict(pool, key)) for pool, key in keys]
        stack.push_async_callback(_end, tasks)
        for task in tasks:
            task.add_done_callback(lambda _: done())
        for (pool, key), task in zip(keys, tasks, strict=True):
            # Shielded: Ctrl-C is for all of them at once, or the place of this one would let another begin.
            tell(pool, key, await asyncio.shield(task))
        return (await store.drifts())[1]


async def _end(tasks: list[asyncio.Task[Verdict]]) -> None:
    """Ends what is under way; what was not sent is given back."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _for_any_call(config: Config) -> Config:
    """The config with every key in the rotation of calls without a model, from which `models:` would keep it.

    Budgets and rests are the account's and the key's, whatever rotation the grant comes from.
    """
    pools = {
        name: replace(pool, keys=tuple(replace(key, models=()) for key in pool.keys))
        for name, pool in config.pools.items()
    }
    return replace(config, pools=pools)


class _Trial:
    """One round over the keys, at most AT_ONCE under way."""

    def __init__(self, config: Config, pools: Pools, upstream: Upstream, redact: Redact) -> None:
        self._pools, self._upstream, self._redact = pools, upstream, redact
        self._calls = {name: cheap_call(pool.provider) for name, pool in config.pools.items()}
        self._places = asyncio.Semaphore(AT_ONCE)
        # Pool and proxy -> how and by which key it was found unreachable that way.
        self._away: dict[tuple[str, Proxy], tuple[Class, str]] = {}

    async def verdict(self, pool: Pool, key: Key) -> Verdict:
        call = self._calls[pool.name]
        if call is None:
            return Verdict(f"no cheap call is known for {pool.provider.name}: not tried")
        async with self._places:
            if met := self._away.get(_way(pool, key)):  # hundreds of keys would each wait for the same silence
                kind, first = met
                return Verdict(f"{kind} (as for {first}): not tried", "away")
            target = Target(pool.name, "")
            others = {(0, other.id) for other in pool.keys if other.id != key.id}
            search = Search(call.request_id, (target,), monotonic() + ANSWER_S, max_wait_s=0, tried=others)
            got = await self._pools.acquire(search, wait=False)
            if isinstance(got, Held):
                return await self._sent(call, search, got)
            return await self._refused(target, key, got)

    async def _refused(self, target: Target, key: Key, got: Refusal | Exhausted) -> Verdict:
        """Why there is no grant of this key, and for how long; of one that is disabled or dead nobody knows."""
        why = await self._pools.sight.why(target)
        reason = why.proved.get(key.id)
        if reason == DISABLED:
            return Verdict("is disabled: not tried")
        if isinstance(got, Exhausted):
            return Verdict(f"rests for {reason}, until a sidecar's own try succeeds: not tried", "dead")
        seconds = f"{math.ceil(got.wait_us / SECOND_US)} s"
        if reason is not None:
            return Verdict(f"rests for {reason}, tried again in {seconds}: not tried", "dead" if reason in DEAD else "")
        if key.id in why.suspected:
            return Verdict(f"rests on suspicion, tried again in {seconds}: not tried")
        return Verdict(f"has no room in its budgets for {seconds}: not tried")

    async def _sent(self, call: Call, search: Search, held: Held) -> Verdict:
        began = monotonic()
        within_s = min(ANSWER_S, held.pool.timeout_s)
        try:
            async with asyncio.timeout(within_s):
                reply = await self._upstream.send(call, search, held, self._pools)
        except TimeoutError:
            return self._unreached(held, Class.TIMEOUT, f"no answer within {within_s:g} s")
        except NotSent as error:
            return self._unreached(held, Class.CONNECT, str(error))
        except Lost as error:
            return Verdict(f"{Class.SERVER_ERROR} (the connection broke: {error})", "away")
        except Late:
            return Verdict("has no room left since the connection was made: not tried")
        finally:
            self._pools.finish(held, None)
        reply.incoming.close()
        verdict = judged(reply, reply.first_byte_at - began, self._redact)
        refused = (reply.outcome.named,) if reply.outcome.named else ()
        return replace(verdict, named=(*refused, *limits.told(reply.seen.headers, reply.seen.now_s)))

    def _unreached(self, held: Held, kind: Class, why: str) -> Verdict:
        self._away.setdefault(_way(held.pool, held.key), (kind, held.key.id))
        return Verdict(f"{kind} ({why})", "away")


def _way(pool: Pool, key: Key) -> tuple[str, Proxy]:
    return pool.name, key.proxy or pool.proxy


# --- what an answer says of the key -----------------------------------------------------------------


def judged(reply: Reply, took_s: float, redact: Redact) -> Verdict:
    """The outcome as the data plane classifies it, and in the provider's words."""
    kind, headers = reply.outcome.kind, reply.seen.headers
    if kind is Class.OK:
        if reply.status >= 300:
            where = _line(headers.get("location", "elsewhere"), redact)
            return Verdict(f"not answered ({reply.status}: redirected to {where})", "away")
        if "html" in headers.get("content-type", ""):
            return Verdict(f"not answered ({reply.status}: a page for people)", "away")
        return Verdict(f"ok ({took_s:.2f} s)")
    said = _line(_said(unpacked(headers.get("content-encoding", ""), reply.held, ERROR_BYTES)[0]), redact)
    told = f"{kind} ({reply.status}: {said})" if said else f"{kind} ({reply.status})"
    if reply.outcome.scope is Scope.PROVIDER:
        return Verdict(told, "away")
    if kind in DEAD:
        return Verdict(told, "dead")
    return Verdict(f"{told}: {'no fault of the key' if kind in RATE_LIMITS else 'says nothing of the key'}")


def _said(body: bytes) -> str:
    """The sentence in an error's body, in its own case: what `faults` reads is for rules, not for people."""
    text = body.decode("utf-8", "replace").strip()
    try:
        return _sentence(msgspec.json.decode(text), 0)
    except (msgspec.DecodeError, RecursionError):
        return "a page for people" if text[:1] == "<" else text


def _sentence(value: Any, depth: int) -> str:
    if isinstance(value, str):
        return value
    if depth == 8:
        return ""
    inner: list[Any] = []
    if isinstance(value, Mapping):
        inner = [value[name] for name in _SENTENCES if name in value]
    elif isinstance(value, list):
        inner = value
    return next((found for one in inner if (found := _sentence(one, depth + 1))), "")


def _line(text: str, redact: Redact) -> str:
    """One printable line of at most SHOWN characters. Redacted before it is cut: half a secret would not be found."""
    told = "".join(character if character.isprintable() else " " for character in redact(text))
    told = " ".join(told.split()).rstrip(".")
    return told if len(told) <= SHOWN else f"{told[: SHOWN - 3]}..."
