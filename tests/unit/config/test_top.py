"""Top-level fields, addresses, where the config is looked for, and variables that override it."""

from __future__ import annotations

import json

import pytest

from sidecar.config import ConfigError, load
from sidecar.config.addresses import is_loopback
from sidecar.model.configured import Address, Config, Parameters, Route, Secret, Target

from .conftest import Desk

POOL = "pools: {p: {provider: openai, keys: [{id: a, secret: k1}]}}\n"


def test_what_is_not_said_has_the_defaults_of_the_words(desk: Desk) -> None:
    config, plain = desk.load(POOL), Config({})
    fields = ("listen", "ops_listen", "redis", "namespace", "max_body", "hosts", "admin_token", "routes", "clients")
    assert [getattr(config, name) for name in fields] == [getattr(plain, name) for name in fields]
    pool = config.pools["p"]
    assert (pool.max_wait_us, pool.max_attempts, pool.timeout_s, pool.retry_unsafe) == (10_000_000, 5, 600.0, False)
    assert (pool.cooldowns.default_us, pool.cooldowns.max_us) == (60_000_000, 3_600_000_000)


def test_defaults_give_way_to_what_is_said_beside_them(desk: Desk) -> None:
    """A timeout below the default wait, a maximum below the default cooldown, a default above the default maximum."""
    text = "pools: {p: {provider: openai, keys: [{id: a, secret: k1}], timeout: 2s, cooldown: {%s}}}"
    pool = desk.load(text % "max: 5s").pools["p"]
    assert (pool.max_wait_us, pool.cooldowns.default_us) == (2_000_000, 5_000_000)
    assert desk.load(text % "default: 2h").pools["p"].cooldowns.max_us == 7_200_000_000


@pytest.mark.parametrize(("text", "probe"), [("", None), (", probe: /v1/me", "/v1/me"), (", probe: off", "")])
@pytest.mark.parametrize("api", ["provider: openrouter", "base_url: 'http://h/v1', dialect: openai"])
def test_a_pool_may_say_which_call_tells_whether_a_key_is_good(desk: Desk, api: str, text: str, probe: str) -> None:
    found = desk.load(f"pools: {{p: {{{api}, keys: [{{id: a, secret: k1}}]{text}}}}}").pools["p"].provider.probe
    assert found == ("/key" if probe is None and "openrouter" in api else probe)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:4000", Address("127.0.0.1", 4000)),
        ("'[::1]:0'", Address("::1", 0)),
        ("localhost:65535", Address("localhost", 65535)),
        ("':4000'", Address("127.0.0.1", 4000)),
        ("4000", Address("127.0.0.1", 4000)),
    ],
)
def test_listen(desk: Desk, text: str, address: Address) -> None:
    assert desk.load(f"listen: {text}\n{POOL}").listen == address


@pytest.mark.parametrize(
    "text", ["host", "256.1.1.1:80", "::1:80", "'[127.0.0.1]:80'", "a b:80", "h:-1", "'h:'", "'*:80'"]
)
def test_no_address(desk: Desk, text: str) -> None:
    assert desk.refused(f"ops_listen: {text}\n{POOL}").startswith("sidecar.yaml: ops_listen: ")


def test_loopback() -> None:
    near = ["127.0.0.1", "127.9.9.9", "::1", "localhost", "LOCALHOST", "a.localhost", "::ffff:127.0.0.1"]
    far = ["0.0.0.0", "::", "10.0.0.1", "::ffff:10.0.0.1", "example.com", "localhost.example.com"]
    assert [is_loopback(host) for host in near + far] == [True] * len(near) + [False] * len(far)


@pytest.mark.parametrize("host", ["0.0.0.0", "[::]", "10.0.0.7", "proxy.internal"])
def test_beyond_loopback_there_must_be_clients(desk: Desk, host: str) -> None:
    assert "without clients anyone there could spend the keys" in desk.refused(f"listen: '{host}:4000'\n{POOL}")
    config = desk.load(f"listen: '{host}:4000'\nclients: [{{id: web, token: t}}]\n{POOL}")
    assert config.listen.port == 4000
    assert desk.load(f"ops_listen: '{host}:9464'\n{POOL}").ops_listen.port == 9464


