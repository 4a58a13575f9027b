"""What a LiteLLM config comes to: deployments as keys and routes, and what of the rest is kept or named."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from sidecar.config.importing import Imported, imported, rendered
from sidecar.model.configured import Route, Secret, Target
from sidecar.proxy.route import find

from .conftest import SECRETS, Desk, load_imported, pools

LITELLM = """
model_list:
  - model_name: gpt-4o
    litellm_params:
      model: azure/gpt-4o-eu
      api_base: https://my-endpoint.openai.azure.com/
      api_key: os.environ/AZURE_API_KEY_EU
      rpm: 6
  - {model_name: gpt-4o, litellm_params: {model: gpt-4o, api_key: os.environ/OPENAI_API_KEY, rpm: 100, order: 2}}
  - {model_name: gpt-4o, litellm_params: {model: openai/gpt-4o, api_key: os.environ/OPENAI_B, rpm: 9, order: 2}}
  - {model_name: mini, litellm_params: {model: openai/gpt-4o-mini, rpm: 500}, model_info: {id: x}}
  - {model_name: qwen, litellm_params: {model: openai/Qwen/Qwen2.5, api_base: "http://10.0.0.7:8000/v1", api_key: no}}
  - {model_name: llama, litellm_params: {model: ollama/llama3}}
  - {model_name: "anthropic/*", litellm_params: {model: "anthropic/*", api_key: os.environ/ANTHROPIC_API_KEY}}
  - {model_name: "*", litellm_params: {model: "openrouter/*", api_key: sk-or-v1-A1b2C3d4}}
router_settings:
  fallbacks: [{gpt-4o: [qwen]}]
  model_group_alias: {gpt-4: gpt-4o, hidden: {model: mini, hidden: true}}
  num_retries: 2
  timeout: 30
  cooldown_time: 45
  redis_host: os.environ/REDIS_HOST
  redis_port: 6380
  redis_password: p@ss
