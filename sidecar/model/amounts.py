"""What a request counts in each unit that a limit can have: by its provider's word, else by its estimate."""

from __future__ import annotations

from sidecar.model.words import Amounts, Estimate, Usage


def amounts(usage: Usage | None, estimate: Estimate) -> Amounts:
    """Requests, tokens, input tokens, output tokens; tokens and input tokens without input from the provider's cache.

    What the usage does not say keeps the estimate, as far as it fits into what it does say. Output is what the total
    has above the input, where that is more than was called output: Google (ai.google.dev/api/generate-content,
    `UsageMetadata`) and xAI count thoughts beside it, Google's OpenAI-compatible API in the total alone.
    """
    usage = usage or Usage()
    read, written = _parts(usage, estimate)
    cached = min(usage.cached or 0, read)
    return 1, read + written, read, written, read + written - cached, read - cached


def _parts(usage: Usage, estimate: Estimate) -> tuple[int, int]:
    """Input and output."""
    read, written, total = usage.input, usage.output, usage.total
    if total is None:
        return estimate.input if read is None else read, estimate.output if written is None else written
    if read is None:
        read = min(estimate.input, total) if written is None else max(0, total - written)
    return read, max(written or 0, total - read)