@pytest.mark.parametrize(
    ("listen", "ops", "free"),
    [
        ("127.0.0.1:4000", "127.0.0.1:4000", False),
        ("localhost:4000", "127.0.0.1:4000", False),
        ("127.0.0.1:4000", "'[::]:4000'", False),
        ("127.0.0.1:4000", "127.0.0.2:4000", True),
        ("127.0.0.1:0", "127.0.0.1:0", True),
    ],
)
def test_planes_do_not_collide(desk: Desk, listen: str, ops: str, free: bool) -> None:
    text = f"listen: {listen}\nops_listen: {ops}\n{POOL}"
    if free:
        assert desk.load(text).listen != Address("", 1)
    else:
        assert "Give each a port of its own" in desk.refused(text)


@pytest.mark.parametrize(
    "url",
    ["redis://h", "redis://u:p@h:6379/0", "rediss://[::1]:1/2", "unix:///run/redis.sock?db=1", "embedded", "memory"],
)
def test_redis(desk: Desk, url: str) -> None:
    assert desk.load(f"redis: '{url}'\n{POOL}").redis == url


@pytest.mark.parametrize(
    "url",
    [
        "redis://",
        "redis://:pw-hunter@:1",
        "redis://:pw-hunter@h:x",
        "redis://:pw-hunter@h/db",
        "unix://",
        "pw-hunter",
        "redis",
    ],
)
def test_redis_that_is_none_is_not_repeated(desk: Desk, url: str) -> None:
    text = desk.refused(f"redis: '{url}'\n{POOL}")
    assert text.startswith("sidecar.yaml: redis: ")
    assert "hunter" not in text


@pytest.mark.parametrize("url", ["redis+sentinel://:pw@h/m", "redis+cluster://h"])
def test_redis_of_later(desk: Desk, url: str) -> None:
    assert "not supported yet" in desk.refused(f"redis: '{url}'\n{POOL}")


def test_redis_url_serves_where_nobody_else_says_redis(desk: Desk) -> None:
    environ = {"REDIS_URL": "redis://env"}
    assert desk.load(POOL, environ).redis == "redis://env"
    assert desk.load(f"redis: redis://file\n{POOL}", environ).redis == "redis://file"
    assert desk.load(POOL, environ | {"SIDECAR_REDIS": "redis://over"}).redis == "redis://over"
    assert desk.refused(POOL, {"REDIS_URL": "redsi://:pw@h"}).startswith('env REDIS_URL: "redsi":// is no Redis URL.')


def test_variables_override_the_file(desk: Desk) -> None:
    text = f"listen: 127.0.0.1:1\nnamespace: '${{UNSET}}'\nhosts: [a]\nadmin_token: file\n{POOL}"
    environ = {
        "SIDECAR_LISTEN": "127.0.0.1:2",
        "SIDECAR_OPS_LISTEN": ":3",
        "SIDECAR_NAMESPACE": "ns",
        "SIDECAR_MAX_BODY": "1KiB",
        "SIDECAR_ADMIN_TOKEN": "over",
        "SIDECAR_HOSTS": "B.example, c.example",
        "SIDECAR_REDIS": "",
        "SIDECAR_ROUTES": '{"m": [{"pool": "p"}]}',
    }
    config = desk.load(text, environ)
    assert (str(config.listen), str(config.ops_listen)) == ("127.0.0.1:2", "127.0.0.1:3")
    assert (config.namespace, config.max_body, config.admin_token) == ("ns", 1024, Secret("over"))
    assert (config.hosts, config.redis) == (("b.example", "c.example"), "embedded")
    assert config.routes == {"m": Route((Target("p", None),))}
    assert config.warnings == ()


def test_error_in_a_variable_names_the_variable(desk: Desk) -> None:
    text = desk.refused(POOL, {"SIDECAR_LISTEN": "x", "SIDECAR_ROUTES": "{m: [{pool: q}]}"})
    assert text.splitlines()[0] == 'env SIDECAR_ROUTES.m[0].pool: "q" is no pool.'
    assert text.splitlines()[2].startswith('env SIDECAR_LISTEN: "x" is no address.')