general_settings: {master_key: sk-master-1}
environment_variables: {REDIS_HOST: cache.example}
"""


def test_litellm_deployments_are_pools_keys_and_routes(desk: Desk) -> None:
    made = imported(LITELLM, {})
    config = load_imported(desk, made)
    assert {name: (pool.provider.base_url, len(pool.keys)) for name, pool in config.pools.items()} == {
        "azure": ("https://my-endpoint.openai.azure.com/openai/v1", 1),
        "openai": ("https://api.openai.com/v1", 2),
        "10-0-0-7-8000": ("http://10.0.0.7:8000/v1", 1),
        "localhost-11434": ("http://localhost:11434/v1", 1),
        "anthropic": ("https://api.anthropic.com", 1),
        "openrouter": ("https://openrouter.ai/api/v1", 1),
    }
    own, other = config.pools["openai"].keys
    assert (own.models, other.models) == ((), ("gpt-4o",))
    assert [(limit.max, limit.model) for limit in config.budgets[own.account]] == [
        (100, "gpt-4o"),
        (500, "gpt-4o-mini"),
    ]
    chain = (Target("azure", "gpt-4o-eu"), Target("openai", "gpt-4o"), Target("10-0-0-7-8000", "Qwen/Qwen2.5"))
    assert (config.routes["gpt-4o"], config.routes["gpt-4"]) == (Route(chain), Route(chain))
    assert config.routes["hidden"] == Route((Target("openai", "gpt-4o-mini"),))
    assert not [name for name in config.routes if "*" in name]


def wildcards(*served: tuple[str, str], **settings: Any) -> Imported:
    """A config whose groups are served by these models."""
    models = [{"model_name": group, "litellm_params": {"model": model}} for group, model in served]
    return imported(json.dumps({"model_list": models} | settings), {})


OF_PROVIDERS = (("anthropic/*", "anthropic/*"), ("groq/*", "groq/*"))


@pytest.mark.parametrize("provider", ["openai", "openrouter"])
def test_litellm_wildcards_keep_their_own_providers(desk: Desk, provider: str) -> None:
    """Neither what has a prefix goes to the pool of all other names, nor those to a pool with a prefix."""
    made = wildcards(("*", f"{provider}/*"), *OF_PROVIDERS)
    config = load_imported(desk, made)
    for asked, target in (
        ("groq/llama-3.1-8b-instant", Target("groq", "llama-3.1-8b-instant")),
        ("anthropic/claude-sonnet-4-5", Target("anthropic", "claude-sonnet-4-5")),
        ("gpt-4o", Target(provider, "gpt-4o")),
        ("qwen/qwen3-32b", Target(provider, "qwen/qwen3-32b")),
    ):
        assert find(config, "anthropic" if target.pool == "anthropic" else "openai", asked).targets == (target,)
    assert find(config, "openai", None).targets == (Target(provider, ""),)
    assert made.notes == (
        'model "*": a route of it would take anthropic/NAME, groq/NAME from the pools of these names.'
        f' So {provider} serves all other names, by models: ["*"] of its keys.',
    )


def test_a_litellm_wildcard_that_no_other_hides_behind_is_a_route(desk: Desk) -> None:
    made = wildcards(("*", "openai/*"), ("claude-*", "anthropic/claude-*"))
    config = load_imported(desk, made)
    assert config.routes == {"*": Route((Target("openai", None),)), "claude-*": Route((Target("anthropic", None),))}
    assert made.notes == ()


@pytest.mark.parametrize(
    ("served", "settings", "told"),
    [
        (("*", "openai/gpt-4o"), {}, "so there is none. Write one for each name that it is to serve, such as"
         " gpt-4o: [{pool: openai, model: gpt-4o}]."),
        (("*", "ollama/*"), {}, "so there is none. Write one for each name that it is to serve, such as"
         " gpt-4o: [{pool: localhost-11434}]."),
        (("*", "openai/*"), {"router_settings": {"fallbacks": [{"*": ["mini"]}]}}, "So openai serves all other names,"
         ' by models: ["*"] of its keys, and no other: openai/gpt-4o-mini is left out.'),
    ],
)  # fmt: skip
def test_what_a_litellm_wildcard_loses_is_told(
    desk: Desk, served: tuple[str, str], settings: Mapping[str, Any], told: str
) -> None:
    """A model or a fallback of its own, and the names that a pool without keys cannot say that it serves."""
    made = wildcards(served, ("mini", "openai/gpt-4o-mini"), *OF_PROVIDERS, **settings)
    config = load_imported(desk, made)
    assert list(config.routes) == ["mini"]
    assert find(config, "openai", "groq/gemma").targets == (Target("groq", "gemma"),)
    assert [note for note in made.notes if note.endswith(told)]


@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize("other", [{"api_key": "os.environ/OPENAI_API_KEY"}, {}])
def test_a_litellm_key_gets_no_name_that_another_deployment_reads(
    desk: Desk, other: Mapping[str, str], order: int
) -> None:
    """Neither one that it names nor the one that its provider's keys are read from where it names none."""
    params: list[dict[str, str]] = [{"model": "openai/m", "api_key": SECRETS[0]}, {"model": "openai/m", **other}]
    models = [{"model_name": "m", "litellm_params": said} for said in params[::order]]
    made = imported(json.dumps({"model_list": models}), {})
    assert made.secrets == {"OPENAI_API_KEY_1": Secret(SECRETS[0])}
    found = load_imported(desk, made, {"OPENAI_API_KEY": "other"}).pools["openai"].keys
    assert [key.secret.reveal() for key in found] == [SECRETS[0], "other"][::order]


@pytest.mark.parametrize("named", [True, False])
def test_a_variable_that_the_litellm_config_sets_writes_over_no_key(desk: Desk, named: bool) -> None:
    """Whether it is a key's, or nothing reads it."""
    params = [{"model": "openai/m", "api_key": SECRETS[0]}, *([{"model": "openai/m"}] if named else [])]
    models = [{"model_name": "m", "litellm_params": said} for said in params]
    text = json.dumps({"model_list": models, "environment_variables": {"OPENAI_API_KEY": SECRETS[1]}})
    found = load_imported(desk, imported(text, {})).pools["openai"].keys
    assert [key.secret.reveal() for key in found] == list(SECRETS[: len(params)])


def test_litellm_settings_that_have_a_counterpart_are_kept(desk: Desk) -> None:
    made = imported(LITELLM, {})
    config = load_imported(desk, made)
    pool = config.pools["azure"]
    assert (pool.max_attempts, pool.timeout_s, pool.cooldowns.default_us) == (3, 30.0, 45_000_000)
    assert config.redis == "redis://:p%40ss@cache.example:6380/0"
    assert [(client.id, *client.secrets) for client in config.clients] == [("master", Secret("sk-master-1"))]
    assert not [word for word in ("p%40ss", "sk-master-1", "sk-or-v1-A1b2C3d4") if word in rendered(made.document)]


