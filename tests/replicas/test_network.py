"""What a running process presents and how it reaches providers, while both change under it."""

from __future__ import annotations

import asyncio
import json
import signal
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import trustme

from sidecar.simulate.failures import Fault
from sidecar.simulate.provider import StrictProvider
from tests.proxy.plane import CHAT, new_keys, pool
from tests.proxy.proxies import HttpProxy, SocksProxy, tls_door
from tests.replicas.test_reload import reloaded, write
from tests.unit.running import environ, running

NAME = "llm.example"


@pytest.fixture
async def provider() -> AsyncIterator[StrictProvider]:
    async with StrictProvider(new_keys(2)) as strict:
        yield strict


def pair(folder: Path, authority: trustme.CA, *, key_of: trustme.CA | None = None) -> None:
    """A certificate of localhost and its key, or another's."""
    folder.mkdir(parents=True)
    issued = authority.issue_cert("localhost")
    other = key_of.issue_cert("localhost") if key_of else issued
    (folder / "tls.crt").write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    (folder / "tls.key").write_bytes(other.private_key_pem.bytes())


def swap(folder: Path, version: str) -> None:
    """As Kubernetes replaces what it has mounted: one link above the files."""
    (folder / "..tmp").symlink_to(version)
    (folder / "..tmp").replace(folder / "..data")


class Caller:
    """One connection to `listen`, kept, that trusts one authority."""

    def __init__(self, streams: tuple[asyncio.StreamReader, asyncio.StreamWriter]) -> None:
        self._reader, self._writer = streams

    @classmethod
    async def to(cls, place: str, authority: trustme.CA) -> Caller:
        """Raises ssl.SSLCertVerificationError."""
        context = ssl.create_default_context()
        authority.configure_trust(context)
        port = int(place.rpartition(":")[2])
        return cls(await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname="localhost"))

    async def ask(self) -> int:
        """The status of a chat."""
        body = json.dumps(CHAT).encode()
        head = "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        self._writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        told = (await self._reader.readuntil(b"\r\n\r\n")).decode().lower()
        if "transfer-encoding: chunked" in told:
            await self._reader.readuntil(b"0\r\n\r\n")
        else:
            await self._reader.readexactly(int(told.split("content-length:")[1].split()[0]))
        return int(told.split()[1])

    def close(self) -> None:
        self._writer.transport.abort()


async def test_a_certificate_is_replaced_without_a_restart_and_connections_live_on(
    tmp_path: Path, provider: StrictProvider
) -> None:
    """A pair that does not fit is told and changes nothing."""
    first, second, mount = trustme.CA(), trustme.CA(), tmp_path / "tls"
    pair(mount / "..1", first)
    pair(mount / "..2", second)
    pair(mount / "..3", first, key_of=second)
    swap(mount, "..1")
    for name in ("tls.crt", "tls.key"):
        (mount / name).symlink_to(f"..data/{name}")
    config = {"redis": "memory", "pools": {"chat": pool(provider.url, list(provider.accounts))}}
    config["tls"] = {"cert": "tls/tls.crt", "key": "tls/tls.key"}
    async with running(tmp_path, config) as sidecar:
        place = (await sidecar.line("listening"))["listen"]
        old = await Caller.to(place, first)
        assert await old.ask() == 200
        swap(mount, "..2")
        await reloaded(sidecar, "file")
        new = await Caller.to(place, second)
        assert [await caller.ask() for caller in (new, old)] == [200, 200]
        with pytest.raises(ssl.SSLCertVerificationError):
            await Caller.to(place, first)
        swap(mount, "..3")
        await sidecar.line("config rejected: what ran before runs on")
        flaw = "the private key is not that of the certificate. Both are PEM, the certificate with its chain."
        await sidecar.line(f"sidecar.yaml: tls: {flaw}")
        last = await Caller.to(place, second)
        assert [await caller.ask() for caller in (last, new, old)] == [200] * 3
        for caller in (old, new, last):
            caller.close()


