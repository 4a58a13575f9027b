"""Tables say the same with and without a terminal."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from sidecar.cli import show


@pytest.mark.parametrize(
    ("part", "whole", "filled", "style"),
    [(0, 10, 0, "green"), (5, 10, 10, "green"), (8, 10, 16, "yellow"), (10, 10, 20, "red"), (12, 10, 20, "red")],
)
def test_a_bar_fills_and_changes_its_colour(part: int, whole: int, filled: int, style: str) -> None:
    bar = show.bar(part, whole)
    assert bar.plain.count("█") == filled
    assert len(bar.plain) == show.BAR
    assert bar.spans[0].style == style or filled == 0


@pytest.mark.parametrize(("seconds", "text"), [(0.84, "0.8s"), (90, "1m30s"), (59.99, "60.0s"), (7260, "2h1m")])
def test_a_duration_is_as_exact_as_one_wants_to_read_it(seconds: float, text: str) -> None:
    assert show.duration(seconds) == text


def test_any_number_of_models_leaves_the_table_its_columns(capsys: pytest.CaptureFixture[str]) -> None:
    budget = {"unit": "requests", "per": "minute", "model": "", "used": 3, "max": 15, "enforced": True}
    key = {"id": "a", "budgets": [budget], "cooldowns": []}
    pool = {"keys": [key], "cooldowns": [], "total": [], "grants": {f"model-{number}": number for number in range(256)}}
    show.console().print(show.status({"namespace": "x", "replicas": 1, "pools": {"chat": pool}}))
    told = " ".join(capsys.readouterr().out.split())
    assert "chat a requests per minute 3/15" in told
    assert "model-255: 255" in told


def test_what_only_counts_and_what_the_pool_may_spend_as_a_whole_are_told_apart(
    capsys: pytest.CaptureFixture[str],
) -> None:
    counting = {"unit": "tokens", "per": "day", "model": "m*", "used": 30, "max": 20, "enforced": False}
    leases = {"unit": "concurrency", "per": "", "model": "", "used": 3, "max": 8, "enforced": True}
    total = {"unit": "requests", "per": "minute", "model": "", "used": 4, "max": 9, "enforced": True}
    key = {"id": "a", "budgets": [counting, leases], "cooldowns": []}
    pool = {"keys": [key], "cooldowns": [], "total": [total], "grants": {}}
    show.console().print(show.status({"namespace": "x", "replicas": 1, "pools": {"chat": pool}}))
    lines = [" ".join(line.replace("█", "").replace("·", "").split()) for line in capsys.readouterr().out.splitlines()]
    assert lines[2:] == [
        "chat a tokens per day for m* (counts only) 30/20",
        "concurrency 3/8",
        "chat all keys requests per minute 4/9",
    ]


def test_a_narrow_window_shows_why_a_key_rests() -> None:
    """The bars give way, and no moment is cut."""
    budget = {"unit": "requests", "per": "minute", "model": "", "used": 2, "max": 2, "enforced": True}
    off = {"since": "2026-11-21T08:54:30Z", "by": "somebody@somewhere"}
    key = {"id": "chat-1", "budgets": [budget], "cooldowns": [], "disabled": off}
    pool = {"keys": [key], "total": [], "cooldowns": [], "grants": {}}
    told = {"namespace": "x", "replicas": 1, "pools": {"chat": pool}}
    out = Console(width=80, file=io.StringIO())
    with out.capture() as shown:
        out.print(show.status(told, out.width))
    words = shown.get().split()
    assert {"2/2", "disabled", off["since"], off["by"]} <= set(words)
    assert "█" not in shown.get()


def test_what_the_cache_has_saved_is_told_once_it_was_asked() -> None:
    nothing = {"cache_hits": 0, "cache_misses": 0, "saved_input_tokens": 0, "saved_output_tokens": 0}
    some = {"cache_hits": 1, "cache_misses": 3, "saved_input_tokens": 12345, "saved_output_tokens": 6}
    told = {"namespace": "x", "replicas": 1, "pools": {}}
    assert show.status(told | {"cache": {"today": nothing, "total": nothing}}).caption is None
    assert show.status(told | {"cache": {"today": nothing, "total": some}}).caption == (
        "cache: today 0 of 0 requests, 0 input and 0 output tokens saved; "
        "in all 1 of 4 requests (25 %), 12,345 input and 6 output tokens saved"
    )


def test_a_narrow_window_leaves_out_tokens_that_nobody_counted() -> None:
    counts = dict.fromkeys(("attempts", "successes", "output_tokens", "cached_tokens", "reasoning_tokens"), 0)
    row = {"pool": "chat", "key": "chat-1", "requests": 7, "input_tokens": 72, "failures": {}, **counts}
    row["unserved"] = {"rate_limit_exceeded": 5}
    out = Console(width=80, file=io.StringIO())
    told = {"days": 1, "from": "x", "to": "x", "by": ["pool", "key"], "rows": [row], "total": row}
    with out.capture() as shown:
        out.print(show.usage(told, out.width))
    assert "chat chat-1 7 0 0 72 5 rate_limit_exceeded" in " ".join(shown.get().split())


def test_without_a_terminal_nothing_is_cut_or_coloured(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    with show.screen(live=True) as screen:
        screen(show.bar(1, 1))
        screen("x" * 150)
    told = capsys.readouterr().out
    assert "\x1b" not in told
    assert "x" * 150 in told
