"""What follows an attempt, by its outcome: the tables of outcomes and scopes, and what a request remembers."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Literal

import pytest

from sidecar.model.classes import Class, Scope
from sidecar.model.configured import SECOND_US, Target
from sidecar.model.outcomes import Outcome
from sidecar.model.words import Rest, Subject
from sidecar.pool.blame import SUSPICION_US
from sidecar.proxy.progress import FIRST_BACKOFF_S, LAST_BACKOFF_S, MOST_ATTEMPTS, Next
from tests.unit.pool.configs import config, key, pool, provider
from tests.unit.proxy.requests import (
    BAD,
    BLOCKED_HERE,
    BUSY,
    FORBIDDEN,
    INVALID,
    MINUTE,
    OK,
    TOO_LARGE,
    Request,
    outcome,
    request_of,
)

LIMITS = (Class.RATE_LIMIT_MINUTE, Class.RATE_LIMIT_DAY, Class.RATE_LIMIT_TOKENS)
FAULTS = (Class.OVERLOADED, Class.SERVER_ERROR, Class.TIMEOUT, Class.CONNECT)
KEY_SCOPES = (Scope.KEY, Scope.KEY_MODEL)
HOUR_US = 3600 * SECOND_US


# --- the tables ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("other", [True, False])
@pytest.mark.parametrize("scope", list(Scope))
@pytest.mark.parametrize("kind", [Class.OK, Class.BLOCKED])
async def test_answer_passes_and_rests_nothing_whatever_its_scope(kind: Class, scope: Scope, other: bool) -> None:
    request = await request_of()
    assert request.meets("k0", outcome(kind, scope, other, delay_s=30), 200) is Next.PASS
    assert request.reports.all == []


@pytest.mark.parametrize("scope", KEY_SCOPES)
@pytest.mark.parametrize("kind", [*LIMITS, Class.BILLING])
async def test_spent_quota_rests_the_account_and_the_next_key_is_asked(kind: Class, scope: Scope) -> None:
    """For all models or for this one. The key is not tried: once it has room again, it may be waited for."""
    request = await request_of()
    assert request.meets("k0", outcome(kind, scope, delay_s=7200), 429) is Next.AGAIN
    model = "m" if scope is Scope.KEY_MODEL else None
    assert request.reports.rests == [Rest(Subject("acc-k0", None, model), 7200 * SECOND_US, kind)]
    assert request.search.tried == set()
    assert not request.progress.over


@pytest.mark.parametrize("scope", KEY_SCOPES)
@pytest.mark.parametrize("kind", [*FAULTS, Class.BAD_REQUEST])
async def test_any_other_fault_of_a_key_rests_its_account(kind: Class, scope: Scope) -> None:
    request = await request_of()
    assert request.meets("k0", outcome(kind, scope), 500) is Next.AGAIN
    assert [rest.delay_us for rest in request.reports.rests] == [60 * SECOND_US]


@pytest.mark.parametrize(("scope", "model"), [(Scope.KEY, None), (Scope.KEY_MODEL, "m")])
@pytest.mark.parametrize("kind", [Class.INVALID_KEY, Class.PERMISSION])
async def test_refused_key_is_suspected_and_the_next_one_asked(kind: Class, scope: Scope, model: str | None) -> None:
    request = await request_of()
    assert request.meets("k0", outcome(kind, scope), 401) is Next.AGAIN
    assert request.reports.rests == [Rest(Subject("acc-k0", "fp-k0", model), SUSPICION_US, kind, proved=False)]
    assert request.search.tried == {(0, "k0")}


@pytest.mark.parametrize("kind", FAULTS)
async def test_fault_of_the_provider_goes_to_another_key_after_a_backoff(kind: Class) -> None:
    request = await request_of()
    assert request.meets("k0", outcome(kind, Scope.PROVIDER), 503) is Next.LATER
    assert (request.reports.rests, request.reports.clears) == ([], [])
    assert request.search.tried == request.progress.again == {(0, "k0")}
    assert not request.progress.over


@pytest.mark.parametrize("kind", [Class.OVERLOADED, Class.PERMISSION])
async def test_provider_that_no_key_helps_with_answers_itself(kind: Class) -> None:
    """An egress address or a region is refused: of this provider nothing more is asked."""
    request = await request_of()
    assert request.meets("k0", outcome(kind, Scope.PROVIDER, other=False), 403) is Next.PASS
    assert (request.reports.rests, request.reports.clears) == ([], [])
    assert request.progress.over


@pytest.mark.parametrize("kind", [Class.BAD_REQUEST, Class.PERMISSION])
async def test_fault_of_the_request_passes(kind: Class) -> None:
    request = await request_of()
    assert request.meets("k0", outcome(kind, Scope.REQUEST, other=False), 400) is Next.PASS
    assert request.reports.all == []


@pytest.mark.parametrize("kind", [Class.BAD_REQUEST, Class.PERMISSION])
async def test_fault_of_the_request_that_another_account_may_not_see_goes_there_once(kind: Class) -> None:
    request = await request_of()
    assert request.meets("k0", outcome(kind, Scope.REQUEST), 413) is Next.AGAIN
    assert request.reports.all == []
    assert request.progress.second_opinion
    assert request.search.tried == {(0, "k0")}


# --- how long it rests ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "delay_s", "until", "expected_s"),
    [
        (Class.RATE_LIMIT_MINUTE, None, None, 60),
        (Class.RATE_LIMIT_MINUTE, 0.174, None, 0.174),
        (Class.BILLING, None, None, 3600),
        (Class.RATE_LIMIT_DAY, None, "midnight", 8 * 3600),  # 16:00 in Los Angeles
        (Class.RATE_LIMIT_DAY, 35_645, "midnight", 35_645),
        (Class.BILLING, None, "month", 8 * 3600),  # the last day of the year there
    ],
)
async def test_rest_lasts_as_named_else_by_the_providers_zone(
    kind: Class, delay_s: float | None, until: Literal["midnight", "month"] | None, expected_s: float
) -> None:
    of = provider()
    there = type(of)(of.name, of.base_url, of.auth, of.dialects, zone="America/Los_Angeles")
    request = Request(config(pool(of=there)))
    request.meets("k0", outcome(kind, Scope.KEY, True, delay_s, until), 429)
    assert [rest.delay_us for rest in request.reports.rests] == [round(expected_s * SECOND_US)]


async def test_key_that_need_not_rest_is_not_asked_twice() -> None:
    """At `retry-after: 0` a single key would be asked twenty times without a pause."""
    request = await request_of(keys=1)
    assert request.meets("k0", outcome(Class.RATE_LIMIT_MINUTE, Scope.KEY, delay_s=0), 429) is Next.AGAIN
    assert request.pools.untried(request.search, 0) == 0
    assert not request.progress.try_again()


# --- blame ---------------------------------------------------------------------------------------------


PROVING = [OK, outcome(Class.BLOCKED, Scope.REQUEST, False), BAD, MINUTE, outcome(Class.BILLING, Scope.KEY, delay_s=9)]


@pytest.mark.parametrize("proof", PROVING)
@pytest.mark.parametrize("probe", [None, ""])
async def test_key_that_answers_otherwise_proves_those_that_refused(proof: Outcome, probe: str | None) -> None:
    """They are dead where a cheap call of the provider is known, which will tell when they work again."""
    request = await request_of(of=replace(provider(), probe=probe))
    request.meets("k0", INVALID, 401)
    request.meets("k1", INVALID, 401)
    request.meets("k2", proof, 200)
    proved = [rest for rest in request.reports.rests if rest.reason == "invalid_key" and rest.proved]
    assert proved == [
        Rest(Subject(f"acc-k{n}", f"fp-k{n}"), HOUR_US, "invalid_key", dead=probe is None) for n in range(2)
    ]


@pytest.mark.parametrize("kind", FAULTS)
async def test_fault_of_the_provider_proves_nothing(kind: Class) -> None:
    request = await request_of()
    request.meets("k0", INVALID, 401)
    request.meets("k1", outcome(kind, Scope.PROVIDER), 503)
    assert [rest.proved for rest in request.reports.rests] == [False]


async def test_second_refusal_takes_the_suspicion_back() -> None:
    request = await request_of()
    request.meets("k0", INVALID, 401)
    request.meets("k1", INVALID, 401)
    request.meets("k2", INVALID, 401)
    assert request.reports.clears == [Subject("acc-k0", "fp-k0")]
    assert len(request.reports.rests) == 1
    assert request.pools.untried(request.search, 0) == 0


async def test_only_key_of_a_pool_is_not_suspected() -> None:
    request = await request_of(keys=1)
    assert request.meets("k0", INVALID, 401) is Next.AGAIN
    assert request.reports.all == []


async def test_request_that_ends_takes_its_suspicion_back() -> None:
    """An unsafe request cannot be repeated after a broken connection: the key is not left resting for it."""
    request = await request_of(retry_safe=False)
    request.meets("k0", INVALID, 401)
    assert request.meets("k1", outcome(Class.SERVER_ERROR, Scope.PROVIDER), None) is Next.PASS
    assert request.reports.clears == [Subject("acc-k0", "fp-k0")]


async def test_suspicion_of_one_pool_is_taken_back_when_another_answers() -> None:
    """That one's key can prove nothing of this one's."""
    request = Request(config(pool("p", ["a", "b"]), pool("q", ["c"])), "p", "q")
    request.meets("a", INVALID, 401)
    assert request.meets("c", OK, 200, target=1) is Next.PASS
    assert request.reports.clears == [Subject("acc-a", "fp-a")]
    assert [rest.proved for rest in request.reports.rests] == [False]


async def test_refused_credential_is_not_tried_for_another_target() -> None:
    """Refused for all models, or in another pool under another id: it is the same secret."""
    twin = key("twin", "acc-k0")
    twin = type(twin)("twin", twin.secret, "fp-k0", twin.account)
    request = Request(
        config(pool("p", ["k0", "k1"]), pool("q", [twin, "k2"])), Target("p", "m"), Target("p", "n"), Target("q", "m")
    )
    request.meets("k0", INVALID, 401)
    assert request.search.tried == {(0, "k0"), (1, "k0"), (2, "twin")}


async def test_key_refused_for_a_model_is_tried_for_another_one() -> None:
    request = Request(config(pool(keys=2)), Target("p", "m"), Target("p", "n"))
    request.meets("k0", FORBIDDEN, 403)
    assert request.search.tried == {(0, "k0")}


async def test_permission_is_the_requests_after_three_accounts() -> None:
    """Further keys are not asked; nothing rests."""
    request = await request_of(keys=9)
    for n in range(2):
        request.meets(f"k{n}", FORBIDDEN, 403)
        assert not request.progress.over
    request.meets("k2", FORBIDDEN, 403)
    assert request.progress.over
    assert request.reports.clears == [Subject("acc-k0", "fp-k0", "m")]


async def test_model_that_three_accounts_may_not_use_leaves_the_routes_next_model() -> None:
    """A limit of 0 on one model is no reason to give up the same pool's other one."""
    targets = (Target("p", "large"), Target("p", "small"), Target("q", "large"))
    request = Request(config(pool("p", 9), pool("q", ["z"])), *targets)
    for n in range(3):
        request.meets(f"k{n}", FORBIDDEN, 403)
    assert request.search.closed == {0}
    request.meets("k0", FORBIDDEN, 403, target=1)
    assert request.search.closed == {0}