def test_litellm_settings_without_a_counterpart_are_named() -> None:
    more = "\n  routing_strategy: latency-based-routing\n  allowed_fails: 3"
    text = LITELLM.replace("router_settings:", f"router_settings:{more}")
    made = imported(text + "litellm_settings: {drop_params: true, callbacks: []}\nguardrails: []\n", {})
    told = "\n".join(made.notes)
    for part in (
        'no counterpart for routing_strategy "latency-based-routing"',
        'router_settings: no counterpart for "allowed_fails"',
        'litellm_settings: no counterpart for "drop_params", "callbacks"',
        'file: no counterpart for "guardrails"',
        "the master key is a client's here",
    ):
        assert part in told


@pytest.mark.parametrize(
    ("params", "strategy"),
    [({"weight": 3}, "weighted"), ({"order": 2}, "priority"), ({}, "least_used")],
)
def test_litellm_strategies(desk: Desk, params: Mapping[str, int], strategy: str) -> None:
    """What deployments of one pool say goes before the strategy of the router, and that is told."""
    models = [
        {"model_name": "m", "litellm_params": {"model": "openai/m", "api_key": "os.environ/A"}},
        {"model_name": "m", "litellm_params": {"model": "openai/m", "api_key": "os.environ/B"} | dict(params)},
    ]
    text = json.dumps({"model_list": models, "router_settings": {"routing_strategy": "usage-based-routing-v2"}})
    made = imported(text, {})
    config = load_imported(desk, made)
    assert (config.pools["openai"].strategy, config.warnings) == (strategy, ())
    has = f"pool openai: its deployments have {''.join(params)}s, so its strategy is {strategy}"
    assert made.notes == ((f"{has} and not the least_used of routing_strategy.",) if params else ())


@pytest.mark.parametrize("model", ["bedrock/anthropic.claude", "vertex_ai/gemini-pro", "azure/gpt-4", "mystery"])
def test_a_litellm_model_that_no_key_of_ours_opens_is_left_out_and_told(model: str) -> None:
    models = [
        {"model_name": "m", "litellm_params": {"model": "openai/m"}},
        {"model_name": "gone", "litellm_params": {"model": model}},
    ]
    made = imported(json.dumps({"model_list": models}), {})
    assert list(pools(made)) == ["openai"]
    assert made.notes == (f'model "gone": no pool can be made for "{model}", so it is left out.',)


@pytest.mark.parametrize("group", ["a", "b"])
def test_deployments_that_share_a_key_share_its_lowest_limit(group: str) -> None:
    """Those of one model group, which differ in order, and those of two: that they differ is told."""
    models = [
        {"model_name": name, "litellm_params": {"model": "openai/m", "rpm": rpm, "tpm": 7, "order": order}}
        for name, rpm, order in (("a", 9, 1), (group, 4, 2))
    ]
    made = imported(json.dumps({"model_list": models}), {})
    (key,) = pools(made)["openai"]["keys"]
    assert key["limits"] == [
        {"requests": 4, "per": "minute", "model": "m"},
        {"tokens": 7, "per": "minute", "model": "m"},
    ]
    told = [note for note in made.notes if "requests per minute for m" in note]
    assert told == [
        "pool openai, key ${OPENAI_API_KEY}: its deployments differ in requests per minute for m,"
        " which is a key's here. The lowest, 4, holds."
    ]
    assert not [note for note in made.notes if "tokens" in note]


def shuffled(*groups: Mapping[str, Mapping[str, Any]], strategy: str = "simple-shuffle") -> Imported:
    """A model for each group, whose deployments are the variables of their keys and their parameters."""
    models = [
        {"model_name": f"m{at}", "litellm_params": {"model": f"openai/m{at}", "api_key": f"os.environ/{key}", **params}}
        for at, group in enumerate(groups)
        for key, params in group.items()
    ]
    return imported(json.dumps({"model_list": models, "router_settings": {"routing_strategy": strategy}}), {})


