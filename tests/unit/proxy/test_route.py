"""Which targets serve a call: routes, then names in front, then bare names; and what a 404 says."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sidecar.model.configured import Client, Config, Parameters, Route, Target
from sidecar.proxy.errors import Refused
from sidecar.proxy.route import SHOWN, bare, choose, find, named
from tests.unit.pool.configs import config, key, pool, provider

GEMINI = provider("gemini", "gemini", "openai")
OPENAI = provider("openai", "openai")
ANTHROPIC = provider("anthropic", "anthropic")

ROUTES = {
    "gpt-4": (Target("chat", "gemini-2.0-flash"), Target("spare", "gpt-4o")),
    "claude-*": (Target("chat", "gemini-2.0-flash"),),
    "claude-opus-*": (Target("own", None), Target("chat", "gemini-2.5-pro")),
    "claude-opus-4": (Target("own", "claude-opus-4-1"),),
    "*-embed": (Target("spare", None),),
}


def world(routes: dict[str, tuple[Target, ...]] | None = None) -> Config:
    """Three providers; `second` is another pool of the second one."""
    return config(
        pool("chat", 2, GEMINI, names_models=("gemini-2.0-flash", "gemini-2.5-pro")),
        pool("spare", 2, OPENAI, names_models=("gpt-4o", "o3*")),
        pool("second", ["s"], OPENAI, names_models=("gpt-4o", "davinci")),
        pool("own", ["a"], ANTHROPIC),
        routes={name: Route(to) for name, to in (ROUTES if routes is None else routes).items()},
    )


def found(model: str | None, dialect: str = "openai", of: Config | None = None) -> list[tuple[str, str | None]]:
    return [(target.pool, target.model) for target in find(of or world(), dialect, model).targets]


def refused(model: str | None, dialect: str = "openai", of: Config | None = None) -> Refused:
    with pytest.raises(Refused) as raised:
        find(of or world(), dialect, model)
    assert raised.value.status == 404
    return raised.value


# --- names as Google writes them -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "dialect", "pool", "name"),
    [
        ("models/gemini-3", "gemini", None, "gemini-3"),
        ("models/a-claude", "openai", None, "a-claude"),
        ("models/x-embed", "openai", None, "models/x-embed"),
        ("models/gpt-4", "anthropic", None, "models/gpt-4"),
        ("models/gemini-3", "plain", "chat", "gemini-3"),
        ("models/gpt-4", "plain", "spare", "models/gpt-4"),
        ("gemini-3", "gemini", None, "gemini-3"),
        ("models/unknown", "openai", None, "models/unknown"),
    ],
)
def test_a_name_is_without_its_collection_where_it_leads_to_google(
    model: str, dialect: str, pool: str | None, name: str
) -> None:
    """Another API may have a model that is called so."""
    of = world(ROUTES | {"models/a-*": (Target("chat", None),)})
    assert bare(of, dialect, pool, model) == name


def test_at_google_a_target_is_without_its_collection() -> None:
    """Else its limits would not know it. Elsewhere it is as it is written."""
    routes = {"*": (Target("chat", None), Target("spare", None)), "a": (Target("chat", "models/gemini-2.0-flash"),)}
    assert found("models/x", of=world(routes)) == [("chat", "x"), ("spare", "models/x")]
    assert found("a", of=world(routes)) == [("chat", "gemini-2.0-flash")]
    assert found("chat/models/gemini-2.5-pro") == [("chat", "gemini-2.5-pro")]


# --- routes --------------------------------------------------------------------------------------------


def test_route_of_the_exact_name_gives_its_targets_in_order() -> None:
    assert found("gpt-4") == [("chat", "gemini-2.0-flash"), ("spare", "gpt-4o")]


def test_exact_name_goes_before_patterns_and_the_longest_pattern_before_the_others() -> None:
    assert found("claude-opus-4", "anthropic") == [("own", "claude-opus-4-1")]
    assert found("claude-opus-5", "anthropic") == [("own", "claude-opus-5")]
    assert found("claude-haiku") == [("chat", "gemini-2.0-flash")]


def test_target_without_a_model_takes_the_clients_name() -> None:
    assert found("text-embed") == [("spare", "text-embed")]


def test_route_goes_before_a_prefix_and_a_bare_name() -> None:
    everything = world({"*": (Target("own", None), Target("chat", "gemini-2.0-flash"))})
    assert found("chat/gemini-2.5-pro", of=everything) == [("chat", "gemini-2.0-flash")]
    assert found("gpt-4o", of=everything) == [("chat", "gemini-2.0-flash")]


def test_targets_that_do_not_speak_the_dialect_are_skipped() -> None:
    assert found("claude-opus-5", "openai") == [("chat", "gemini-2.5-pro")]
    assert found("gpt-4", "gemini") == [("chat", "gemini-2.0-flash")]


def test_request_for_which_no_target_is_left_is_told_why() -> None:
    error = refused("gpt-4", "anthropic")
    assert error.code == "model_not_found"
    assert error.message == (
        '"gpt-4" cannot be served: pool chat does not speak the anthropic dialect; '
        "pool spare does not speak the anthropic dialect."
    )


# --- names in front ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("spare/gpt-4.1", ("spare", "gpt-4.1")),
        ("second/gpt-4o", ("second", "gpt-4o")),
        ("openai/whatever", ("spare", "whatever")),  # a provider: its first pool
        ("gemini/models/gemini-x", ("chat", "gemini-x")),
        ("chat/spare/x", ("chat", "spare/x")),
        ("spare/meta-llama/Llama-3", ("spare", "meta-llama/Llama-3")),
    ],
)
def test_prefix_is_a_pool_else_a_provider(model: str, expected: tuple[str, str]) -> None:
    assert found(model) == [expected]


def test_pool_goes_before_a_provider_of_the_same_name() -> None:
    same = config(pool("first", 1, provider("acme")), pool("acme", 1, OPENAI))
    assert found("acme/x", of=same) == [("acme", "x")]


@pytest.mark.parametrize("model", ["nobody/x", "spare/", "/x", "spare"])
def test_what_is_no_prefix_is_a_bare_name(model: str) -> None:
    only = config(pool("spare", 1, OPENAI))
    assert found(model, of=only) == [("spare", model)]


def test_prefix_of_a_pool_that_does_not_speak_the_dialect_is_told_why() -> None:
    assert "pool own" in refused("own/claude").message


# --- bare names ----------------------------------------------------------------------------------------


def test_bare_name_goes_to_the_first_pool_that_names_it() -> None:
    assert found("gpt-4o") == [("spare", "gpt-4o")]
    assert found("o3-mini") == [("spare", "o3-mini")]
    assert found("davinci") == [("second", "davinci")]
    assert found("gemini-2.5-pro") == [("chat", "gemini-2.5-pro")]


def test_pool_that_names_it_but_cannot_serve_it_is_passed_over() -> None:
    """It speaks another dialect, or none of its keys may serve the model."""
    told = config(
        pool("silent", 1, ANTHROPIC, names_models=("m",)),
        pool("keyless", [key("k", models=["other"])], OPENAI, names_models=("m",)),
        pool("able", 1, OPENAI, names_models=("m",)),
    )
    assert found("m", of=told) == [("able", "m")]


def test_name_that_belongs_elsewhere_is_not_sent_to_the_only_pool_of_the_dialect() -> None:
    error = refused("gpt-4o", "anthropic")
    assert "pool spare does not speak the anthropic dialect" in error.message


def test_unnamed_model_goes_to_the_only_pool_whose_own_dialect_it_is() -> None:
    """Another provider's compatible endpoint does not make it ambiguous."""
    assert found("claude-instant", "anthropic", config(pool("own", 1, ANTHROPIC))) == [("own", "claude-instant")]
    assert found("new", "gemini") == [("chat", "new")]
    assert found("new", of=config(pool("chat", 1, GEMINI), pool("spare", 1, OPENAI))) == [("spare", "new")]
    assert found("new", of=config(pool("chat", 1, GEMINI))) == [("chat", "new")]


def test_unnamed_model_of_several_pools_is_unknown() -> None:
    refused("new")
    refused("new", of=config(pool("a", 1, GEMINI), pool("b", 1, GEMINI)))


def test_model_that_no_key_may_serve_is_told_why() -> None:
    listed = config(pool("p", [key("a", models=["gpt-4o*"])], OPENAI))
    assert found("gpt-4o-mini", of=listed) == [("p", "gpt-4o-mini")]
    assert "no key of pool p may serve o3" in refused("o3", of=listed).message


# --- where a name leads ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "by"),
    [
        ("claude-haiku", 'route "claude-*"'),
        ("chat/anything", "the name of a pool in front"),
        ("openai/gpt-4o", "the name of a provider in front"),
        ("o3-mini", "a pool that names this model"),
        ("new", "the only pool of the gemini dialect"),
    ],
)
def test_what_leads_a_name_where_it_goes_is_told(model: str, by: str) -> None:
    assert choose(world(), "gemini" if model == "new" else "openai", model).by == by


def test_targets_that_are_left_out_keep_their_place_with_the_reason() -> None:
    choice = choose(world(), "openai", "claude-opus-5")
    assert [(one.target.pool, one.why_not) for one in choice.candidates] == [
        ("own", "pool own does not speak the openai dialect"),
        ("chat", ""),
    ]
    assert choice.targets == (Target("chat", "gemini-2.5-pro"),)