async def test_key_refused_by_three_accounts_for_all_models_closes_its_pool() -> None:
    request = Request(config(pool("p", 9), pool("q", ["z"])), Target("p", "m"), Target("p", "n"), "q")
    for n in range(3):
        request.meets(f"k{n}", outcome(Class.PERMISSION, Scope.KEY), 403)
    assert request.search.closed == {0, 1}
    assert not request.progress.over


# --- faults of the provider ----------------------------------------------------------------------------


async def test_max_attempts_closes_its_own_target() -> None:
    request = Request(config(pool("p", 9, max_attempts=2), pool("q", ["y", "z"], max_attempts=2)), "p", "q")
    assert request.meets("k0", BUSY) is Next.LATER
    assert request.meets("y", BUSY, target=1) is Next.LATER
    assert request.search.closed == set()
    request.meets("k1", BUSY)
    assert request.search.closed == {0}
    assert not request.progress.over
    request.meets("z", BUSY, target=1)
    assert request.progress.over


async def test_outcomes_that_rest_a_key_do_not_count_against_max_attempts() -> None:
    request = await request_of(keys=9, max_attempts=2)
    for n, met in enumerate((MINUTE, INVALID, MINUTE, MINUTE, BUSY)):
        request.meets(f"k{n}", met, 429)
    assert not request.progress.over


