"""Tables and colour. Where no terminal listens, plain text that is as wide as it needs to be."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

WIDE = 200  # columns where nobody's window limits them
BAR = 20
NARROW = 120  # columns, below which numbers say it without a bar

_Entries = Sequence[Mapping[str, Any]]
_LEAST = {"budget": 12, "rests": 21}  # columns, of what may wrap


def console() -> Console:
    """Standard output. Colours only on a terminal, and not where NO_COLOR is set."""
    out = Console(highlight=False)
    return out if out.is_terminal else Console(highlight=False, width=WIDE)


@contextmanager
def screen(live: bool) -> Iterator[Callable[[RenderableType], None]]:
    """A function that shows something; `live`: in the place of what it showed before, where a terminal allows it."""
    out = console()
    if not live or not out.is_terminal:
        yield out.print
        return
    with Live(console=out, auto_refresh=False) as shown:
        yield lambda content: shown.update(content, refresh=True)


def bar(part: int, whole: int) -> Text:
    """How much of a whole is taken: green, yellow from three quarters on, red when it is full."""
    filled = min(BAR, round(BAR * part / whole)) if whole else 0
    style = "red" if part >= whole else "yellow" if 4 * part >= 3 * whole else "green"
    return Text.assemble(("█" * filled, style), ("·" * (BAR - filled), "dim"))


def status(told: Mapping[str, Any], width: int = WIDE) -> Table:
    """What `sidecar status` shows: a line for each budget and each cooldown of each key, then the pool's own.

    `width`: of the window. Why a key rests is shown in any, the bars only where there is room.
    """
    title = f"namespace {told['namespace']}, replicas alive: {told['replicas']}"
    table = Table(title=title, title_justify="left", box=None, collapse_padding=width < NARROW)
    if (cache := told.get("cache")) and any(cache["total"].values()):
        table.caption, table.caption_justify = _saved(cache), "left"
    for name in ("pool", "key", "budget", "used", "", "sent today", "in all", "rests"):
        number = name in {"sent today", "in all", "used"}
        bars = name == "" and width < NARROW
        table.add_column(
            name,
            justify="right" if number else "left",
            no_wrap=name not in {"budget", "rests"},
            min_width=_LEAST.get(name),
            max_width=0 if bars else None,
        )
    for name, pool in told["pools"].items():
        for key in pool["keys"]:
            rests = [*_states(key), *_drifts(key)]
            _add_lines(table, name, key["id"], key["budgets"], rests, key.get("usage", {}))
        if pool["total"] or pool["cooldowns"]:
            _add_lines(table, name, "all keys", pool["total"], [_rest(rest) for rest in pool["cooldowns"]], {})
        grants = ", ".join(f"{model or 'no model'}: {number}" for model, number in pool["grants"].items())
        if grants:
            # In the one column that wraps: clients may have named any number of models.
            table.add_row(name, Text("grants", style="dim"), "", "", "", "", "", Text(grants, style="dim"))
    return table


def keys(told: Iterable[Mapping[str, Any]]) -> Table:
    """What `sidecar keys list` shows: a line for each key, and more where it rests for several reasons."""
    table = Table(box=None)
    for name in ("pool", "key", "state"):
        table.add_column(name, no_wrap=name != "state")
    for key in told:
        table.add_row(Text(key["pool"]), Text(key["id"]), Text("\n").join(_states(key)) or Text("enabled"))
    return table


def clients(told: Iterable[Mapping[str, Any]]) -> Table:
    """What `sidecar clients list` shows: a line for each client, and more where it has several limits or tokens."""
    table = Table(box=None)
    for name in ("client", "models", "limits", "used", "priority", "tokens"):
        table.add_column(name, no_wrap=name != "models", justify="right" if name == "used" else "left")
    for client in told:
        limits = client["limits"]
        table.add_row(
            Text(client["id"]),
            Text(", ".join(client["models"]) or "all"),
            Text("\n").join(_budget(limit)[0] for limit in limits) or Text("none"),
            Text("\n").join(Text(_used(limit)) for limit in limits),
            Text(client["priority"]),
            Text("\n").join(map(_token, client["tokens"])),
        )
    return table


def _used(limit: Mapping[str, Any]) -> str:
    return f"{'?' if limit['used'] is None else limit['used']}/{limit['max']}"


def _token(token: Mapping[str, Any]) -> Text:
    if token["expired"]:
        return Text(f"{token['hash']} expired {token['expires']}", style="red")
    return Text(token["hash"] + (f" until {token['expires']}" if token["expires"] else ""))


def _saved(cache: Mapping[str, Mapping[str, int]]) -> str:
    """What the cache has saved today and in all."""
    told = []
    for span, counts in (("today", cache["today"]), ("in all", cache["total"])):
        hits, asked = counts["cache_hits"], counts["cache_hits"] + counts["cache_misses"]
        share = f" ({100 * hits / asked:.0f} %)" if asked else ""
        tokens = f"{counts['saved_input_tokens']:,} input and {counts['saved_output_tokens']:,} output tokens"
        told.append(f"{span} {hits:,} of {asked:,} requests{share}, {tokens} saved")
    return f"cache: {'; '.join(told)}"


def _add_lines(
    table: Table, pool: str, key: str, budgets_told: _Entries, rests: Sequence[Text], usage: Mapping[str, Any]
) -> None:
    budgets = [_budget(budget) for budget in budgets_told]
    sent = tuple(Text(f"{counts['sent']:,}") for counts in usage.values()) or (Text(), Text())
    for at in range(max(1, len(rests), len(budgets))):
        named = (Text(pool), Text(key)) if at == 0 else (Text(), Text())
        budget = budgets[at] if at < len(budgets) else (Text("no limit known" if at == 0 else ""), Text(), Text())
        sends = sent if at == 0 else (Text(), Text())
        table.add_row(*named, *budget, *sends, rests[at] if at < len(rests) else Text())


def _budget(budget: Mapping[str, Any]) -> tuple[Text, Text, Text]:
    model = f" for {budget['model']}" if budget["model"] else ""
    only = "" if budget["enforced"] else " (counts only)"
    what = f"{budget['unit']} per {budget['per']}" if budget["per"] else budget["unit"]
    used, most = budget["used"], budget["max"]
    return Text(f"{what}{model}{only}"), Text(_used(budget)), bar(used or 0, most)


def _states(key: Mapping[str, Any]) -> list[Text]:
    """Why a key is not granted, a line each."""
    off = key.get("disabled")
    disabled = [Text(f"disabled since {off['since']} by {off['by']}", style="red")] if off else []
    return [*disabled, *(_rest(rest) for rest in key["cooldowns"])]


def _rest(rest: Mapping[str, Any]) -> Text:
    model = f" for {rest['model']}" if rest["model"] else ""
    doubt = " (suspicion)" if rest["suspicion"] else ""
    ends = "until a try works" if rest["seconds"] is None else f"{duration(rest['seconds'])} more"
    tried = "" if rest["tried_in"] is None else f", tried in {duration(rest['tried_in'])}"
    return Text(f"{rest['reason']}{model}, {ends}{tried}{doubt}", style="yellow")


def usage(told: Mapping[str, Any], width: int = WIDE) -> Table:
    """What `sidecar usage` shows: a line for each row, then their sum; in a narrow window no columns of zeros."""
    days = told["to"] if told["days"] == 1 else f"{told['from']} to {told['to']}"
    span = f"{days}, UTC" if told["days"] else "since counting began"
    table = Table(title=f"usage, {span}", title_justify="left", box=None, collapse_padding=width < NARROW)
    numbers = [name for name in _NUMBERS if width >= NARROW or told["total"][name] or not name.endswith("_tokens")]
    numbers += [name for name in _CACHE if told["total"].get(name)]
    for name in told["by"]:
        table.add_column(name, no_wrap=True)
    for name in numbers:
        table.add_column(name.removesuffix("_tokens").replace("_", " "), justify="right", no_wrap=True)
    table.add_column("failed and unserved, for what", min_width=_LEAST["rests"])
    for row in told["rows"]:
        table.add_row(*(Text(row[name] or "-") for name in told["by"]), *_usage(row, numbers))
    sums = _usage(told["total"], numbers)
    table.add_row(*(Text("total" if at == 0 else "") for at in range(len(told["by"]))), *sums)
    return table


_NUMBERS = ("requests", "attempts", "successes", "input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens")

_CACHE = ("cache_hits", "saved_input_tokens", "saved_output_tokens")  # only where there is one


def _usage(row: Mapping[str, Any], numbers: Sequence[str]) -> tuple[Text, ...]:
    why = ", ".join(f"{count} {name}" for name, count in {**row["failures"], **row["unserved"]}.items())
    return *(Text(f"{row[name]:,}") for name in numbers), Text(why, style="yellow")


def _drifts(key: Mapping[str, Any]) -> list[Text]:
    """That the provider's count and ours differ. What it named is its limit, not what is left of it."""
    drift = key.get("drift")
    if not drift:
        return []
    times = "once" if drift["count"] == 1 else f"{drift['count']} times"
    named, limit = drift["named"], ""
    if named:
        window = f" per {named['per']}" if named["per"] else ""
        limit = f"; it names {named['max']} {named['unit']}{window}"
        limit += f" for {named['model']}" if named["model"] else ""
    ago = duration(drift["seconds_ago"])
    return [Text(f"refused {times} with room in the budget, last {ago} ago{limit}", style="magenta")]


def duration(seconds: float) -> str:
    """`0.8s`, `1m30s` or `2h1m`: as exact as one wants to read it."""
    if seconds < 60:
        return f"{seconds:.1f}s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes}m" if hours else f"{minutes}m{rest}s"
