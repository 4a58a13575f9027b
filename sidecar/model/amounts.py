"""What a request counts in each unit that a limit can have: by its provider's word, else by its estimate."""

from __future__ import annotations

from dataclasses import replace

from sidecar.model.words import Amounts, Estimate, Usage


def amounts(usage: Usage | None, estimate: Estimate) -> Amounts:
    """Requests, tokens, input tokens, output tokens; tokens and input tokens without input from the provider's cache.

    What the usage does not say keeps the estimate, as far as it fits into what it does say. Output is all that was
    written, thoughts with it.
    """
    usage = usage or Usage()
    read, written = _parts(usage, estimate)
    cached = min(usage.cached or 0, read)
    return 1, read + written, read, written, read + written - cached, read - cached


def no_less(usage: Usage | None, estimate: Estimate) -> Usage:
    """Of an answer without its end, whoever left it: what it has told by then is not all that was written.

    Anthropic's streams begin with `output_tokens: 1` (`message_start`), and say the rest at their end.
    """
    usage = usage or Usage()
    return replace(usage, output=max(usage.written or 0, estimate.output), total=None)


def _parts(usage: Usage, estimate: Estimate) -> tuple[int, int]:
    """Input and output."""
    read, written, total = usage.input, usage.output, usage.total
    if total is None:
        return estimate.input if read is None else read, estimate.output if written is None else written
    if read is None:
        read = min(estimate.input, total) if written is None else max(0, total - written)
    return read, replace(usage, input=read).written or 0