# --- calls without a model -----------------------------------------------------------------------------


def test_call_without_a_model_goes_to_the_first_pool_of_the_dialect() -> None:
    """One whose own dialect it is, before one that is only compatible."""
    assert found(None) == [("spare", "")]
    assert found(None, "gemini") == [("chat", "")]
    assert found(None, of=config(pool("chat", 1, GEMINI))) == [("chat", "")]


def test_call_without_a_model_passes_pools_whose_keys_all_list_theirs() -> None:
    listed = pool("listed", [key("a", models=["gpt-4o"])], OPENAI)
    assert found(None, of=config(listed, pool("open", 1, OPENAI))) == [("open", "")]
    assert "pool listed" in refused(None, of=config(listed)).message


def test_call_without_a_model_where_nobody_speaks_the_dialect_is_told_the_pools() -> None:
    error = refused(None, "gemini", config(pool("spare", 1, OPENAI), pool("own", 1, ANTHROPIC)))
    assert error.code == "not_found"
    assert all(word in error.message for word in ("gemini dialect", "spare, own", "/pools/<pool>/<path>"))


# --- what can be asked for -----------------------------------------------------------------------------


def test_unknown_model_is_told_what_exists_and_what_is_near() -> None:
    error = refused("gpt-4p")
    assert error.code == "model_not_found"
    assert 'No route or pool serves "gpt-4p". Did you mean "gpt-4"? Served: gpt-4, claude-*,' in error.message
    assert "chat/*, spare/*" in error.message
    assert "davinci" in error.message


def test_unknown_model_is_told_only_what_its_callers_dialect_can_ask_for() -> None:
    pools = (pool("own", 1, ANTHROPIC), pool("more", 1, ANTHROPIC), pool("spare", 1, OPENAI, names_models=("gpt-4o",)))
    routes = {"fast": Route((Target("own", None),)), "slow": Route((Target("spare", None),))}
    of = config(*pools, routes=routes)
    assert (
        refused("claude", "anthropic", of).message == 'No route or pool serves "claude". Served: fast, own/*, more/*.'
    )
    assert "no pool speaks the gemini dialect. Pools: own, more, spare." in refused("fast-1", "gemini", of).message


def test_nearest_name_may_be_a_pools_model_and_nothing_near_is_guessed() -> None:
    assert 'Did you mean "davinci"?' in refused("davinchi").message
    assert "Did you mean" not in refused("zzzzzz").message


