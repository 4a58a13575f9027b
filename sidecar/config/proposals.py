"""What a provider names as its limits, in the words of the config file: what to write below `limits:`."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable

from sidecar.config.limits import counted
from sidecar.model.configured import SECOND_US, Limit
from sidecar.model.events import Drifted
from sidecar.model.outcomes import NamedLimit, Period
from sidecar.model.patterns import matches

_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9._/-]*\Z")
_SLIDING: dict[Period, str] = {"second": "1s", "minute": "minute", "hour": "hour", "day": "day"}
_LENGTHS_US: dict[Period, int] = {
    "second": SECOND_US,
    "minute": 60 * SECOND_US,
    "hour": 3600 * SECOND_US,
    "day": 24 * 3600 * SECOND_US,
}


def entry(named: NamedLimit, zone: str) -> str | None:
    """`{requests: 10, per: minute}`; None where the answer does not say which window, or no config has one like it.

    A day of a provider whose zone is known ends there at midnight. Of any other it slides, which never lets more
    through than a calendar's day does.
    """
    period, own_zone = named.per, zone != "UTC"
    if period == "month" or (period == "day" and own_zone):
        window = f"calendar_{period}" + (f", tz: {zone}" if own_zone else "")
    elif period in _SLIDING:
        window = _SLIDING[period]
    else:
        return None
    model = f", model: {_yaml(named.model)}" if named.model else ""
    return f"{{{named.unit}: {named.max}, per: {window}{model}}}"


def _yaml(text: str) -> str:
    return text if _PLAIN.match(text) else json.dumps(text, ensure_ascii=False)


def told(limit: Limit | NamedLimit) -> str:
    """`10 requests per minute for gpt-4o`."""
    if isinstance(limit, Limit):
        return f"{limit.max} {counted(limit)}"
    window = f" per {limit.per}" if limit.per else ""
    return f"{limit.max} {limit.unit}{window}" + (f" for {limit.model}" if limit.model else "")


def alike(limits: Iterable[Limit], named: NamedLimit) -> Limit | None:
    """The limit of a config that counts what the provider's does: the same unit and window, of its model or of more."""
    fitting = [
        limit
        for limit in limits
        if limit.enforce
        and limit.unit == named.unit
        and _as_long(limit, named.per)
        and (not limit.model or matches(limit.model, named.model))
    ]
    return min(fitting, key=lambda limit: limit.max, default=None)


def _as_long(limit: Limit, period: Period) -> bool:
    if limit.calendar:
        return limit.calendar.period == period
    return bool(period) and limit.window_us == _LENGTHS_US.get(period)


def advice(drift: Drifted) -> str:
    """What to configure so that a provider has no reason to refuse again."""
    place, named = f"pools.{drift.pool}.limits", drift.named
    written = entry(named, drift.zone) if named else None
    if named is None or named.max is None or written is None:
        return f"{place}: lower what is above the provider's limit, or find who else uses the key"
    ours = alike(drift.limits, named)
    if ours is not None and ours.max <= named.max:
        return f"{place}: less than {written}, by what the key is used for elsewhere"
    return f"{place}: {written}"