@pytest.mark.parametrize(
    ("groups", "weights"),
    [
        ([{"A": {"rpm": 600}, "B": {"rpm": 200}}], [3, 1]),
        ([{"A": {"tpm": 3_000_000, "rpm": 9}, "B": {"rpm": 6}}], [3, 2]),
        ([{"A": {"tpm": 1.5}, "B": {"tpm": 1}}], [3, 2]),
        ([{"A": {"rpm": 100}, "B": {"rpm": 50}}, {"A": {"tpm": 4}, "B": {"tpm": 2}}, {"B": {"rpm": 9}}], [2, 1]),
    ],
)
def test_rates_by_which_litellm_picks_are_weights(
    desk: Desk, groups: list[Mapping[str, Mapping[str, Any]]], weights: list[int]
) -> None:
    """Of several models in one ratio too; one that only one key serves says nothing of the ratio."""
    made = shuffled(*groups)
    pool = load_imported(desk, made).pools["openai"]
    assert (pool.strategy, [key.weight for key in pool.keys]) == ("weighted", weights)
    assert made.notes == ()


@pytest.mark.parametrize(
    "groups",
    [
        [{"A": {"rpm": 6}, "B": {"rpm": 2}}, {"A": {"rpm": 1}, "B": {"rpm": 1}}],
        [{"A": {"rpm": 6}, "B": {"rpm": 2}}, {"A": {}, "B": {"rpm": 3}}],
        [{"A": {"rpm": 6}, "B": {"tpm": 2}}],
        [{"A": {"rpm": 6}, "B": {"rpm": 2}, "C": {"order": 2}}],
    ],
)
def test_rates_that_no_weights_come_to_are_told(desk: Desk, groups: list[Mapping[str, Mapping[str, Any]]]) -> None:
    """Two ratios, one key that LiteLLM would never pick, and a pool that has priorities."""
    made = shuffled(*groups)
    pool = load_imported(desk, made).pools["openai"]
    assert {key.weight for key in pool.keys} == {1}
    assert made.notes == (
        "pool openai: LiteLLM picks its deployments by rpm or tpm, in a ratio that no weights of keys come to."
        " Here keys take turns, each within its limits.",
    )


def test_rates_by_which_litellm_does_not_pick_are_limits_alone(desk: Desk) -> None:
    """The first deployment's lack of one, equal ones, and another strategy."""
    uneven = {"A": {"rpm": 6}, "B": {"rpm": 2}}
    for made, strategy in (
        (shuffled({"A": {}, "B": {"rpm": 2}}), "round_robin"),
        (shuffled({"A": {"rpm": 2}, "B": {"rpm": 2}}), "round_robin"),
        (shuffled(uneven, strategy="usage-based-routing"), "least_used"),
    ):
        assert (load_imported(desk, made).pools["openai"].strategy, made.notes) == (strategy, ())


def test_everything_that_litellm_has_and_we_have_not_is_named() -> None:
    """Also of a shape that nobody reads, and without repeating what may be a key."""
    params = {"model": "openai/m", "weight": 0, "order": "first", "tags": [], "region": "eu"}
    data = {
        "model_list": [
            {"model_name": "m", "litellm_params": params, "model_info": {"id": "x"}},
            {"model_name": "m", "litellm_params": {"model": "openai/m"}, "model_info": {}},
            "sk-A1b2C3d4",
        ],
        "router_settings": {"num_retries": "os.environ/R", "timeout": 0, "cooldown_time": "5"},
        "general_settings": ["x"],
    }
    made = imported(json.dumps(data), {})
    assert made.notes == (
        'model "m": no counterpart for "region", "model_info".',
        'model "m": "order" holds no number that can be read, so it is left out.',
        'model "m": LiteLLM never picks it, with the weight 0. Here its key has turns like others.',
        "model_list[2]: is no mapping, so it is left out.",
        "general_settings: is no mapping, so it is left out.",
        'router_settings: no counterpart for the value of "num_retries", the value of "timeout".',
    )
    assert pools(made)["openai"]["cooldown"] == {"default": "5s"}


def deployment(group: str, model: str, **params: Any) -> dict[str, Any]:
    return {
        "model_name": group,
        "litellm_params": {"model": model, "api_key": f"os.environ/{model[:3].upper()}"} | params,
    }