def test_long_lists_are_cut() -> None:
    many = config(*(pool(f"p{n}", [f"k{n}"], OPENAI) for n in range(50)))
    message = refused("x", of=many).message
    assert message.endswith(", ...."), message
    assert message.count("/*") == SHOWN


def listed(dialect: str = "openai", *models: str, of: Config | None = None) -> tuple[str, ...]:
    """`models`: those of the client."""
    return named(of or world(), dialect, Client("web", models=models))


def test_names_are_routes_and_models_that_the_dialect_can_have() -> None:
    """Without patterns, each once."""
    assert listed() == ("gpt-4", "gemini-2.0-flash", "gemini-2.5-pro", "gpt-4o", "davinci")
    assert listed("gemini") == ("gpt-4", "gemini-2.0-flash", "gemini-2.5-pro")
    assert listed("anthropic") == ("claude-opus-4",)
    assert listed(of=config()) == ()


FLASH, GPT_4O, PRO = Target("chat", "gemini-2.0-flash"), Target("spare", "gpt-4o"), Target("chat", "gemini-2.5-pro")


@pytest.mark.parametrize(
    ("routes", "names"),
    [
        ({"*": (FLASH, GPT_4O)}, ("gemini-2.0-flash",)),
        ({"gpt-*": (FLASH,)}, ("gemini-2.0-flash", "gemini-2.5-pro", "davinci")),
        ({"g*": (Target("spare", None),)}, ("gemini-2.0-flash", "gemini-2.5-pro", "gpt-4o", "davinci")),
        ({"*": (replace(FLASH, weight=9), replace(PRO, weight=1), GPT_4O)}, ()),
        ({"gpt-4o": (FLASH,), "*": (PRO,)}, ("gpt-4o", "gemini-2.5-pro")),
    ],
    ids=["all", "some", "passed on", "shared", "a route of that name"],
)
def test_a_model_that_a_route_leads_elsewhere_is_no_name(
    routes: dict[str, tuple[Target, ...]], names: tuple[str, ...]
) -> None:
    """Whoever picked it from the list would get another one."""
    assert listed(of=world(routes)) == names


def test_a_model_whose_name_begins_with_another_pools_is_no_name() -> None:
    of = config(
        pool("fast", 1, provider("groq", "openai"), names_models=("openai/gpt-oss",)), pool("openai", 1, OPENAI)
    )
    assert listed(of=of) == ()


@pytest.mark.parametrize(
    ("models", "names"),
    [
        (("gpt-*",), ("gpt-4", "gpt-4o")),
        (("second/*",), ("second/gpt-4o", "second/davinci")),
        (("claude-haiku", "o3-mini", "nowhere"), ("claude-haiku", "o3-mini")),
        (("*",), ("gpt-4", "gemini-2.0-flash", "gemini-2.5-pro", "gpt-4o", "davinci")),
    ],
)
def test_a_client_sees_the_names_that_it_may_ask_for(models: tuple[str, ...], names: tuple[str, ...]) -> None:
    """Also behind a pool's name, if it may use that alone, and such as only its own list names."""
    assert listed("openai", *models) == names


def test_every_name_that_is_told_can_be_asked_for() -> None:
    for dialect in ("openai", "gemini", "anthropic"):
        for name in listed(dialect):
            assert find(world(), dialect, name).targets


def test_what_a_route_says_goes_with_the_targets_that_it_leads_to() -> None:
    """Each with its model; a name that is no route's leads somewhere as the plainest of routes would."""
    target = Target("spare", None, parameters=Parameters(removed=("user",)))
    of = config(
        pool("spare", 1, OPENAI),
        pool("own", 1, ANTHROPIC),
        routes={"gpt-*": Route((target, Target("own", None)), mask_model=True, fallback_on=frozenset({"blocked"}))},
    )
    served = Target("spare", "gpt-5", parameters=target.parameters)
    assert find(of, "openai", "gpt-5") == Route((served,), mask_model=True, fallback_on=frozenset({"blocked"}))
    assert find(of, "openai", "spare/gpt-5") == Route((Target("spare", "gpt-5"),))