def test_unknown_setting_is_a_warning(desk: Desk) -> None:
    """Except what Kubernetes sets for a Service that is called sidecar."""
    environ = {
        "SIDECAR_LISTN": "x",
        "SIDECAR_ZZZ": "y",
        "SIDECAR_CONFIG": "sidecar.yaml",
        "SIDECAR_PORT": "tcp://1.2.3.4:1",
    }
    assert desk.load(POOL, environ | {"SIDECAR_SERVICE_HOST": "1.2.3.4"}).warnings == (
        "env SIDECAR_LISTN is no setting. Did you mean SIDECAR_LISTEN?",
        "env SIDECAR_ZZZ is no setting.",
    )


def test_search_order(desk: Desk) -> None:
    """`--config`, `$SIDECAR_CONFIG`, `./sidecar.yaml`, the environment."""
    environ = {"OPENAI_API_KEY": "k1", "SIDECAR_CONFIG": "b.yaml"}
    for name in ("a", "b", "c"):
        desk.write("sidecar.yaml" if name == "c" else f"{name}.yaml", f"namespace: {name}\n{POOL}")
    flag = desk.folder / "a.yaml"
    assert load(flag, environ, desk.folder).namespace == "a"
    assert load(None, environ, desk.folder).namespace == "b"
    del environ["SIDECAR_CONFIG"]
    assert load(None, environ, desk.folder).namespace == "c"
    (desk.folder / "sidecar.yaml").unlink()
    assert list(load(None, environ, desk.folder).pools) == ["openai"]


def test_config_that_cannot_be_read_is_an_error(desk: Desk) -> None:
    """Nothing else is tried instead."""
    desk.write("sidecar.yaml", POOL)
    (desk.folder / "binary").write_bytes(b"a: \xff")
    for name, why in (
        ("nowhere.yaml", "cannot be read: No such file or directory."),
        (".", "cannot be read: Is a directory."),
        ("binary", "is not UTF-8, at byte 3."),
    ):
        file = desk.folder / name
        with pytest.raises(ConfigError) as raised:
            load(file, {}, desk.folder)
        assert str(raised.value) == f"{file}: {why}"
        with pytest.raises(ConfigError, match=why):
            load(None, {"SIDECAR_CONFIG": name}, desk.folder)


def test_placeholder_as_a_token_is_kept_and_told(desk: Desk) -> None:
    """To leave it out would open the door instead."""
    config = desk.load(f"clients: [{{id: web, token: changeme}}]\n{POOL}")
    assert [secret for client in config.clients for secret in client.secrets] == [Secret("changeme")]
    assert config.warnings == (
        "sidecar.yaml: clients[0].token: the token is a placeholder, which anybody could guess. Choose one.",
    )


@pytest.mark.parametrize(
    ("said", "kind", "name"),
    [
        ("", "bearer", ""),
        ("dialect: openai, ", "bearer", ""),
        ("dialect: anthropic, ", "header", "x-api-key"),
        ("dialect: gemini, ", "header", "x-goog-api-key"),
        ("auth: {header: X-Token}, ", "header", "x-token"),
        ("auth: {query: key}, ", "query", "key"),
        ("dialect: anthropic, auth: bearer, ", "bearer", ""),
    ],
)
def test_auth_of_an_own_api(desk: Desk, said: str, kind: str, name: str) -> None:
    pool = desk.load(f"pools: {{p: {{base_url: 'https://h:1/v1/', {said}keys: [{{id: a, secret: k1}}]}}}}").pools["p"]
    assert (pool.provider.auth.kind, pool.provider.auth.name) == (kind, name)
    assert pool.provider.base_url == "https://h:1/v1"
    assert [speech.auth for speech in pool.provider.dialects.values()] == [pool.provider.auth]


def test_base_url_of_a_preset_may_be_replaced(desk: Desk) -> None:
    text = "pools: {p: {provider: openai, base_url: http://127.0.0.1:9/v1, keys: [{id: a, secret: k1}]}}"
    provider = desk.load(text).pools["p"].provider
    assert (provider.name, provider.base_url) == ("openai", "http://127.0.0.1:9/v1")


@pytest.mark.parametrize(
    ("said", "read"),
    [
        ("https://H.Example:443/V1/", "https://h.example/V1"),
        ("HTTPS://h.example:/v1", "https://h.example/v1"),
        ("http://10.0.0.1:80", "http://10.0.0.1"),
        ("http://h:443/v1", "http://h:443/v1"),
        ("https://[FD00::A]:443/v1", "https://[fd00::a]/v1"),
        ("http://[::1]:8000", "http://[::1]:8000"),
        ("https://h.example/a%2Fb//", "https://h.example/a%2Fb"),
    ],
)
def test_an_origin_has_one_name_however_it_is_written(desk: Desk, said: str, read: str) -> None:
    """Its breaker, its retries and its connections are counted by it."""
    pools = f"pools: {{p: {{base_url: '{said}', keys: [{{id: a, secret: k1}}]}}}}"
    assert desk.load(pools).pools["p"].provider.base_url == read