async def test_other_proxies_and_certificates_are_taken_for_the_next_request(
    tmp_path: Path, provider: StrictProvider
) -> None:
    """A request under way keeps its tunnel; the one of before is closed once nobody has used it for a while."""
    first, second, bundle = trustme.CA(), trustme.CA(), tmp_path / "ca.pem"
    contexts = [ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER) for _ in range(2)]
    for authority, context in zip((first, second), contexts, strict=True):
        authority.issue_cert(NAME).configure_cert(context)
    bundle.write_bytes(first.cert_pem.bytes())
    port = int(str(urlsplit(provider.url).port))
    async with (
        tls_door(port, contexts[0]) as before,
        tls_door(port, contexts[1]) as after,
        SocksProxy(hosts={NAME: before}) as socks,
        HttpProxy("agent:word-5150", hosts={NAME: after}) as http,
    ):
        config = _through(provider, f"socks5h://{socks.url}")
        async with running(tmp_path, config) as sidecar:
            place = (await sidecar.line("listening"))["listen"]
            assert await _ask(place) == 200
            provider.faults.append(Fault(hang=True, times=1))
            under_way = asyncio.create_task(_ask(place))
            await provider.wait_for(lambda: provider.open == 1)
            bundle.write_bytes(second.cert_pem.bytes())
            write(tmp_path, _through(provider, f"http://agent:word-5150@{http.url}"))
            sidecar.send(signal.SIGHUP)
            await reloaded(sidecar, "signal")
            assert await _ask(place) == 200
            assert (socks.asked, http.asked) == ([f"name {NAME}:443"], [f"CONNECT {NAME}:443"])
            provider.release()
            assert await under_way == 200
            await socks.left()
            assert "5150" not in json.dumps(sidecar.records)


def _through(provider: StrictProvider, proxy: str) -> dict[str, Any]:
    own = {"proxy": proxy, "ca_bundle": "ca.pem", "connections": {"keepalive": "100ms"}, "max_attempts": 1}
    return {"redis": "memory", "pools": {"chat": pool(f"https://{NAME}", list(provider.accounts), **own)}}


async def _ask(place: str) -> int:
    reader, writer = await asyncio.open_connection(*place.rsplit(":", 1))
    caller = Caller((reader, writer))
    try:
        return await caller.ask()
    finally:
        caller.close()


async def _checked(folder: Path, pool: dict[str, Any], **variables: str) -> subprocess.CompletedProcess[str]:
    """What `sidecar check --live` came to."""
    (folder / "sidecar.yaml").write_text(json.dumps({"redis": "memory", "pools": {"chat": pool}}))
    command = [sys.executable, "-m", "sidecar", "check", "--live"]

    def run() -> subprocess.CompletedProcess[str]:
        return subprocess.run(command, cwd=folder, env=environ(variables), capture_output=True, text=True, check=False)

    return await asyncio.to_thread(run)


async def test_check_live_goes_the_way_of_the_environment(tmp_path: Path, provider: StrictProvider) -> None:
    """HTTPS_PROXY and SSL_CERT_FILE, as every other program reads them; the password is not printed."""
    authority, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(NAME).configure_cert(context)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    port = int(str(urlsplit(provider.url).port))
    async with tls_door(port, context) as door, HttpProxy("agent:word-5150", {NAME: door}) as proxy:
        variables = {"HTTPS_PROXY": f"http://agent:word-5150@{proxy.url}", "SSL_CERT_FILE": "ca.pem"}
        done = await _checked(tmp_path, pool(f"https://{NAME}", list(provider.accounts)[:1]), **variables)
        assert proxy.asked == [f"CONNECT {NAME}:443"]
    assert (done.returncode, len(provider.arrivals)) == (0, 1), done.stdout + done.stderr
    assert "(env HTTPS_PROXY)" in done.stdout
    assert "5150" not in done.stdout + done.stderr


async def test_check_live_tries_a_key_with_another_way_out_than_one_that_is_shut(tmp_path: Path) -> None:
    """Of many keys behind a dead proxy not all are tried; the last, which goes directly, is."""
    async with HttpProxy() as proxy:
        gone = proxy.url
    async with StrictProvider(new_keys(10)) as provider:
        told = pool(provider.url, list(provider.accounts), proxy=f"http://{gone}")
        told["keys"][9]["proxy"] = "off"
        done = await _checked(tmp_path, told)
        assert list(provider.counts().values()) == [0] * 9 + [1]
    live = [line for line in done.stdout.splitlines() if line.startswith("live")]
    assert f"k0 connect (proxy http://{gone}: " in live[0]
    assert "k8 connect (as for k" in live[8]
    assert "k9 ok" in live[9]
