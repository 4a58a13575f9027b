"""Usage as people ask for it: the rows of the last days, or of all time, summed by what they name."""

from __future__ import annotations

import csv
import io
from collections.abc import AsyncIterator, Mapping
from datetime import date
from typing import Any

from aiohttp import web

from sidecar.model.classes import Class
from sidecar.model.configured import Config
from sidecar.model.counting import HITS, MISSES, OUTCOMES, REQUESTS, SAVED, TOKENS, UNSERVED, Counts, Row, ids
from sidecar.ops import health
from sidecar.replica import Replica
from sidecar.store.commands import Store
from sidecar.store.upkeep import USAGE_DAYS

CACHE = ("cache_hits", "cache_misses", "saved_input_tokens", "saved_output_tokens")
BY = ("day", "pool", "key", "client", "model")
FAILURES = tuple(str(outcome) for outcome in OUTCOMES if outcome is not Class.OK)
_FORMULA = ("=", "+", "-", "@", "\t", "\r")  # what a spreadsheet would run

Usage = dict[str, Any]  # as JSON
Place = tuple[str, ...]  # a value for each name that is summed by


class BadQuestion(ValueError):
    """What was asked for is not kept; the text says what is."""


async def usage(config: Config, store: Store, days: int, by: str = "key") -> Usage:
    """The usage of the last `days` (UTC, by Redis's clock; 0: since counting began) by names of BY, comma-separated.

    `attempts` are tries at a provider, each a success or a failure; `sent` those of them for which a connection was
    made, `requests` those of clients, counted once whatever the attempts, for the key that they held last.
    A key has the id that `config` gives it, whatever it was called before; one that is not there is `ID~FINGERPRINT`,
    with the id that it was counted under.
    Raises BadQuestion, StoreAway or StoreUnable.
    """
    names = summed_by(by, days)
    present = ids(config)
    sums: dict[Place, Counts] = {}
    seen: list[date] = []
    async for day, rows in _read(store, days):
        seen += [day] if day else []
        for row, counts in rows.items():
            values = row._asdict() | {"key": row.key_now(present), "day": day.isoformat() if day else ""}
            _add(sums.setdefault(tuple(values[name] for name in names), {}), counts)
    total: Counts = {}
    for counts in sums.values():
        _add(total, counts)
    return {
        "days": days,
        "from": seen[-1].isoformat() if seen else None,
        "to": seen[0].isoformat() if seen else None,
        "by": list(names),
        "rows": [dict(zip(names, place, strict=True)) | told(sums[place]) for place in sorted(sums)],
        "total": told(total),
    }


def summed_by(by: str, days: int) -> tuple[str, ...]:
    """What to sum by, of BY; a key's id is one of its pool's. Raises BadQuestion."""
    asked = [name.strip() for name in by.split(",")]
    for name in asked:
        if name not in BY:
            raise BadQuestion(f'by: "{name}" is nothing to sum by. Known: {", ".join(BY)}, or several of them.')
    if not 0 <= days <= USAGE_DAYS:
        raise BadQuestion(f"days: {days} is not 1 to {USAGE_DAYS}, nor 0 for all time.")
    if days == 0 and "day" in asked:
        raise BadQuestion(f"by: the usage of all time is not kept by day. Ask for 1 to {USAGE_DAYS} days.")
    return tuple(dict.fromkeys(part for name in asked for part in (("pool", "key") if name == "key" else (name,))))


async def _read(store: Store, days: int) -> AsyncIterator[tuple[date | None, Mapping[Row, Counts]]]:
    if days == 0:
        yield None, await store.counted.total()
        return
    async for day, rows in store.counted.days(days):
        yield day, rows


def _add(into: Counts, counts: Counts) -> None:
    for kind, count in counts.items():
        into[kind] = into.get(kind, 0) + count


def told(counts: Counts) -> Usage:
    """What was counted, under the names that all surfaces use."""
    failures = {name: counts[name] for name in FAILURES if name in counts}
    unserved = {kind.removeprefix(UNSERVED): count for kind, count in counts.items() if kind.startswith(UNSERVED)}
    successes = counts.get(Class.OK, 0)
    attempts = successes + sum(failures.values())
    return {
        "requests": counts.get(REQUESTS, 0),
        "attempts": attempts,
        "sent": attempts - failures.get(Class.CONNECT, 0),
        "successes": successes,
        "failures": failures,
        "unserved": dict(sorted(unserved.items())),
        **{f"{kind}_tokens": counts.get(kind, 0) for kind in TOKENS},
        **{name: counts.get(kind, 0) for name, kind in zip(CACHE, (HITS, MISSES, *SAVED), strict=True)},
    }


def as_csv(found: Usage) -> str:
    """A header, then a line for each row; the same columns whatever was counted."""
    out = io.StringIO()
    lines = csv.writer(out, lineterminator="\n")
    tokens = [*(f"{kind}_tokens" for kind in TOKENS), *CACHE]
    lines.writerow([*found["by"], "requests", "attempts", "successes", "failures", *FAILURES, "unserved", *tokens])
    for row in found["rows"]:
        failures, unserved = row["failures"], row["unserved"]
        numbers = [row["requests"], row["attempts"], row["successes"], sum(failures.values())]
        by_class = [failures.get(name, 0) for name in FAILURES]
        rest = [sum(unserved.values()), *(row[name] for name in tokens)]
        lines.writerow([*(_cell(row[name]) for name in found["by"]), *numbers, *by_class, *rest])
    return out.getvalue()


def _cell(text: str) -> str:
    """A model's name comes from a client: one that is a formula is quoted as spreadsheets want it."""
    return f"'{text}" if text.startswith(_FORMULA) else text


async def page(replica: Replica, request: web.BaseRequest) -> web.Response:
    """`GET /admin/v1/usage?days=&by=&format=`: today by key as JSON, unless it is asked for otherwise.

    Raises BadQuestion, StoreAway or StoreUnable.
    """
    days, by, style = _asked(request.query)
    await replica.counting.flush()
    found = await usage(replica.state.config, replica.store, days, by)
    if style == "json":
        return health.answer(200, found)
    return web.Response(text=as_csv(found), content_type="text/csv", headers={"Cache-Control": "no-store"})


def _asked(query: Mapping[str, str]) -> tuple[int, str, str]:
    days, style = query.get("days", "1"), query.get("format", "json")
    if not (days.isascii() and days.isdigit() and len(days) < 10):
        raise BadQuestion(f'days: "{days}" is no number. It is 1 to {USAGE_DAYS}, or 0 for all time.')
    if style not in {"json", "csv"}:
        raise BadQuestion(f'format: it is no "{style}". Known: json, csv.')
    return int(days), query.get("by", "key"), style
