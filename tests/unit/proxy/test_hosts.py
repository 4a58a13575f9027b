"""Which hosts and origins are served: a page of the web must not reach the keys through the user's browser."""

from __future__ import annotations

import pytest

from sidecar.model.hosts import host_allowed, is_loopback, origin_allowed

HOSTS = ("sidecar.internal", "Team.Example")


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.0.0.1:4000",
        "10.1.2.3:80",
        "203.0.113.9",
        "[::1]:4000",
        "[2001:db8::1]",
        "localhost",
        "LOCALHOST:4000",
        "app.localhost:4000",
        "localhost.:4000",
        "sidecar.internal",
        "Sidecar.Internal:4000",
        "team.example",
        "team.example.:80",
    ],
)
def test_addresses_this_machine_and_listed_names_are_served(host: str) -> None:
    """With an address there is no name that could be bound anew to this machine."""
    assert host_allowed(host, HOSTS)


@pytest.mark.parametrize(
    "host",
    [
        None,
        "",
        ":4000",
        "evil.example",
        "evil.example:4000",
        "localhost.evil.example",
        "evil-localhost",
        "127.0.0.1.evil.example",
        "sub.sidecar.internal",
        "2130706433",
        "127.1",
        "0x7f.1",
        "::1",
        "[::1",
        "evil.example@localhost",
        "localhost@evil.example",
        "localhost/",
        "localhost#.evil.example",
        "localhost?x",
        "localhost\\evil.example",
        "local host",
        "localhost evil.example",
        "\udcff",
    ],
)
def test_other_names_are_not_served(host: str | None) -> None:
    assert not host_allowed(host, HOSTS)


@pytest.mark.parametrize(
    "origin",
    [
        None,
        "http://localhost",
        "http://localhost:3000",
        "https://app.localhost",
        "http://127.0.0.1:8080",
        "http://127.9.9.9",
        "http://[::1]:8080",
        "https://sidecar.internal",
        "https://team.example:8443",
    ],
)
def test_pages_of_this_machine_and_of_listed_hosts_may_call(origin: str | None) -> None:
    assert origin_allowed(origin, HOSTS)


@pytest.mark.parametrize(
    "origin",
    [
        "null",
        "",
        "https://evil.example",
        "http://10.1.2.3",  # an address is not this machine
        "http://[2001:db8::1]",
        "http://localhost.evil.example",
        "file://",
        "chrome-extension://abcdefgh",
        "localhost",
        "http://[::1",
    ],
)
def test_pages_of_others_may_not_call(origin: str) -> None:
    assert not origin_allowed(origin, HOSTS)


def test_listed_address_may_be_an_origin() -> None:
    assert origin_allowed("http://10.1.2.3:8080", ("10.1.2.3",))


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True),
        ("127.0.0.2", True),
        ("::1", True),
        ("localhost", True),
        ("Localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("10.0.0.1", False),
        ("", False),
        ("example.com", False),
    ],
)
def test_loopback_is_this_machine_alone(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected
