"""Without a file: keys in the environment make pools."""

from __future__ import annotations

import pytest

from sidecar.model.configured import Config, Secret
from sidecar.providers import catalogue

from .conftest import Desk


def keys(config: Config) -> dict[str, list[str]]:
    return {name: [key.secret.reveal() for key in pool.keys] for name, pool in config.pools.items()}


def test_provider_keys_make_a_pool_of_the_provider(desk: Desk) -> None:
    environ = {"OPENAI_API_KEY_2": "b1,c1", "OPENAI_API_KEY": "a1", "ANTHROPIC_API_KEY_1": "d1", "OTHER_API_KEY": "e1"}
    config = desk.load(None, environ)
    assert sorted(keys(config).items()) == [("anthropic", ["d1"]), ("openai", ["a1", "b1", "c1"])]
    assert [key.id for key in config.pools["openai"].keys] == ["openai-1", "openai-2", "openai-3"]
    assert [key.origin for key in config.pools["openai"].keys] == [
        "env OPENAI_API_KEY",
        "env OPENAI_API_KEY_2",
        "env OPENAI_API_KEY_2",
    ]
    assert config.warnings == ()


@pytest.mark.parametrize("name", [name for name in catalogue.names() if catalogue.preset(name).base_url])
def test_each_preset_is_found_by_its_variables(desk: Desk, name: str) -> None:
    for variable in catalogue.preset(name).environment:
        assert keys(desk.load(None, {f"{variable}_7": "k1"})) == {name: ["k1"]}


def test_studio_keys_make_pools_of_their_names(desk: Desk) -> None:
    environ = {
        "GOOGLE_AI_STUDIO_KEY_CHAT_2": "c2",
        "GOOGLE_AI_STUDIO_KEY_CHAT": "c0",
        "GOOGLE_AI_STUDIO_KEY_LONG_NAME_10": "l10",
        "GOOGLE_AI_STUDIO_KEY_LONG_NAME_9": "l9",
        "GOOGLE_AI_STUDIO_KEY_3": "g3",
        "GOOGLE_AI_STUDIO_KEY": "g0",
        "GEMINI_API_KEY_1": "g1",
    }
    config = desk.load(None, environ)
    assert list(keys(config).items()) == [
        ("gemini", ["g1", "g0", "g3"]),
        ("chat", ["c0", "c2"]),
        ("long_name", ["l9", "l10"]),
    ]
    assert {pool.provider.name for pool in config.pools.values()} == {"gemini"}


def test_order_of_pools_is_not_that_of_the_environment(desk: Desk) -> None:
    names = ["GOOGLE_AI_STUDIO_KEY_B", "OPENAI_API_KEY", "GOOGLE_AI_STUDIO_KEY_A", "ANTHROPIC_API_KEY"]
    orders = [list(desk.load(None, dict.fromkeys(order, "k1")).pools) for order in (names, names[::-1])]
    assert orders[0] == orders[1]


def test_pool_without_a_usable_key_is_left_out(desk: Desk) -> None:
    config = desk.load(None, {"OPENAI_API_KEY": "sk-...", "ANTHROPIC_API_KEY": "", "GEMINI_API_KEY": "real"})
    assert keys(config) == {"gemini": ["real"]}
    assert sorted(config.warnings) == [
        "environment: pools.anthropic: env ANTHROPIC_API_KEY is empty, so it is left out.",
        "environment: pools.openai: env OPENAI_API_KEY is a placeholder, no key, so it is left out.",
    ]


@pytest.mark.parametrize("environ", [{}, {"OPENAI_API_KEY": ""}, {"OPENAI_API_KEY": "changeme"}])
def test_no_key_at_all_is_an_error_that_teaches(desk: Desk, environ: dict[str, str]) -> None:
    text = desk.refused(None, environ)
    assert "OPENAI_API_KEY" in text
    assert ("warning: environment: pools.openai: env OPENAI_API_KEY is" in text) == bool(environ)


def test_one_name_at_two_providers_is_an_error(desk: Desk) -> None:
    text = desk.refused(None, {"OPENAI_API_KEY": "a1", "GOOGLE_AI_STUDIO_KEY_OPENAI": "b1"})
    assert text == (
        "environment: pools.openai: GOOGLE_AI_STUDIO_KEY_OPENAI makes a pool at gemini, and OPENAI_API_KEY one of that"
        " name at openai. Rename the first, or write a file."
    )


def test_provider_without_an_address_is_left_out_and_told(desk: Desk) -> None:
    for name in catalogue.names():
        preset = catalogue.preset(name)
        if preset.base_url is None:
            config = desk.load(None, {preset.environment[0]: "a1", "OPENAI_API_KEY": "k1"})
            assert list(config.pools) == ["openai"]
            assert f"{preset.environment[0]} is left out" in config.warnings[0]


def test_env_file_is_read_below_the_real_environment(desk: Desk) -> None:
    desk.write(".env", "OPENAI_API_KEY=file\nANTHROPIC_API_KEY=file2\n")
    config = desk.load(None, {"OPENAI_API_KEY": "real"})
    assert sorted(keys(config).items()) == [("anthropic", ["file2"]), ("openai", ["real"])]
    assert config.pools["anthropic"].keys[0].origin == ".env ANTHROPIC_API_KEY"


def test_proxy_key_is_a_clients_without_a_file(desk: Desk) -> None:
    environ = {"OPENAI_API_KEY": "k1", "PROXY_API_KEY": "tok", "SIDECAR_LISTEN": "0.0.0.0:4000"}
    config = desk.load(None, environ)
    assert [(client.id, *client.secrets) for client in config.clients] == [("proxy", Secret("tok"))]
    del environ["PROXY_API_KEY"]
    assert desk.refused(None, environ).startswith("env SIDECAR_LISTEN: 0.0.0.0:4000 is open to other machines")
    file = "pools: {p: {provider: openai, keys: {from_env: OPENAI_API_KEY}}}"
    assert desk.load(file, {"OPENAI_API_KEY": "k1", "PROXY_API_KEY": "tok"}).clients == ()


def test_file_means_that_nothing_is_discovered(desk: Desk) -> None:
    desk.refused("namespace: a", {"OPENAI_API_KEY": "k1"})