async def test_keys_that_met_a_fault_may_be_tried_again_once_all_were_tried() -> None:
    """Those that refused may not; asked twice without an attempt between, there is nothing to try again."""
    request = await request_of()
    request.meets("k0", BUSY)
    request.meets("k1", INVALID, 401)
    assert request.progress.try_again()
    assert request.search.tried == {(0, "k1")}
    assert not request.progress.try_again()
    request.meets("k0", BUSY)
    assert request.progress.try_again()


async def test_closed_targets_have_nothing_to_try_again() -> None:
    request = await request_of(max_attempts=1)
    request.meets("k0", BUSY)
    assert not request.progress.try_again()


async def test_backoff_doubles_to_a_bound_with_full_jitter(monkeypatch: pytest.MonkeyPatch) -> None:
    bounds: list[tuple[float, float]] = []

    def longest(low: float, high: float) -> float:
        bounds.append((low, high))
        return high

    monkeypatch.setattr("random.uniform", longest)
    request = await request_of(keys=9, max_attempts=9)
    for n in range(8):
        request.meets(f"k{n}", BUSY)
        assert request.progress.backoff_s == bounds[-1][1]
    assert bounds[:5] == [(0, FIRST_BACKOFF_S * factor) for factor in (1, 2, 4, 8, 16)]
    assert {high for _, high in bounds[5:]} == {LAST_BACKOFF_S}


