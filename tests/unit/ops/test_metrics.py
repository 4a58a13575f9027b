"""Events become counters, and junk of clients becomes no label."""

from __future__ import annotations

import math
from dataclasses import replace

from prometheus_client import REGISTRY
from prometheus_client.exposition import generate_latest

import sidecar
from sidecar.model.events import KeptChanged, KeyChanged, KeyManaged, LimitsNamed, Reloaded, StoreChanged
from sidecar.model.labels import MOST_MODELS
from sidecar.model.outcomes import NamedLimit
from sidecar.model.words import Usage
from sidecar.ops.metrics import Metrics
from tests.unit.ops.worlds import CONFIG, answered, attempted, drifted


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(f"sidecar_{name}", labels)


def models(metrics: Metrics, name: str) -> set[str]:
    (family,) = (family for family in metrics.registry.collect() if family.name == f"sidecar_{name}")
    return {sample.labels["model"] for sample in family.samples}


def test_a_request_is_counted_and_timed() -> None:
    metrics = Metrics(CONFIG)
    metrics(answered())
    metrics(answered())
    assert value(metrics, "requests_total", pool="chat", model="small", client="web", outcome="ok") == 2
    assert value(metrics, "request_seconds_sum") == 2.5
    assert value(metrics, "wait_seconds_sum") == 1.0
    assert value(metrics, "acquire_seconds_count") == 2
    assert round(value(metrics, "overhead_seconds_sum") or 0, 6) == 0.1


def test_what_the_cache_was_to_a_request_is_counted_where_it_was_asked() -> None:
    metrics = Metrics(CONFIG)
    for cache in ("hit", "hit", "miss", "waited", ""):
        metrics(answered(cache=cache))
    counts = {name: value(metrics, "cache_requests_total", result=name) for name in ("hit", "miss", "waited", "")}
    assert counts == {"hit": 2, "miss": 1, "waited": 1, "": None}


def test_what_is_not_kept_any_more_is_shown_from_the_first_time_on() -> None:
    metrics = Metrics(CONFIG)
    assert value(metrics, "keeps", what="ids") is None
    for works in (False, True):
        metrics(KeptChanged("ids", works))
        assert value(metrics, "keeps", what="ids") == works
    assert value(metrics, "keeps", what="answers") is None


def test_a_duration_counts_in_each_bucket_that_it_does_not_exceed() -> None:
    metrics = Metrics(CONFIG)
    for first_byte_s in (0.005, 0.25, 0.250001, 9999.0):
        metrics(attempted(first_byte_s=first_byte_s))
    within = {le: value(metrics, "upstream_first_byte_seconds_bucket", le=le) for le in ("0.01", "0.25", "0.5", "+Inf")}
    assert within == {"0.01": 1, "0.25": 2, "0.5": 3, "+Inf": 4}


def test_a_request_that_asked_for_no_key_has_no_wait_and_no_overhead() -> None:
    metrics = Metrics(CONFIG)
    metrics(answered(attempts=0, acquire_s=0.0, waited_s=0.0, pool="", outcome="model_not_found", status=404))
    assert value(metrics, "request_seconds_count") == 1
    for name in ("acquire", "wait", "overhead"):
        assert value(metrics, f"{name}_seconds_count") == 0


def test_an_attempt_is_counted_with_its_tokens_by_kind() -> None:
    metrics = Metrics(CONFIG)
    metrics(attempted(usage=Usage(input=12, output=6, total=18, cached=3)))
    metrics(attempted(outcome="connect", status=None, first_byte_s=None))
    labels = {"pool": "chat", "key": "chat-1", "model": "small"}
    assert value(metrics, "attempts_total", **labels, outcome="ok") == 1
    assert value(metrics, "attempts_total", **labels, outcome="connect") == 1
    assert [value(metrics, "tokens_total", **labels, kind=kind) for kind in ("input", "output", "cached")] == [12, 6, 3]
    assert value(metrics, "tokens_total", **labels, kind="reasoning") is None
    assert value(metrics, "upstream_first_byte_seconds_count") == 1


def test_models_beyond_the_first_hundred_are_other() -> None:
    """The config's own are among the hundred, whenever they are first asked for."""
    metrics = Metrics(CONFIG)
    for number in range(MOST_MODELS + 20):
        metrics(attempted(model=f"model-{number}"))
    metrics(attempted(model="small"))
    assert len(models(metrics, "attempts") - {"other"}) == MOST_MODELS
    assert {"model-0", "small", "other"} <= models(metrics, "attempts")
    assert value(metrics, "attempts_total", pool="chat", key="chat-1", model="other", outcome="ok") == 21
    metrics(answered(model="model-3"))
    assert value(metrics, "requests_total", pool="chat", model="model-3", client="web", outcome="ok") == 1


