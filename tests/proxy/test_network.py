"""How a provider is reached: through proxies that check who comes, and behind certificates that nobody else trusts."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from time import monotonic
from urllib.parse import urlsplit

import pytest
import trustme
from aiohttp.connector import Connection

from sidecar.model.configured import DIRECT
from sidecar.model.events import Attempted
from sidecar.pool.pool import Pools
from sidecar.pool.search import Held, Search
from sidecar.proxy.origin.gate import Sending
from sidecar.simulate.provider import StrictProvider
from tests.proxy.plane import CHAT, Plane, new_keys, pool, sidecar
from tests.proxy.proxies import HttpProxy, SocksProxy, tls_door
from tests.proxy.raw import Exchange, RawUpstream

NAME = "llm.example"  # that no resolver knows: only a proxy finds it
LOGIN = "agent:pass-word-5150"


def port_of(url: str) -> int:
    return int(str(urlsplit(url).port))


def whys(plane: Plane) -> list[str]:
    """Why each attempt that got no answer got none."""
    return [event.told.decode() for event in plane.of(Attempted) if event.status is None]


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def bundle(authority: trustme.CA, tmp_path: Path) -> str:
    file = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(file))
    return str(file)


@pytest.fixture
async def door(provider: StrictProvider, authority: trustme.CA) -> AsyncIterator[int]:
    """The port of the strict provider behind TLS, as NAME and localhost."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(NAME, "localhost").configure_cert(context)
    async with tls_door(port_of(provider.url), context) as port:
        yield port


# --- ways through -----------------------------------------------------------------------------------


async def test_a_tunnel_is_opened_once_with_its_login_and_kept(
    provider: StrictProvider, door: int, bundle: str
) -> None:
    """Three requests of three keys go through one CONNECT, which names the provider and not its address."""
    async with HttpProxy(LOGIN, {NAME: door}) as proxy:
        keys = list(provider.accounts)
        with_proxy = pool(f"https://{NAME}", keys, proxy=f"http://{LOGIN}@{proxy.url}", ca_bundle=bundle)
        async with sidecar({"chat": with_proxy}) as plane:
            replies = [await plane.chat() for _ in range(3)]
        assert [(reply.status, reply.attempts) for reply in replies] == [(200, 1)] * 3
        assert proxy.asked == [f"CONNECT {NAME}:443"]
        assert proxy.refused == 0
    assert provider.counts() == dict.fromkeys(keys, 1)


async def test_a_proxy_may_be_spoken_to_over_tls(
    provider: StrictProvider, door: int, authority: trustme.CA, bundle: str
) -> None:
    """Its certificate is judged as the provider's is, and the provider's TLS runs within its own."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    keys = list(provider.accounts)
    async with HttpProxy(LOGIN, {NAME: door}) as proxy, tls_door(port_of(f"http://{proxy.url}"), context) as before:
        options = {"proxy": f"https://{LOGIN}@localhost:{before}", "max_attempts": 1}
        pools = {"chat": pool(f"https://{NAME}", keys[:1], ca_bundle=bundle, **options)}
        pools["strange"] = pool(f"https://{NAME}", keys[1:], **options)
        async with sidecar(pools) as plane:
            assert (await plane.post("/pools/chat/chat/completions", CHAT)).status == 200
            assert (await plane.post("/pools/strange/chat/completions", CHAT)).status == 502
            (why,) = whys(plane)
            assert why.startswith(f"localhost:{before}: its TLS certificate is not trusted")
        assert proxy.asked == [f"CONNECT {NAME}:443"]


async def test_an_origin_without_tls_is_asked_for_by_its_whole_url(provider: StrictProvider) -> None:
    async with HttpProxy(LOGIN, {NAME: port_of(provider.url)}) as proxy:
        with_proxy = pool(f"http://{NAME}", list(provider.accounts), proxy=f"http://{LOGIN}@{proxy.url}")
        async with sidecar({"chat": with_proxy}) as plane:
            assert (await plane.chat()).status == 200
        assert proxy.asked == [f"POST http://{NAME}/v1/chat/completions"]
    assert [arrival.path for arrival in provider.arrivals] == ["/v1/chat/completions"]


@pytest.mark.parametrize("secure", [True, False])
async def test_socks5h_leaves_the_name_to_the_proxy(
    provider: StrictProvider, door: int, bundle: str, secure: bool
) -> None:
    port = door if secure else port_of(provider.url)
    async with SocksProxy(LOGIN, {NAME: port}) as proxy:
        url = f"http{'s' * secure}://{NAME}"
        through = pool(url, list(provider.accounts), proxy=f"socks5h://{LOGIN}@{proxy.url}", ca_bundle=bundle)
        async with sidecar({"chat": through}) as plane:
            replies = [await plane.chat() for _ in range(2)]
        assert [(reply.status, reply.attempts) for reply in replies] == [(200, 1)] * 2
        assert (proxy.asked, proxy.refused) == ([f"name {NAME}:{443 if secure else 80}"], 0)
    assert len(provider.arrivals) == 2


async def test_socks5_looks_the_name_up_here(provider: StrictProvider) -> None:
    async with SocksProxy() as proxy:
        port = port_of(provider.url)
        through = pool(f"http://localhost:{port}", list(provider.accounts), proxy=f"socks5://{proxy.url}")
        async with sidecar({"chat": through}) as plane:
            assert (await plane.chat()).status == 200
        assert proxy.asked == [f"address 127.0.0.1:{port}"]


async def test_a_key_goes_its_own_way(provider: StrictProvider) -> None:
    """Its own proxy goes before its pool's, and `off` is none at all; the rotation is the same."""
    port = port_of(provider.url)
    async with HttpProxy() as first, SocksProxy() as second:
        through = pool(provider.url, list(provider.accounts), proxy=f"http://{first.url}")
        through["keys"][1]["proxy"] = f"socks5h://{second.url}"
        through["keys"][2]["proxy"] = "off"
        async with sidecar({"chat": through}) as plane:
            assert [(await plane.chat()).key for _ in range(6)] == ["k0", "k1", "k2"] * 2
        # A request for a whole URL ends its connection here, a tunnel is kept.
        assert first.asked == [f"POST {provider.url}/v1/chat/completions"] * 2
        assert second.asked == [f"address 127.0.0.1:{port}"]
    assert provider.counts() == dict.fromkeys(provider.accounts, 2)


