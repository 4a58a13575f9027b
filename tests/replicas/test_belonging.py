"""What was made through one replica is used through another."""

from __future__ import annotations

import aiohttp

from sidecar.simulate.provider import StrictProvider
from tests.fleet import fleet
from tests.replicas.traffic import BODY, config, new_keys


async def test_a_file_made_through_one_replica_is_used_through_the_other(redis_url: str) -> None:
    """Five accounts, ten files, a hundred calls that name them, each to the other replica at once: none misses."""
    async with (
        StrictProvider(new_keys(5), keeps=True) as provider,
        fleet(2, config(provider, redis_url, 5)) as (one, other),
        aiohttp.ClientSession() as http,
    ):
        for number in range(10):
            form = aiohttp.FormData({"purpose": "user_data"})
            form.add_field("file", b"hello", filename=f"{number}.txt")
            async with http.post(f"{one.url}/v1/files", data=form) as answer:
                file, key = (await answer.json())["id"], answer.headers["x-sidecar-key"]
            assert key == f"k{number % 5}"
            part = {"type": "file", "file": {"file_id": file}}
            for call in range(10):
                asked = BODY | {"messages": [{"role": "user", "content": [part, {"type": "text", "text": str(call)}]}]}
                async with http.post(f"{other.url}/v1/chat/completions", json=asked) as answer:
                    assert (answer.status, answer.headers["x-sidecar-key"]) == (200, key)
                    assert answer.headers["x-sidecar-attempts"] == "1"
        assert {arrival.status for arrival in provider.arrivals} == {200}
        assert len(provider.arrivals) == 110