@pytest.mark.parametrize(
    ("params", "shares"),
    [
        (({"weight": 0.7}, {"weight": 0.3}), (7, 3)),
        (({"rpm": 600}, {"rpm": 200, "tpm": 9}), (3, 1)),
        (({}, {}), (1, 1)),
        (({"weight": 100_000}, {"weight": 1}), (1000, 1)),
        (({"weight": 2}, {}), None),
        (({}, {"order": 2}), (0, 0)),
    ],
)
def test_deployments_of_several_pools_share_as_litellm_picks_them(
    desk: Desk, params: tuple[dict[str, Any], dict[str, Any]], shares: tuple[int, int] | None
) -> None:
    """Where it never picks one, or picks otherwise than at random, they are tried in their order, which is told."""
    models = [deployment("m", "openai/a", **params[0]), deployment("m", "groq/b", **params[1])]
    made = imported(json.dumps({"model_list": models}), {})
    found = load_imported(desk, made).routes["m"].targets
    assert [(one.pool, one.weight) for one in found] == list(zip(("openai", "groq"), shares or (0, 0), strict=True))
    assert any("spreads calls over its deployments" in note for note in made.notes) == (shares is None)


def test_what_is_fallen_back_to_shares_as_it_did_but_not_with_what_is_before_it(desk: Desk) -> None:
    """Another model group, or a later order of its own; what a route has already stands there once."""
    models = [deployment(group, model) for group in ("m", "n") for model in (f"openai/{group}", f"groq/{group}")]
    models[2]["litellm_params"]["weight"], models[3]["litellm_params"]["weight"] = 3, 1
    models += [deployment("m", f"{name}/later", order=2) for name in ("openai", "groq")]
    models += [deployment("one", "openai/n"), deployment("two", "openai/m")]
    fallbacks = [{"m": ["n"]}, {"one": ["n"]}, {"two": ["n"]}]
    made = imported(json.dumps({"model_list": models, "router_settings": {"fallbacks": fallbacks}}), {})
    assert not any("spreads calls" in note for note in made.notes)
    routes = load_imported(desk, made).routes
    assert [(one.group, one.model, one.weight) for one in routes["m"].targets] == [
        (1, "m", 1), (1, "m", 1), (2, "later", 1), (2, "later", 1), (3, "n", 3), (3, "n", 1)
    ]  # fmt: skip
    assert [(one.group, one.pool, one.weight) for one in routes["one"].targets] == [(0, "openai", 0), (0, "groq", 0)]
    assert [(one.group, one.weight) for one in routes["two"].targets] == [(0, 0), (1, 3), (1, 1)]


def test_fallbacks_on_what_a_request_is_are_the_routes(desk: Desk) -> None:
    """They stand behind the others, and serve what those cannot, too."""
    models = [deployment(name, f"openai/{name}") for name in ("small", "other", "long")]
    settings = {
        "fallbacks": [{"small": ["other"]}],
        "context_window_fallbacks": [{"small": ["long"]}, {"gone": ["long"]}],
        "content_policy_fallbacks": {"small": ["other"]},
        "model_group_alias": {"tiny": "small"},
    }
    made = imported(json.dumps({"model_list": models, "litellm_settings": settings}), {})
    routes = load_imported(desk, made).routes
    for name in ("small", "tiny"):
        assert [one.model for one in routes[name].targets] == ["small", "other", "long"]
        assert routes[name].fallback_on == {"context_too_long", "blocked"}
    assert routes["other"].fallback_on == frozenset()
    assert made.notes == (
        'context_window_fallbacks of "small": "long" also serves it where nobody before it can.',
        'context_window_fallbacks of "gone": "gone" is no model of the list.',
    )


@pytest.mark.parametrize(
    ("settings", "cache", "told"),
    [
        ({"cache": True}, {"ttl": "10m"}, ""),
        ({"cache": True, "cache_params": {"type": "redis", "ttl": 90}}, {"ttl": "90s"}, ""),
        ({"cache": True, "cache_params": {"type": "s3", "s3_bucket_name": "b"}}, {"ttl": "10m"}, 'not in "s3"'),
        ({"cache": True, "cache_params": {"mode": "default_off"}}, None, "default_off"),
        ({"cache": False, "cache_params": {"ttl": 90}}, None, ""),
        (
            {"cache": True, "cache_params": {"host": "cache.example", "password": "p@ssw0rd-1"}},
            {"ttl": "10m", "redis": "redis://:${CACHE_REDIS_PASSWORD}@cache.example:6379/0"},
            "",
        ),
    ],
)
def test_a_litellm_cache_is_one(desk: Desk, settings: dict[str, Any], cache: object, told: str) -> None:
    made = imported(json.dumps({"model_list": [deployment("m", "openai/m")], "litellm_settings": settings}), {})
    assert made.document.get("cache") == cache
    assert told in "\n".join(made.notes)
    assert "p@ssw0rd" not in rendered(made.document)
    assert (load_imported(desk, made).cache is None) == (cache is None)
