"""Whose fault a refusal is: proof by another key, suspicions taken back, and when asking on teaches nothing."""

from __future__ import annotations

import pytest

from sidecar.model.classes import Class, Scope
from sidecar.model.words import Report, Rest, Subject
from sidecar.pool.blame import ENOUGH_KEYS, PROOFS, REFUSALS, SUSPICION_US, Blame, is_refusal

HOUR_US = 3_600_000_000


def key(n: int, model: str | None = None, account: int | None = None) -> Subject:
    return Subject(f"acc{n if account is None else account}", f"fp{n}", model)


def test_first_refusal_is_a_suspicion_that_rests_its_key_for_30_s() -> None:
    blame = Blame("r1")
    report = blame.refused(Class.INVALID_KEY, key(0), others=True)
    assert report == Report("r1", rests=(Rest(key(0), 30_000_000, "invalid_key", proved=False),))
    assert blame.suspicion == key(0)


def test_nothing_rests_where_no_other_key_could_prove_it() -> None:
    blame = Blame("r1")
    assert blame.refused(Class.INVALID_KEY, key(0), others=False) == Report("r1")
    assert blame.taken_back() == Report("r1")


def test_second_refusal_takes_the_suspicion_back_and_rests_nothing() -> None:
    """One bad request rests one key for one round trip, however many keys it meets."""
    blame = Blame("r1")
    blame.refused(Class.INVALID_KEY, key(0), others=True)
    assert blame.refused(Class.INVALID_KEY, key(1), others=True) == Report("r1", clears=(key(0),))
    assert blame.refused(Class.INVALID_KEY, key(2), others=True) == Report("r1")
    assert blame.refused(Class.INVALID_KEY, key(3), others=False) == Report("r1")
    assert blame.taken_back() == Report("r1")


def test_suspicion_is_taken_back_once() -> None:
    blame = Blame("r1")
    blame.refused(Class.PERMISSION, key(0, "m"), others=True)
    assert blame.taken_back() == Report("r1", clears=(key(0, "m"),))
    assert blame.taken_back() == Report("r1")


@pytest.mark.parametrize("probed", [True, False])
@pytest.mark.parametrize("refusals", [1, 2, 5])
def test_proof_rests_all_that_refused_for_as_long_as_told(refusals: int, probed: bool) -> None:
    """Also those that rested nothing meanwhile: each for what it said, of itself alone.

    An invalid key is dead where a cheap call can tell when it works again.
    """
    blame = Blame("r1")
    kinds = [Class.INVALID_KEY if n % 2 == 0 else Class.PERMISSION for n in range(refusals)]
    for n, kind in enumerate(kinds):
        blame.refused(kind, key(n), others=True)
    report = blame.proved(HOUR_US, probed)
    dead = [probed and kind is Class.INVALID_KEY for kind in kinds]
    assert report.rests == tuple(Rest(key(n), HOUR_US, kind, True, dead[n]) for n, kind in enumerate(kinds))
    assert report.clears == ()
    assert blame.taken_back() == Report("r1")
    assert blame.proved(HOUR_US, probed) == Report("r1")


def test_key_that_is_invalid_for_one_model_is_not_dead() -> None:
    """The cheap call asks for no model, so its success would say nothing of this one."""
    blame = Blame("r1")
    blame.refused(Class.INVALID_KEY, key(0, "m"), others=True)
    assert blame.proved(HOUR_US, probed=True).rests == (Rest(key(0, "m"), HOUR_US, "invalid_key"),)


def test_after_a_proof_suspicion_begins_anew() -> None:
    blame = Blame("r1")
    blame.refused(Class.INVALID_KEY, key(0), others=True)
    blame.proved(HOUR_US, probed=True)
    report = blame.refused(Class.INVALID_KEY, key(1), others=True)
    assert report.rests == (Rest(key(1), SUSPICION_US, "invalid_key", proved=False),)


def test_permission_is_the_requests_after_three_accounts() -> None:
    """Keys of one account say it once."""
    blame = Blame("r1")
    assert not blame.is_the_requests
    for n, account in enumerate([0, 0, 1, 1, 0]):
        blame.refused(Class.PERMISSION, key(n, "m", account), others=True)
        assert not blame.is_the_requests
    blame.refused(Class.PERMISSION, key(9, "m", 2), others=True)
    assert blame.is_the_requests


def test_refusals_of_one_model_say_nothing_of_another() -> None:
    """A request that falls back to another model is not judged by what the first model's refusals were."""
    blame = Blame("r1")
    for n in range(3):
        blame.refused(Class.PERMISSION, key(n, "large"), others=True)
    blame.refused(Class.PERMISSION, key(0, "small"), others=True)
    assert not blame.is_the_requests
    blame.refused(Class.PERMISSION, key(1), others=True)
    assert not blame.is_the_requests


def test_refusal_of_all_models_counts_for_each() -> None:
    blame = Blame("r1")
    for n in range(2):
        blame.refused(Class.PERMISSION, key(n), others=True)
    blame.refused(Class.PERMISSION, key(2, "m"), others=True)
    assert blame.is_the_requests


def test_invalid_key_is_the_requests_when_20_keys_agree() -> None:
    """The same key asked twice is one key."""
    blame = Blame("r1")
    for n in range(ENOUGH_KEYS - 1):
        blame.refused(Class.INVALID_KEY, key(n), others=True)
        blame.refused(Class.INVALID_KEY, key(n), others=True)
        assert not blame.is_the_requests
    blame.refused(Class.INVALID_KEY, key(99), others=True)
    assert blame.is_the_requests


def test_different_refusals_do_not_add_up() -> None:
    blame = Blame("r1")
    for n in range(ENOUGH_KEYS - 1):
        blame.refused(Class.INVALID_KEY, key(n), others=True)
    blame.refused(Class.PERMISSION, key(20), others=True)
    assert not blame.is_the_requests


def test_refusals_are_told_by_class_and_scope() -> None:
    """A 403 for a region is nobody's key's fault."""
    told = {(kind, scope) for kind in Class for scope in Scope if is_refusal(kind, scope)}
    assert told == {(kind, scope) for kind in REFUSALS for scope in (Scope.KEY, Scope.KEY_MODEL)}


def test_faults_of_the_provider_prove_nothing() -> None:
    """What may be said before the credential was looked at."""
    assert set(Class) - PROOFS - REFUSALS == {Class.OVERLOADED, Class.SERVER_ERROR, Class.TIMEOUT, Class.CONNECT}
