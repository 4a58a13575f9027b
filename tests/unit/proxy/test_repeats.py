"""What may be done twice: by what an answer says of whether it was begun, and by what the call does."""

from __future__ import annotations

import pytest

from sidecar.model.classes import Class, Scope
from sidecar.model.outcomes import Outcome
from sidecar.proxy.progress import Next
from tests.unit.proxy.requests import BAD, BUSY, FORBIDDEN, INVALID, MINUTE, TOO_LARGE, outcome, request_of


@pytest.mark.parametrize(
    ("kind", "status", "executed"),
    [
        (Class.SERVER_ERROR, 500, True),
        (Class.OVERLOADED, 503, True),
        (Class.TIMEOUT, 504, True),
        (Class.SERVER_ERROR, None, True),
        (Class.TIMEOUT, None, True),
        (Class.CONNECT, None, False),
        (Class.OVERLOADED, 429, False),
        (Class.OVERLOADED, 529, False),
        (Class.PERMISSION, 403, False),
        (Class.INVALID_KEY, 401, False),
    ],
)
async def test_what_may_have_been_executed_is_repeated_only_where_that_is_safe(
    kind: Class, status: int | None, executed: bool
) -> None:
    met = outcome(kind, Scope.PROVIDER)
    assert (await request_of(retry_safe=True)).meets("k0", met, status) is Next.LATER
    unsafe = await request_of(retry_safe=False)
    assert unsafe.meets("k0", met, status) is (Next.PASS if executed else Next.LATER)
    allowed = await request_of(retry_safe=False, retry_unsafe=True)
    assert allowed.meets("k0", met, status) is Next.LATER


@pytest.mark.parametrize("met", [MINUTE, INVALID, FORBIDDEN, BUSY, TOO_LARGE, BAD, outcome(Class.BILLING, Scope.KEY)])
async def test_what_a_2xx_began_is_not_done_twice_whatever_it_says(met: Outcome) -> None:
    """An account that has to rests all the same, nobody is suspected."""
    unsafe = await request_of(retry_safe=False)
    assert unsafe.meets("k0", met, 200) is Next.PASS
    rests = [Class.RATE_LIMIT_MINUTE, Class.BILLING]
    assert [rest.reason for rest in unsafe.reports.rests] == ([met.kind] if met.kind in rests else [])
    for options in ({"retry_safe": True}, {"retry_safe": False, "retry_unsafe": True}):
        harmless = await request_of(**options)
        assert (harmless.meets("k0", met, 200) is Next.PASS) == (met is BAD)


async def test_nor_is_it_for_a_second_opinion() -> None:
    """The other account has begun, so that its answer is the truth about it."""
    request = await request_of(retry_safe=False)
    assert request.meets("k0", TOO_LARGE, 413) is Next.AGAIN
    assert request.meets("k1", MINUTE, 200) is Next.PASS
