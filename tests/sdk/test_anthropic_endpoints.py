"""Files and batches by Anthropic's SDK, over three keys of three accounts, with nothing but the base URL changed."""

from __future__ import annotations

import asyncio
from typing import Any

import anthropic
import pytest

from sidecar.simulate.answers import INPUT_TOKENS, WORDS
from sidecar.simulate.provider import StrictProvider
from tests.proxy.plane import Plane

TEXT = "".join(WORDS)
TIMES = 4  # more than there are keys
ASK: Any = [{"role": "user", "content": "hi"}]


def keep_files(sdk: anthropic.Anthropic) -> None:
    """At OpenAI's path: the header that every call of Anthropic's has tells whose."""
    made = sdk.beta.files.upload(file=("a.txt", b"hello", "text/plain"))
    document: Any = {"type": "document", "source": {"type": "file", "file_id": made.id}}
    for _ in range(TIMES):
        assert sdk.beta.files.retrieve_metadata(made.id).filename == "a.txt"
        assert sdk.beta.files.download(made.id).read() == b"hello"
        asked: Any = [{"role": "user", "content": [document]}]
        answer = sdk.beta.messages.create(model="claude-x", max_tokens=9, messages=asked)
        assert answer.usage.input_tokens >= INPUT_TOKENS
    sdk.beta.files.delete(made.id)
    with pytest.raises(anthropic.NotFoundError):
        sdk.beta.files.retrieve_metadata(made.id)


def use_two_files_together(sdk: anthropic.Anthropic) -> None:
    made = [sdk.beta.files.upload(file=(f"{at}.txt", b"hello", "text/plain")) for at in range(2)]
    parts: Any = [{"type": "document", "source": {"type": "file", "file_id": one.id}} for one in made]
    asked: Any = [{"role": "user", "content": parts}]
    assert sdk.beta.messages.create(model="claude-x", max_tokens=9, messages=asked).usage.input_tokens >= INPUT_TOKENS


def run_batches(sdk: anthropic.Anthropic) -> None:
    """The URL of its results, which the SDK calls as it is, leads to the sidecar."""
    params: Any = {"model": "claude-x", "max_tokens": 9, "messages": ASK}
    batch = sdk.messages.batches.create(requests=[{"custom_id": "a", "params": params}])
    for _ in range(TIMES):
        assert sdk.messages.batches.retrieve(batch.id).processing_status == "ended"
        (line,) = sdk.messages.batches.results(batch.id)
        assert line.result.type == "succeeded"
        assert line.custom_id == "a"
    assert sdk.messages.batches.cancel(batch.id).processing_status == "canceling"
    sdk.messages.batches.delete(batch.id)


@pytest.mark.parametrize("use", [keep_files, use_two_files_together, run_batches])
async def test_endpoint(plane: Plane, provider: StrictProvider, use: Any) -> None:
    """No call meets another account, and all of them come to the sidecar."""

    def run() -> None:
        with anthropic.Anthropic(api_key="unused", base_url=plane.url, max_retries=0) as sdk:
            use(sdk)

    await asyncio.to_thread(run)
    mine = {key.secret.reveal() for key in plane.replica.state.config.pools["anthropic"].keys}
    assert {arrival.key for arrival in provider.arrivals} <= mine
    refused = [arrival for arrival in provider.arrivals if arrival.status >= 400]
    assert len(refused) == (2 if use is keep_files else 0), refused