def test_what_leads_to_no_pool_or_is_unknown_to_its_provider_makes_no_label() -> None:
    metrics = Metrics(CONFIG)
    for number in range(5):
        metrics(answered(pool="", model=f"junk-{number}", outcome="model_not_found", status=404))
        metrics(answered(pool=f"junk-{number}", model=f"junk-{number}", outcome="not_found", status=404))
        metrics(attempted(model=f"guess-{number}", outcome="bad_request", status=404))
    assert models(metrics, "requests") == {""}
    assert models(metrics, "attempts") == {"other"}


def test_a_refusal_without_a_pool_keeps_the_model_that_is_known() -> None:
    metrics = Metrics(CONFIG)
    metrics(answered(pool="", key="", attempts=0, outcome="rate_limit_exceeded", status=429))
    assert value(metrics, "requests_total", pool="", model="small", client="web", outcome="rate_limit_exceeded") == 1


def test_changes_of_state_are_counted() -> None:
    metrics = Metrics(CONFIG)
    for event in (
        StoreChanged(up=False),
        StoreChanged(up=True),
        StoreChanged(up=True, emptied=True),
        KeyChanged("chat", "chat-1", None, "invalid_key", 30.0, False, "r1"),
        KeyChanged("chat", "chat-1", None, "taken back", 0.0, False, "r1"),
        KeyManaged("chat", "chat-2", "disabled", "op"),
        KeyManaged("chat", "chat-1", "disabled", "op", elsewhere=True),  # counted there: the sum is how often it was
    ):
        metrics(event)
    for change in ("away", "back", "emptied"):
        assert value(metrics, "store_changes_total", change=change) == 1
    for key, change in (("chat-1", "suspected"), ("chat-1", "taken_back"), ("chat-2", "disabled")):
        assert value(metrics, "key_changes_total", pool="chat", key=key, change=change) == 1
    assert value(metrics, "key_changes_total", pool="chat", key="chat-1", change="disabled") is None


def test_a_death_is_counted_once_and_not_before_it_is_proved() -> None:
    metrics, counted = Metrics(CONFIG), {"pool": "chat", "key": "chat-1", "change": "invalid_key"}
    metrics(KeyChanged("chat", "chat-1", None, "invalid_key", 30.0, False, "r1"))
    assert value(metrics, "key_changes_total", **counted) is None
    metrics(KeyChanged("chat", "chat-1", None, "invalid_key", math.inf, True, "r1"))
    assert value(metrics, "key_changes_total", **counted) == 1
    assert value(metrics, "key_changes_total", **counted | {"change": "suspected"}) == 1


def test_a_rejected_config_is_counted_and_shown_until_one_is_taken() -> None:
    metrics = Metrics(CONFIG)
    assert value(metrics, "config_last_reload_successful") == 1
    metrics(Reloaded("file", problems=("bad",)))
    assert value(metrics, "config_last_reload_successful") == 0
    metrics(Reloaded("signal"))
    assert value(metrics, "config_last_reload_successful") == 1
    assert value(metrics, "config_reloads_total", result="rejected") == 1
    assert value(metrics, "config_reloads_total", result="ok") == 1


def test_a_pool_that_came_later_has_labels_and_one_that_went_keeps_its_own() -> None:
    """Its last requests end after it has gone."""
    metrics = Metrics(CONFIG)
    metrics.follow(replace(CONFIG, pools={"later": replace(CONFIG.pools["chat"], name="later", names_models=("new",))}))
    for pool, model in (("later", "new"), ("chat", "small")):
        metrics(answered(pool=pool, model=model))
        metrics(attempted(pool=pool, model=model))
        assert value(metrics, "requests_total", pool=pool, model=model, client="web", outcome="ok") == 1


def test_the_registry_is_its_own_and_tells_the_process_and_the_version() -> None:
    metrics = Metrics(CONFIG)
    metrics(answered())
    told = generate_latest(metrics.registry).decode()
    assert value(metrics, "build_info", version=sidecar.__version__) == 1
    assert "process_resident_memory_bytes " in told
    assert "python_info{" in told
    assert "_created" not in told
    assert not [family.name for family in REGISTRY.collect() if family.name.startswith("sidecar_")]


def test_drifts_are_counted_and_named_limits_shown_by_key_and_model() -> None:
    metrics = Metrics(CONFIG)
    named = NamedLimit("tokens", "minute", 900, 0)
    metrics(drifted(named=named))
    metrics(drifted(named=None))
    metrics(LimitsNamed("chat", "chat-2", "small", (replace(named, max=800), NamedLimit("requests", "", 50))))
    labels = {"pool": "chat", "key": "chat-1", "model": "small"}
    assert value(metrics, "key_drift_total", **labels) == 2
    assert value(metrics, "key_named_limit", **labels, limit="tokens/minute") == 900
    second = labels | {"key": "chat-2"}
    assert value(metrics, "key_named_limit", **second, limit="tokens/minute") == 800
    assert value(metrics, "key_named_limit", **second, limit="requests") == 50
    assert value(metrics, "key_drift_total", **second) is None