async def test_the_environment_names_a_proxy_and_its_exceptions(provider: StrictProvider) -> None:
    keys = list(provider.accounts)
    pools = {"far": pool(f"http://{NAME}", keys[:1]), "near": pool(f"http://api.{NAME}", keys[1:2])}
    pools["here"] = pool(provider.url, keys[2:])
    async with HttpProxy(hosts={NAME: port_of(provider.url)}) as proxy:
        environ = {"HTTP_PROXY": f"http://{proxy.url}", "NO_PROXY": f"other.example,api.{NAME}"}
        async with sidecar(pools, environ, routes={"*": [{"pool": "far"}]}) as plane:
            assert (await plane.chat()).status == 200
            assert (await plane.post("/pools/here/chat/completions", CHAT)).status == 200
            assert (await plane.post("/pools/near/chat/completions", CHAT)).status == 502
        assert proxy.asked == [f"POST http://{NAME}/v1/chat/completions"]


async def test_a_region_that_is_refused_says_nothing_of_a_key_with_another_way_out() -> None:
    """Of three keys the second goes the way of the first, and is not tried."""
    refusal = b'{"error": {"code": "unsupported_country_region_territory", "message": "Country not supported"}}'

    async def refuse(exchange: Exchange) -> None:
        await exchange.reply(refusal, "403 Forbidden")

    async def serve(exchange: Exchange) -> None:
        await exchange.reply(b'{"choices": []}')

    async with (
        RawUpstream(refuse) as here,
        RawUpstream(serve) as there,
        HttpProxy(hosts={"127.0.0.1": port_of(there.url)}) as proxy,
    ):
        through = pool(here.url, new_keys(3), provider="openai")
        del through["dialect"]
        through["keys"][2]["proxy"] = f"http://{proxy.url}"
        async with sidecar({"chat": through}) as plane:
            reply = await plane.chat()
            assert (reply.status, reply.key, reply.attempts) == (200, "k2", 2)
        del through["keys"][2]["proxy"]
        async with sidecar({"chat": through}) as plane:
            reply = await plane.chat()
            assert (reply.status, reply.body, reply.attempts) == (403, refusal, 1)


# --- ways that are shut -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("secure", "answer", "why"),
    [
        (True, "", "407 Proxy Authentication Required"),
        (False, "", "407 Proxy Authentication Required"),
        (True, "403 Forbidden", "403 Forbidden"),
        (True, "200 OK\r\nX: y", None),
    ],
)
async def test_what_a_proxy_refuses_was_not_sent(
    provider: StrictProvider, door: int, bundle: str, secure: bool, answer: str, why: str | None
) -> None:
    """Its answer is never taken for the provider's, the budget is whole afterwards, and no login is told."""
    port = door if secure else port_of(provider.url)
    limit = {"requests": 1, "per": "hour"}
    async with HttpProxy("other:login" if not answer else LOGIN, {NAME: port}, answer=answer) as proxy:
        options = {"proxy": f"http://{LOGIN}@{proxy.url}", "ca_bundle": bundle, "limits": [limit]}
        through = pool(f"http{'s' * secure}://{NAME}", list(provider.accounts)[:1], **options, max_attempts=3)
        async with sidecar({"chat": through}, admin_token="the-admins-own") as plane:
            reply = await plane.chat()
            assert (reply.status, reply.attempts) == (502, 3)
            assert provider.arrivals == []
            told = whys(plane)
            assert len(told) == 3
            if why:
                assert set(told) == {f"proxy http://{proxy.url}: {why}"}
            assert "5150" not in "".join(told)
            proxy.login, proxy.answer = LOGIN, ""
            assert [(await plane.chat({"x-sidecar-max-wait": "0"})).status for _ in range(2)] == [200, 429]
    assert len(provider.arrivals) == 1


async def test_a_socks_proxy_that_refuses_has_sent_nothing(provider: StrictProvider) -> None:
    limit = {"requests": 1, "per": "hour"}
    async with SocksProxy("other:login") as proxy:
        options = {"proxy": f"socks5h://{LOGIN}@{proxy.url}", "limits": [limit], "max_attempts": 1}
        async with sidecar({"chat": pool(provider.url, list(provider.accounts)[:1], **options)}) as plane:
            assert (await plane.chat()).status == 502
            proxy.login, proxy.reply = LOGIN, 2  # not allowed by the ruleset
            assert (await plane.chat()).status == 502
            proxy.closes = True
            assert (await plane.chat()).status == 502
            proxy.reply, proxy.closes = 0, False
            assert [(await plane.chat({"x-sidecar-max-wait": "0"})).status for _ in range(2)] == [200, 429]
            told = whys(plane)
            assert len(told) == 3
            assert all(why.startswith(f"proxy socks5h://{proxy.url}: ") and "5150" not in why for why in told)
    assert len(provider.arrivals) == 1


@pytest.mark.parametrize("scheme", ["http", "socks5h"])
async def test_a_proxy_that_is_away_is_named(provider: StrictProvider, scheme: str) -> None:
    async with HttpProxy() as proxy:
        gone = proxy.url
    options = {"proxy": f"{scheme}://{LOGIN}@{gone}", "max_attempts": 1}
    async with sidecar({"chat": pool(f"https://{NAME}", list(provider.accounts)[:1], **options)}) as plane:
        assert (await plane.chat()).status == 502
        (why,) = whys(plane)
        assert gone in why
        assert "5150" not in why


async def test_a_proxy_that_says_nothing_is_given_up(
    provider: StrictProvider, door: int, bundle: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It took the request for a tunnel and is silent: the provider's own time to answer has not begun."""
    monkeypatch.setattr("sidecar.proxy.origin.connections.PROXIED_S", 0.05)
    async with HttpProxy(hosts={NAME: door}, silent=True) as proxy:
        options = {"proxy": f"http://{proxy.url}", "ca_bundle": bundle, "max_attempts": 1}
        async with sidecar({"chat": pool(f"https://{NAME}", list(provider.accounts)[:1], **options)}) as plane:
            assert (await plane.chat()).status == 502
            assert [event.outcome for event in plane.of(Attempted)] == ["connect"]
    assert provider.arrivals == []


async def test_a_tunnel_that_breaks_under_a_request_may_have_been_answered(authority: trustme.CA, bundle: str) -> None:
    """A chat is asked again through a new tunnel; both attempts count, for both may have reached the provider."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(NAME).configure_cert(context)
    seen: list[Exchange] = []

    async def answer(exchange: Exchange) -> None:
        seen.append(exchange)
        if len(seen) == 1:
            await proxy.cut()
        else:
            await exchange.reply(b'{"choices": []}')

    async with (
        RawUpstream(answer) as upstream,
        tls_door(port_of(upstream.url), context) as port,
        HttpProxy(hosts={NAME: port}) as proxy,
    ):
        options = {"proxy": f"http://{proxy.url}", "ca_bundle": bundle, "limits": [{"requests": 2, "per": "hour"}]}
        async with sidecar({"chat": pool(f"https://{NAME}", new_keys(1), **options)}) as plane:
            reply = await plane.chat()
            assert (reply.status, reply.attempts) == (200, 2)
            assert [event.outcome for event in plane.of(Attempted)] == ["server_error", "ok"]
            assert (await plane.chat({"x-sidecar-max-wait": "0"})).status == 429
        assert proxy.asked == [f"CONNECT {NAME}:443"] * 2


async def test_a_grant_that_a_slow_tunnel_made_late_is_confirmed_and_sent_once(
    provider: StrictProvider, door: int, bundle: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The look at the grant comes after the proxy, the tunnel and the handshake, with the connection in hand."""
    async with HttpProxy(hosts={NAME: door}) as proxy:
        options = {"proxy": f"http://{proxy.url}", "ca_bundle": bundle, "limits": [{"requests": 3, "per": "minute"}]}
        confirmed = 0
        # By the clock of the look the handshakes took an hour.
        monkeypatch.setattr("sidecar.proxy.origin.gate.monotonic", lambda: monotonic() + (0 if confirmed else 3600))
        async with sidecar({"chat": pool(f"https://{NAME}", list(provider.accounts)[:1], **options)}) as plane:
            renew = plane.replica.state.pools.renew

            async def counted(*given: object) -> bool:
                nonlocal confirmed
                confirmed += 1
                return await renew(*given)  # type: ignore[arg-type]

            monkeypatch.setattr(type(plane.replica.state.pools), "renew", lambda _, *given: counted(*given))
            reply = await plane.chat()
            assert (reply.status, reply.attempts, confirmed) == (200, 1, 1)
    assert len(provider.arrivals) == 1


@pytest.mark.parametrize("spent", [False, True])
async def test_a_grant_that_a_busy_loop_made_late_is_not_sent_unconfirmed(
    provider: StrictProvider, monkeypatch: pytest.MonkeyPatch, spent: bool
) -> None:
    """The HTTP client writes a body a turn after the look at its grant; who is late by then asks once more, and anew
    where the other key's budget is all that is left."""
    begin, seen = Sending.begin, list[Sending]()

    async def late_from_here(sending: Sending, connection: Connection) -> None:
        await begin(sending, connection)
        seen.append(sending)
        if len(seen) == 1:
            sending.held.send_by = 0.0

    monkeypatch.setattr(Sending, "begin", late_from_here)
    limits = {"limits": [{"requests": 1, "per": "minute"}]}
    async with sidecar({"chat": pool(provider.url, list(provider.accounts)[:2], **limits)}) as plane:
        pools, confirmed = plane.replica.state.pools, 0
        renew = type(pools).renew

        async def counted(of: Pools, search: Search, held: Held) -> bool:
            nonlocal confirmed
            confirmed += 1
            if not spent:
                return await renew(of, search, held)
            of.release(held)
            return False

        monkeypatch.setattr(type(pools), "renew", counted)
        reply = await plane.chat()
        assert (reply.status, reply.attempts, confirmed) == (200, 1, 1)
        assert [(await plane.chat({"x-sidecar-max-wait": "0"})).status for _ in range(2)] == [200, 429]
    assert len(provider.arrivals) == 2


async def test_a_way_that_no_config_goes_is_closed(provider: StrictProvider) -> None:
    """Its connections would be kept for an hour; a config that requests under way still use keeps them."""
    async with SocksProxy() as proxy:
        options = {"proxy": f"socks5h://{proxy.url}", "connections": {"keepalive": "1h"}}
        async with sidecar({"chat": pool(provider.url, list(provider.accounts), **options)}) as plane:
            config, connections = plane.replica.state.config, plane.upstream.connections
            other = replace(config, pools={"chat": replace(config.pools["chat"], proxy=DIRECT)})
            assert (await plane.chat()).status == 200
            connections.keep((other, config))
            assert (await plane.chat()).status == 200
            assert len(proxy.asked) == 1
            connections.keep((other,))
            await proxy.left()
            assert (await plane.chat()).status == 200
            assert len(proxy.asked) == 2


# --- certificates -----------------------------------------------------------------------------------


async def test_a_certificate_that_nobody_trusts_is_said_to_be_one(provider: StrictProvider, door: int) -> None:
    limit = {"requests": 1, "per": "hour"}
    keys = list(provider.accounts)[:1]
    async with sidecar({"chat": pool(f"https://localhost:{door}", keys, limits=[limit], max_attempts=2)}) as plane:
        assert (await plane.chat()).status == 502
        assert (
            whys(plane)
            == [f"localhost:{door}: its TLS certificate is not trusted: unable to get local issuer certificate"] * 2
        )
    assert provider.arrivals == []


async def test_a_bundle_is_trusted_alone_and_by_its_pool(provider: StrictProvider, door: int, bundle: str) -> None:
    """The file's own holds where a pool names none; `system` is a way back."""
    keys = list(provider.accounts)
    pools = {"chat": pool(f"https://localhost:{door}", keys[:1]), "more": pool(f"https://localhost:{door}", keys[1:2])}
    pools["more"] |= {"ca_bundle": "system", "max_attempts": 1}
    async with sidecar(pools, ca_bundle=bundle) as plane:
        assert (await plane.post("/pools/chat/chat/completions", CHAT)).status == 200
        assert (await plane.post("/pools/more/chat/completions", CHAT)).status == 502
