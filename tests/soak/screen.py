"""How the soak tells what goes on: one picture that is redrawn on a terminal, else plain lines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.console import Group
from rich.text import Text

from sidecar.cli import show
from tests.soak.world import now

REDRAWN_S, LINE_EVERY_S = 1.0, 5.0
SHOWN = 12  # of the latest events


@dataclass(slots=True)
class Screen:
    """All events so far, each with its moment, and the summary beneath them."""

    draw: Callable[[Text | Group], None]
    terminal: bool
    events: list[str] = field(default_factory=list)

    def say(self, text: str) -> None:
        """Something happened."""
        self.events.append(f"{now():7.1f} s  {text}")
        if not self.terminal:
            self.draw(Text(self.events[-1]))

    def sum_up(self, text: str) -> None:
        """How things stand."""
        line = Text(f"{now():7.1f} s  {text}", style="bold")
        self.draw(Group(*map(Text, self.events[-SHOWN:]), line) if self.terminal else line)

    @property
    def every_s(self) -> float:
        """Between two summaries."""
        return REDRAWN_S if self.terminal else LINE_EVERY_S


@contextmanager
def shown() -> Iterator[Screen]:
    with show.screen(live=True) as draw:
        yield Screen(draw, show.console().is_terminal)


def counted(counts: Counter[str]) -> str:
    """`200: 31, 429: 4`, in the order of the names."""
    return ", ".join(f"{name}: {count}" for name, count in sorted(counts.items())) or "none yet"
