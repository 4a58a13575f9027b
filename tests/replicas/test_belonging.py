"""What was made through one replica is used through another."""

from __future__ import annotations

import aiohttp

from sidecar.simulate.provider import StrictProvider
from tests.fleet import Sidecar, fleet
from tests.replicas.traffic import BODY, config, new_keys

CLIENTS = [{"id": f"c{number}", "token": f"token-{number}"} for number in range(10)]


async def upload(http: aiohttp.ClientSession, replica: Sidecar, number: int) -> tuple[str, str]:
    """The id of a new file of this client's, and the key that made it."""
    form = aiohttp.FormData({"purpose": "user_data"})
    form.add_field("file", b"hello", filename=f"{number}.txt")
    async with http.post(f"{replica.url}/v1/files", data=form, headers=of(number)) as answer:
        return (await answer.json())["id"], answer.headers["x-sidecar-key"]


def of(number: int) -> dict[str, str]:
    return {"Authorization": f"Bearer token-{number}"}


async def test_files_made_through_two_replicas_are_used_together_through_either(redis_url: str) -> None:
    """Five accounts, ten clients with a file of each replica, a hundred calls that name both: none misses."""
    keys = set()
    async with (
        StrictProvider(new_keys(5), keeps=True) as provider,
        fleet(2, config(provider, redis_url, 5) | {"clients": CLIENTS}) as (one, other),
        aiohttp.ClientSession() as http,
    ):
        for number in range(10):
            (file, key), (second, same) = await upload(http, one, number), await upload(http, other, number)
            assert same == key
            keys.add(key)
            parts = [{"type": "file", "file": {"file_id": thing}} for thing in (file, second)]
            asked = BODY | {"messages": [{"role": "user", "content": parts}]}
            for replica in (one, other) * 5:
                async with http.post(f"{replica.url}/v1/chat/completions", json=asked, headers=of(number)) as answer:
                    assert (answer.status, answer.headers["x-sidecar-key"]) == (200, key)
                    assert answer.headers["x-sidecar-attempts"] == "1"
        assert {arrival.status for arrival in provider.arrivals} == {200}
        assert len(provider.arrivals) == 120
    assert len(keys) > 1
