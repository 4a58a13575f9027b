"""Through which proxy a pool and a key go, and what is said of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import trustme

from sidecar.config.watch import Source
from sidecar.model.configured import DIRECT, Config, Connections, Proxy, Secret
from sidecar.ops.redact import redactor

from .conftest import Desk

LOGIN = Secret("agent:pass:word-5150")


def through(desk: Desk, base_url: str, **environ: str) -> Proxy:
    """The proxy of a pool that says nothing of one."""
    pools = {"p": {"base_url": base_url, "keys": [{"id": "a", "secret": "k1"}]}}
    return desk.load(json.dumps({"pools": pools}), environ).pools["p"].proxy


def said(desk: Desk, proxy: str, **environ: str) -> Config:
    pool = {"provider": "openai", "keys": [{"id": "a", "secret": "k1"}], "proxy": proxy}
    return desk.load(json.dumps({"pools": {"p": pool}}), environ)


@pytest.mark.parametrize(
    ("text", "proxy"),
    [
        ("off", DIRECT),
        ("proxy.example:3128", Proxy("http", "proxy.example", 3128)),
        ("http://proxy.example", Proxy("http", "proxy.example", 80)),
        ("HTTPS://Proxy.Example/", Proxy("https", "proxy.example", 443)),
        ("socks5://10.0.0.1", Proxy("socks5", "10.0.0.1", 1080)),
        ("socks5h://[::1]:9050", Proxy("socks5h", "::1", 9050)),
        ("http://agent:pass%3Aword-5150@h:1", Proxy("http", "h", 1, LOGIN)),
        ("http://token@h:1", Proxy("http", "h", 1, Secret("token"))),
    ],
)
def test_a_proxy_is_read_from_its_url(desk: Desk, text: str, proxy: Proxy) -> None:
    assert said(desk, text).pools["p"].proxy == proxy


def test_a_proxys_password_is_nowhere_to_be_read(desk: Desk) -> None:
    """It may stand in a variable, and logs that meet it name it."""
    config = said(desk, "http://agent:${PASSWORD}@h:3128", PASSWORD="word-5150")
    proxy = config.pools["p"].proxy
    assert proxy.credentials() == ("agent", "word-5150")
    assert "5150" not in repr(config)
    assert str(proxy) == "http://h:3128"
    assert redactor(config)("told word-5150") == "told proxy-password"


def test_what_a_pool_says_goes_before_the_environment(desk: Desk) -> None:
    for text, port in (("off", 0), ("http://h:1", 1)):
        assert said(desk, text, HTTPS_PROXY="http://env:2").pools["p"].proxy.port == port


@pytest.mark.parametrize(
    ("base_url", "environ", "port"),
    [
        ("https://api.example", {"HTTPS_PROXY": "http://h:1", "HTTP_PROXY": "http://h:2"}, 1),
        ("http://api.example", {"HTTPS_PROXY": "http://h:1", "HTTP_PROXY": "http://h:2"}, 2),
        ("http://api.example", {"HTTPS_PROXY": "http://h:1"}, 0),
        ("https://api.example", {"ALL_PROXY": "socks5h://h:3"}, 3),
        ("https://api.example", {"ALL_PROXY": "http://h:3", "HTTPS_PROXY": "http://h:1"}, 1),
        ("https://api.example", {"https_proxy": "http://h:4", "HTTPS_PROXY": "http://h:1"}, 4),
        ("https://api.example", {"https_proxy": "", "HTTPS_PROXY": "http://h:1"}, 1),
        ("http://localhost:8000", {"HTTP_PROXY": "http://h:2"}, 0),
        ("http://127.0.0.2:8000", {"ALL_PROXY": "http://h:2"}, 0),
        ("http://[::1]:8000", {"ALL_PROXY": "http://h:2"}, 0),
    ],
)
def test_the_environment_is_read_as_curl_reads_it(
    desk: Desk, base_url: str, environ: dict[str, str], port: int
) -> None:
    assert through(desk, base_url, **environ).port == port


@pytest.mark.parametrize(
    ("no_proxy", "excepted"),
    [
        ("*", True),
        ("api.example", True),
        ("example", True),
        (".example", True),
        ("*.example", True),
        ("EXAMPLE.", True),
        ("other.test, api.example", True),
        ("other.test api.example", True),
        ("api.example:443", True),
        ("api.example:8443", False),
        ("pi.example", False),
        ("sub.api.example", False),
        (".", False),
        ("10.0.0.0/8", False),
        ("", False),
    ],
)
def test_no_proxy_excepts_a_domain_and_what_is_below_it(desk: Desk, no_proxy: str, excepted: bool) -> None:
    found = through(desk, "https://api.example/v1", HTTPS_PROXY="http://h:1", NO_PROXY=no_proxy)
    assert (found == DIRECT) is excepted


@pytest.mark.parametrize(
    ("host", "no_proxy", "excepted"),
    [
        ("10.1.2.3", "10.0.0.0/8", True),
        ("10.1.2.3", "10.1.2.3", True),
        ("10.1.2.3:8000", "10.1.2.3:8000", True),
        ("10.1.2.3", "10.1.2.30", False),
        ("11.1.2.3", "10.0.0.0/8", False),
        ("[fd00::1]", "fd00::/8", True),
        ("[fd00::1]:8000", "[fd00::1]:8000", True),
        ("[fd00::1]:8000", "[fd00::1]:9", False),
    ],
)
def test_no_proxy_excepts_addresses_and_networks(desk: Desk, host: str, no_proxy: str, excepted: bool) -> None:
    found = through(desk, f"http://{host}/v1", HTTP_PROXY="http://h:1", no_proxy=no_proxy)
    assert (found == DIRECT) is excepted


def test_a_variable_that_is_no_proxy_is_told_by_its_name(desk: Desk) -> None:
    pool = {"provider": "openai", "keys": [{"id": "a", "secret": "k1"}]}
    told = desk.refused(json.dumps({"pools": {"p": pool}}), {"ALL_PROXY": "socks://u:hunter2@h:1"})
    assert told.startswith('sidecar.yaml: pools.p.proxy: env ALL_PROXY: "socks" is no proxy\'s scheme')
    assert "NO_PROXY" in told
    assert "hunter2" not in told


def test_connections_are_as_many_as_come_unless_it_is_said(desk: Desk) -> None:
    assert said(desk, "off").pools["p"].connections == Connections(max=0, keepalive_s=15.0)


@pytest.mark.parametrize("kind", trustme.KeyType)
def test_a_key_of_another_certificate_is_told(desk: Desk, kind: trustme.KeyType) -> None:
    """Also one of another kind, as where RSA gives way to ECDSA."""
    authority = trustme.CA()
    issued, other = authority.issue_cert("localhost"), authority.issue_cert("localhost", key_type=kind)
    issued.cert_chain_pems[0].write_to_path(str(desk.folder / "c.pem"))
    other.private_key_pem.write_to_path(str(desk.folder / "k.pem"))
    told = desk.refused("pools: {p: {provider: openai, keys: [{id: a, secret: k1}]}}\ntls: {cert: c.pem, key: k.pem}")
    assert "tls: the private key is not that of the certificate." in told


@pytest.mark.parametrize("name", ["ca.pem", "tls.crt", "tls.key"])
def test_a_certificate_that_changes_is_noticed_and_is_another_config(tmp_path: Path, name: str) -> None:
    def issue() -> None:
        authority = trustme.CA()
        issued = authority.issue_cert("localhost")
        authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
        issued.cert_chain_pems[0].write_to_path(str(tmp_path / "tls.crt"))
        issued.private_key_pem.write_to_path(str(tmp_path / "tls.key"))

    issue()
    pool = {"provider": "openai", "keys": [{"id": "a", "secret": "k1"}], "ca_bundle": "ca.pem"}
    tls = {"cert": "tls.crt", "key": "tls.key"}
    (tmp_path / "sidecar.yaml").write_text(json.dumps({"pools": {"p": pool}, "tls": tls}))
    source = Source(None, {}, tmp_path)
    running = source.load()
    assert not any(source.changed() for _ in range(3))
    (tmp_path / name).touch()
    assert [source.changed() for _ in range(3)][-1]
    issue()
    again, fixed = source.reload(running)
    assert fixed == ()
    assert (again.pools["p"].ca_bundle, again.tls) != (running.pools["p"].ca_bundle, running.tls)
    assert again.tls != running.tls


def test_whether_listen_has_a_certificate_needs_a_restart(tmp_path: Path) -> None:
    authority = trustme.CA()
    issued = authority.issue_cert("localhost")
    issued.private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "both.pem"))
    pool = {"provider": "openai", "keys": [{"id": "a", "secret": "k1"}]}
    file = tmp_path / "sidecar.yaml"
    file.write_text(json.dumps({"pools": {"p": pool}}))
    source = Source(None, {}, tmp_path)
    running = source.load()
    tls = {"cert": "both.pem", "key": "both.pem"}
    file.write_text(json.dumps({"pools": {"p": pool}, "tls": tls, "namespace": "other", "hosts": ["a.example"]}))
    config, fixed = source.reload(running)
    assert (fixed, config.tls, config.hosts) == (("namespace", "tls"), None, ("a.example",))
