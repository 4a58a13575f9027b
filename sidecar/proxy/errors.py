"""The sidecar's own answers: what went wrong before, instead of or after an attempt. The dialect writes the body."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from sidecar.model.classes import Class
from sidecar.model.configured import SECOND_US

STOPPED = "stopped"  # what the end of the sidecar made of a request
LONGEST_RETRY_AFTER_S = 86_400
LONGEST_RETRY_AFTER_US = LONGEST_RETRY_AFTER_S * SECOND_US
SHOULD_RETRY = "x-should-retry"  # `true` and `false` are obeyed by the SDKs of OpenAI and Anthropic (`_should_retry`)
SDKS_WAIT_S = 60  # of `Retry-After`; at more their older versions come back after a second or two all the same


class Refused(Exception):
    """The request ends with an error of the sidecar.

    `code` is for programs, and what metrics and the log line call it; the text is for people: it says what to do.
    The SDKs, which retry by themselves, are told to where it says when to come back and they would wait as long. All
    else is the request's fault, or was tried for as long as may be: two more tries of theirs would treble it.
    """

    def __init__(self, status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> None:
        message = message.encode("utf-8", "replace").decode()  # a header's bytes may be no text
        super().__init__(message)
        self.status, self.code, self.message = status, code, message
        self.headers = {SHOULD_RETRY: "false"} | dict(headers or {})
        if int(self.headers.get("Retry-After", SDKS_WAIT_S + 1)) <= SDKS_WAIT_S:
            self.headers[SHOULD_RETRY] = "true"


def retry_after(wait_us: int) -> dict[str, str]:
    """`Retry-After` in whole seconds, rounded up and at most a day, and the exact `retry-after-ms`."""
    wait_us = max(0, min(wait_us, LONGEST_RETRY_AFTER_US))
    return {
        "Retry-After": str(max(1, math.ceil(wait_us / SECOND_US))),
        "retry-after-ms": str(max(1, math.ceil(wait_us / 1000))),
    }


def bad_request(message: str) -> Refused:
    return Refused(400, "invalid_request", message)


def store_away(reason: str) -> Refused:
    return Refused(503, "store_unavailable", f"The sidecar's Redis cannot answer: {reason}", {"Retry-After": "1"})


def out_of_budget(wait_us: int) -> Refused:
    wait_s = math.ceil(wait_us / SECOND_US)
    message = f"Every key is out of budget or rests; the next has room in {wait_s} s."
    return Refused(429, "rate_limit_exceeded", message, retry_after(wait_us))


def more_keys(attempts: int) -> Refused:
    """Of a request that met as many keys as one may of a target, and no answer, while others are left."""
    message = f"{attempts} keys refused this request and others were not asked yet: ask again."
    return Refused(429, "rate_limit_exceeded", message, retry_after(SECOND_US))


def overloaded(wait_us: int) -> Refused:
    message = "The provider failed every request of late, so nobody asks it for a while; then one finds out."
    return Refused(503, "provider_overloaded", message, retry_after(max(wait_us, SECOND_US)))


def busy() -> Refused:
    message = "Every key has as many requests in flight as its concurrency allows, and none ended in time."
    return Refused(429, "rate_limit_exceeded", message, retry_after(SECOND_US))


def over_limit(client: str, wait_us: int) -> Refused:
    """A client has spent what it may, whatever the keys have."""
    wait_s = math.ceil(wait_us / SECOND_US)
    message = f'The client "{client}" has reached a limit of its own; it has room again in {wait_s} s.'
    return Refused(429, "client_limit_exceeded", message, retry_after(wait_us))


def crowded(client: str) -> Refused:
    message = f'The client "{client}" has as many requests in flight as it may, and none ended in time.'
    return Refused(429, "client_limit_exceeded", message, retry_after(SECOND_US))


def unanswered(kinds: Sequence[Class]) -> Refused:
    """Of a request to whose attempts no answer came, by what they came to."""
    if kinds and set(kinds) == {Class.TIMEOUT}:
        return Refused(504, "timeout", "The provider did not begin to answer within the pool's timeouts.")
    message = "The provider could not be reached, or broke off before it answered."
    return Refused(502, "upstream_unreachable", message)


def broken_off(*, timed_out: bool) -> Refused:
    """What the client of a stream is told that has begun, and does not come to its end."""
    if timed_out:
        return Refused(504, "timeout", "The provider's stream stalled, or took longer than the pool's timeout.")
    return Refused(502, "upstream_broken", "The provider's stream broke off before its end.")


def stopped(*, again: bool = True) -> Refused:
    """What a request is told that is still under way when the grace of a drain is over.

    `again`: whether its client may ask for the same again, at another replica or at the next process.
    """
    message = "The sidecar was stopped before the answer ended."
    if again:
        return Refused(503, STOPPED, message, {"Retry-After": "1"})
    return Refused(503, STOPPED, f"{message} The provider may have done what was asked: look before asking again.")