@pytest.mark.parametrize(
    ("said", "environ", "file"),
    [
        (None, {"HOME": "/home/me"}, "/home/me/.local/state/sidecar/failures.jsonl"),
        (None, {"HOME": "/home/me", "XDG_STATE_HOME": "/state"}, "/state/sidecar/failures.jsonl"),
        (None, {}, ""),
        ("off", {"HOME": "/home/me"}, ""),
        ("/var/log/failed.jsonl", {}, "/var/log/failed.jsonl"),
        ("~/failed.jsonl", {"HOME": "/home/me"}, "/home/me/failed.jsonl"),
        ("${HOME}/x", {"HOME": "/home/me"}, "/home/me/x"),
    ],
)
def test_failures_go_into_the_users_state_unless_it_is_said_otherwise(
    desk: Desk, said: str | None, environ: dict[str, str], file: str
) -> None:
    text = POOL if said is None else f"failures: '{said}'\n{POOL}"
    assert desk.load(text, environ).failures == file


def test_failures_lie_below_the_configs_folder_and_may_be_set_by_a_variable(desk: Desk) -> None:
    assert desk.load(f"failures: failed.jsonl\n{POOL}").failures == str(desk.folder / "failed.jsonl")
    assert desk.load(POOL, {"SIDECAR_FAILURES": "off", "HOME": "/home/me"}).failures == ""
    assert "failures: is empty. It is a file's path, or off." in desk.refused(f"failures: ''\n{POOL}")


def test_route_says_more_than_its_targets_where_it_is_a_mapping(desk: Desk) -> None:
    config = desk.load(
        """
        pools: {p: {provider: openai, keys: {from_env: OPENAI_API_KEY}}}
        routes:
          gpt-4:
            targets:
              - {pool: p, model: a, weight: 3, set: {temperature: 0.5, "reasoning.effort": low, stop: null}}
              - {pool: p, model: b, weight: 1, default: {max_tokens: 100}, max: {max_tokens: 4096}, remove: [user]}
              - {pool: p, headers: {X-Team: "${TEAM}"}}
            mask_model: true
            fallback_on: [context_too_long, blocked]
            retry_empty: true
        """,
        {"OPENAI_API_KEY": "sk-0123456789abcdef", "TEAM": "blue"},
    )
    fixed = (("temperature", b"0.5"), ("reasoning.effort", b'"low"'), ("stop", b"null"))
    targets = (
        Target("p", "a", 3, Parameters(fixed=fixed), group=1),
        Target("p", "b", 1, Parameters((), (("max_tokens", b"100"),), (("max_tokens", 4096),), ("user",)), group=1),
        Target("p", None, headers=(("x-team", "blue"),)),
    )
    asked_for = frozenset({"context_too_long", "blocked"})
    assert config.routes == {"gpt-4": Route(targets, mask_model=True, fallback_on=asked_for, retry_empty=True)}
    assert "blue" not in repr(config.routes)


def test_what_the_environment_or_a_secretive_name_says_in_a_header_is_a_secret(desk: Desk) -> None:
    """Of others it is none, nor is what is too short to be one: it would be a word of many texts."""
    headers = {
        "X-Gateway": "Bearer ${GATEWAY}",
        "X-Team": "${TEAM}",
        "X-Title": "our-application",
        "X-Token": "gw-4711",
        "X-Key": "no",
    }
    document = {
        "pools": {"p": {"provider": "openai", "keys": [{"id": "a", "secret": "k1"}]}},
        "routes": {"m": [{"pool": "p", "headers": headers}]},
    }
    config = desk.load(json.dumps(document), {"GATEWAY": "gw-5150-word", "TEAM": "search"})
    (target,) = config.routes["m"].targets
    assert [(name, secret.reveal()) for secret, name in target.secrets] == [
        ("x-gateway", "gw-5150-word"),
        ("x-token", "gw-4711"),
    ]
    assert "gw-" not in repr(target)