async def test_refused_provider_is_closed_in_all_its_pools() -> None:
    """The next target of another provider is asked; after it there is none."""
    one, two = provider("one"), provider("two")
    request = Request(config(pool("p", 2, one), pool("q", ["c"], two), pool("r", ["d"], one)), "p", "q", "r")
    assert request.meets("k0", BLOCKED_HERE, 403) is Next.AGAIN
    assert request.search.closed == {0, 2}
    assert not request.progress.over
    assert request.meets("c", BLOCKED_HERE, 403, target=1) is Next.PASS
    assert request.progress.over


async def test_refusal_at_one_host_says_nothing_of_another() -> None:
    """As of two resources of Azure: the same API, each behind a firewall of its own."""
    here = provider("azure")
    there = replace(here, base_url="http://other.test")
    request = Request(config(pool("p", 2, here), pool("q", ["c"], there)), "p", "q")
    assert request.meets("k0", BLOCKED_HERE, 403) is Next.AGAIN
    assert request.search.closed == {0}


@pytest.mark.parametrize("met", [MINUTE, INVALID, BUSY])
async def test_twenty_attempts_at_a_target_are_enough(met: Outcome) -> None:
    """Then the next one has its turn."""
    pools = pool("p", 40, max_attempts=99, retry_budget=math.inf), pool("q", ["z"], provider("other"))
    request = Request(config(*pools), "p", "q")
    for n in range(MOST_ATTEMPTS):
        assert request.search.closed == set()
        request.meets(f"k{n}", met, 429)
    assert request.search.closed == {0}
    assert not request.progress.over
    for _ in range(MOST_ATTEMPTS):
        request.meets("z", met, 429, target=1)
    assert request.progress.over
    assert request.progress.attempts == len(request.progress.kinds) == 40


# --- a second opinion ----------------------------------------------------------------------------------


async def test_second_opinion_is_of_another_account() -> None:
    """Over all targets, also of keys that might have been tried again."""
    first, second = [key("a", "acme"), key("b", "acme"), key("c")], [key("d"), key("e", "acme")]
    request = Request(config(pool("p", first), pool("q", second)), "p", "q")
    request.meets("a", BUSY)
    request.meets("c", BUSY)
    request.meets("b", TOO_LARGE, 413)
    assert request.search.tried >= {(0, "a"), (0, "b"), (1, "e")}
    assert request.progress.try_again()
    assert request.search.tried == {(0, "a"), (0, "b"), (1, "e")}


@pytest.mark.parametrize("second", [TOO_LARGE, BAD, BUSY, INVALID, FORBIDDEN, MINUTE, BLOCKED_HERE])
async def test_second_opinion_that_is_no_answer_lets_the_first_pass(second: Outcome) -> None:
    """It is asked once; nobody is suspected for it, but a quota that it spent rests."""
    request = await request_of()
    request.meets("k0", TOO_LARGE, 413)
    assert request.meets("k1", second, 400) is Next.FIRST
    assert [rest.reason for rest in request.reports.rests] == (["rate_limit_minute"] if second is MINUTE else [])


@pytest.mark.parametrize("kind", [Class.OK, Class.BLOCKED])
async def test_second_opinion_that_answers_passes(kind: Class) -> None:
    request = await request_of()
    request.meets("k0", TOO_LARGE, 413)
    assert request.meets("k1", outcome(kind, Scope.REQUEST, False), 200) is Next.PASS
