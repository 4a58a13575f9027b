"""What one replica learns, all replicas and `sidecar status` show."""

from __future__ import annotations

import secrets

from sidecar.ops import status
from tests.proxy.plane import new_keys, pool, sidecar
from tests.proxy.raw import Exchange, RawUpstream

MODEL = "new-model"  # no config names it
SAID = b'{"error":{"message":"Rate limit reached for new-model in organization org-1 on requests per min (RPM)"}}'


async def test_a_rest_for_a_model_that_no_config_names_is_seen_from_everywhere(redis_url: str) -> None:
    """On the metrics of a replica that was never asked for the model, and in the status."""

    async def answer(exchange: Exchange) -> None:
        if upstream.heard[0] is exchange:
            await exchange.reply(SAID, "429 Too Many Requests", "Retry-After: 50")
        else:
            await exchange.reply()

    async with RawUpstream(answer) as upstream:
        pools = {"chat": pool(upstream.url, new_keys(2))}
        own = {"redis": redis_url, "namespace": f"t-{secrets.token_hex(6)}"}
        async with sidecar(pools, **own) as asked, sidecar(pools, **own) as other:
            assert (await asked.chat(model=MODEL)).key == "k1"
            metrics = (await other.send("GET", "/metrics")).body.decode()
            told = await status.read(other.replica.state.config, other.replica.store)
    series = f'sidecar_key_cooldown_seconds{{key="k0",model="{MODEL}",pool="chat",reason="rate_limit_minute"}} '
    (line,) = (line for line in metrics.splitlines() if line.startswith(series))
    assert 40 < float(line.removeprefix(series)) <= 50
    assert told["pools"]["chat"]["grants"] == {MODEL: 2}
    rests = {key["id"]: [rest["model"] for rest in key["cooldowns"]] for key in told["pools"]["chat"]["keys"]}
    assert rests == {"k0": [MODEL], "k1": []}
