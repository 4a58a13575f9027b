"""What the demo shows: what the provider counted for each key, what clients saw, and whether promises were kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from sidecar.cli import show
from sidecar.cli.demo.plan import WINDOW_S, Plan
from sidecar.cli.demo.traffic import Traffic

LINE_EVERY_S = 2.0  # where no terminal can be redrawn

Show = Callable[[Traffic, float], None]


def introduce(plan: Plan, store: str) -> None:
    """What was started."""
    told = (
        f"{plan.replicas} sidecar processes, {store}, {plan.keys} keys of {plan.budget.max} requests per {WINDOW_S} s"
    )
    show.console().print(f"{told}; about {plan.rate:g} requests a second in waves, for {plan.seconds:g} s")


@contextmanager
def shown() -> Iterator[Show]:
    """A function that shows how things stand: redrawn on a terminal, else a line now and then."""
    out = show.console()
    if not out.is_terminal:
        next_s = 0.0

        def line(traffic: Traffic, elapsed_s: float) -> None:
            nonlocal next_s
            if elapsed_s >= next_s:
                next_s = elapsed_s + LINE_EVERY_S
                out.print(f"{elapsed_s:6.1f} s  {_summary(traffic)}; arrivals {_counts(traffic)}")

        yield line
        return
    with Live(console=out, auto_refresh=False) as live:
        yield lambda traffic, elapsed_s: live.update(_picture(traffic, elapsed_s), refresh=True)


def verdict(traffic: Traffic) -> bool:
    """Tells whether every promise was kept, and returns it."""
    out = show.console()
    exceeded, refused = len(traffic.provider.excess()), traffic.statuses["429"]
    failed = sum(traffic.statuses.values()) - traffic.statuses["200"] - refused
    kept = not (exceeded or refused or failed)
    for peak in traffic.provider.excess():
        out.print(
            f"{_name(traffic, peak.account)}: {peak.held} arrivals in {WINDOW_S} s, allowed are {peak.budget.max}"
        )
    if traffic.first_failure:
        out.print(f"The first failure that a client saw: {traffic.first_failure}", markup=False)
    told = f"{exceeded} budgets exceeded, {traffic.sent} requests, {refused} client 429s, {failed} other failures; "
    hidden = f"{traffic.failovers} failovers that no client saw, {traffic.waited} requests waited for room"
    out.print(Text(told + hidden, style="bold green" if kept else "bold red"))
    return kept


def _picture(traffic: Traffic, elapsed_s: float) -> Group:
    counts, provider = traffic.provider.counts(), traffic.provider
    most = max(1, *counts.values())
    table = Table(box=None)
    for name in ("key", "arrivals", "", f"fullest {WINDOW_S} s", "of", ""):
        table.add_column(name, justify="right" if name in {"arrivals", "of"} else "left")
    for key, secret in traffic.plan.secrets.items():
        worst = provider.worst(secret)[traffic.plan.budget]
        filled = Text("█" * round(show.BAR * counts[secret] / most), style="cyan")
        allowed = traffic.plan.budget.max
        over = Text("over its budget", style="bold red") if worst > allowed else Text()
        table.add_row(key, str(counts[secret]), filled, str(worst), str(allowed), over)
    return Group(table, Text(f"{elapsed_s:.1f} of {traffic.plan.seconds:g} s  {_summary(traffic)}"))


def _summary(traffic: Traffic) -> str:
    counts = traffic.provider.counts().values()
    answers = ", ".join(f"{status}: {count}" for status, count in sorted(traffic.statuses.items())) or "none yet"
    return (
        f"{traffic.sent} requests; answers {answers}; unseen failovers {traffic.failovers}; "
        f"longest wait {traffic.longest_wait_s:.1f} s; keys differ by {max(counts) - min(counts)}"
    )


def _counts(traffic: Traffic) -> str:
    counts = traffic.provider.counts()
    return " ".join(str(counts[secret]) for secret in traffic.plan.secrets.values())


def _name(traffic: Traffic, account: str) -> str:
    return next((key for key, secret in traffic.plan.secrets.items() if secret == account), "an unknown key")
