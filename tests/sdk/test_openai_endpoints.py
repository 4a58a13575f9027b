"""Every endpoint of OpenAI's SDK that the sidecar names, over three keys of three accounts: what one account made is
asked of that account, however often and with whatever between.
"""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import openai
import pytest

from sidecar.simulate.answers import WORDS
from sidecar.simulate.media import MP3, PNG
from sidecar.simulate.provider import StrictProvider
from tests.proxy.plane import Plane

TEXT = "".join(WORDS)
TIMES = 4  # more than there are keys: a call that goes to any key would meet another account's


@contextmanager
def client(plane: Plane) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(api_key="unused", base_url=f"{plane.url}/v1", max_retries=0) as sdk:
        yield sdk


def moderate(sdk: openai.OpenAI) -> None:
    assert not sdk.moderations.create(model="omni-moderation-latest", input=["a", "b"]).results[1].flagged


def paint(sdk: openai.OpenAI) -> None:
    """By words alone, and as a form with a picture in it."""
    made = sdk.images.generate(model="gpt-image-1", prompt="a cat")
    edited = sdk.images.edit(model="gpt-image-1", image=("cat.png", io.BytesIO(PNG), "image/png"), prompt="a hat")
    assert made.data
    assert edited.data
    assert made.data[0].b64_json == edited.data[0].b64_json


def speak(sdk: openai.OpenAI) -> None:
    """A binary download, whole and streamed."""
    assert sdk.audio.speech.create(model="tts-1", voice="alloy", input="hi").read() == MP3
    with sdk.audio.speech.with_streaming_response.create(model="tts-1", voice="alloy", input="hi") as streamed:
        assert b"".join(streamed.iter_bytes()) == MP3


def listen(sdk: openai.OpenAI) -> None:
    """A multipart upload."""
    sound = ("a.mp3", MP3, "audio/mpeg")
    assert sdk.audio.transcriptions.create(model="whisper-1", file=sound).text == TEXT
    assert sdk.audio.transcriptions.create(model="whisper-1", file=sound, response_format="text") == TEXT + "\n"


def complete(sdk: openai.OpenAI) -> None:
    assert sdk.completions.create(model="gpt-3.5-turbo-instruct", prompt="hi").choices[0].text == TEXT
    chunks = sdk.completions.create(model="gpt-3.5-turbo-instruct", prompt="hi", stream=True)
    assert "".join(chunk.choices[0].text for chunk in chunks) == TEXT


def keep_files(sdk: openai.OpenAI) -> None:
    made = sdk.files.create(file=("a.txt", b"hello"), purpose="user_data")
    for _ in range(TIMES):
        assert sdk.files.retrieve(made.id).filename == "a.txt"
        assert sdk.files.content(made.id).read() == b"hello"
    ask: Any = [{"role": "user", "content": [{"type": "file", "file": {"file_id": made.id}}]}]
    for _ in range(TIMES):
        assert sdk.chat.completions.create(model="gpt-4o", messages=ask).choices[0].message.content == TEXT
    assert sdk.files.delete(made.id).deleted
    with pytest.raises(openai.NotFoundError):
        sdk.files.retrieve(made.id)


def upload_in_parts(sdk: openai.OpenAI) -> None:
    upload = sdk.uploads.create(bytes=6, filename="b.txt", mime_type="text/plain", purpose="user_data")
    parts = [sdk.uploads.parts.create(upload.id, data=data).id for data in (b"one", b"two")]
    done = sdk.uploads.complete(upload.id, part_ids=parts)
    assert done.file
    for _ in range(TIMES):
        assert sdk.files.content(done.file.id).read() == b"onetwo"


def run_batches(sdk: openai.OpenAI) -> None:
    """Its output belongs to the same account, which is learnt from an answer that nobody made anything by."""
    lines = [{"custom_id": f"c{at}", "method": "POST", "url": "/v1/embeddings", "body": {}} for at in range(2)]
    given = sdk.files.create(file=("in.jsonl", "\n".join(map(json.dumps, lines)).encode()), purpose="batch")
    batch = sdk.batches.create(input_file_id=given.id, endpoint="/v1/embeddings", completion_window="24h")
    for _ in range(TIMES):
        output = sdk.batches.retrieve(batch.id).output_file_id
        assert output
        assert sdk.files.content(output).text.count("custom_id") == 2
    assert sdk.batches.cancel(batch.id).status == "cancelled"


def tune(sdk: openai.OpenAI) -> None:
    given = sdk.files.create(file=("in.jsonl", b"{}"), purpose="fine-tune")
    job = sdk.fine_tuning.jobs.create(model="gpt-4o-mini-2024-07-18", training_file=given.id)
    for _ in range(TIMES):
        assert sdk.fine_tuning.jobs.retrieve(job.id).training_file == given.id
        assert list(sdk.fine_tuning.jobs.list_events(job.id)) == []
    assert sdk.fine_tuning.jobs.cancel(job.id).status == "cancelled"


def store_vectors(sdk: openai.OpenAI) -> None:
    given = sdk.files.create(file=("a.txt", b"hello"), purpose="assistants")
    store = sdk.vector_stores.create(name="docs", file_ids=[given.id])
    for _ in range(TIMES):
        assert sdk.vector_stores.files.create(store.id, file_id=given.id).vector_store_id == store.id
        assert list(sdk.vector_stores.search(store.id, query="x")) == []
        tools: Any = [{"type": "file_search", "vector_store_ids": [store.id]}]
        assert sdk.responses.create(model="gpt-4o", input="hi", tools=tools).output_text == TEXT
    assert sdk.vector_stores.delete(store.id).deleted


def use_two_files_together(sdk: openai.OpenAI) -> None:
    made = [sdk.files.create(file=(f"{at}.txt", b"hello"), purpose="user_data") for at in range(2)]
    parts: Any = [{"type": "file", "file": {"file_id": one.id}} for one in made]
    ask: Any = [{"role": "user", "content": parts}]
    assert sdk.chat.completions.create(model="gpt-4o", messages=ask).choices[0].message.content == TEXT


def fill_a_vector_store(sdk: openai.OpenAI) -> None:
    """By the SDK's own helpers, which upload each file by itself."""
    store = sdk.vector_stores.create(name="docs")
    put = sdk.vector_stores.files.upload_and_poll(vector_store_id=store.id, file=("a.txt", b"hello"))
    assert put.status == "completed"
    files = [(f"{at}.txt", b"hello") for at in range(3)]
    sdk.vector_stores.file_batches.upload_and_poll(vector_store_id=store.id, files=files)


def go_on_with_responses(sdk: openai.OpenAI) -> None:
    last = sdk.responses.create(model="gpt-4o", input="hi")
    for _ in range(TIMES):
        assert sdk.responses.retrieve(last.id).output_text == TEXT
        assert list(sdk.responses.input_items.list(last.id)) == []
        last = sdk.responses.create(model="gpt-4o", input="and?", previous_response_id=last.id)
    item: Any = [{"type": "item_reference", "id": last.output[0].id}, {"role": "user", "content": "more"}]
    for _ in range(TIMES):
        assert sdk.responses.create(model="gpt-4o", input=item).output_text == TEXT
    assert sdk.responses.cancel(last.id).status == "cancelled"
    sdk.responses.delete(last.id)
    with pytest.raises(openai.NotFoundError):
        sdk.responses.retrieve(last.id)


def give_reasoning_back(sdk: openai.OpenAI) -> None:
    """Nothing is stored, and the id may be left out: what was thought is sealed for the account that thought it."""
    sealed: list[openai.types.responses.ResponseIncludable] = ["reasoning.encrypted_content"]
    first = sdk.responses.create(model="o4-mini", input="hi", store=False, include=sealed)
    thought = first.output[0].model_dump(include={"type", "summary", "encrypted_content"})
    assert thought["encrypted_content"]
    for _ in range(TIMES):
        again: Any = [thought, {"role": "user", "content": "and?"}]
        assert sdk.responses.create(model="o4-mini", input=again, store=False).output_text == TEXT


def use_what_has_no_method_here(sdk: openai.OpenAI) -> None:
    """Containers and conversations are kept as they were sent; an unknown path passes with a key."""
    container = sdk.containers.create(name="box")
    talk = sdk.conversations.create()
    for _ in range(TIMES):
        assert sdk.containers.retrieve(container.id).name == "box"
        assert sdk.conversations.retrieve(talk.id).id == talk.id
        assert sdk.responses.create(model="gpt-4o", input="hi", conversation=talk.id).output_text == TEXT
    told = sdk.post("/brand/new", body={"a": 1}, cast_to=dict[str, Any])
    assert told["path"] == "/v1/brand/new"


USES = [
    moderate,
    paint,
    speak,
    listen,
    complete,
    keep_files,
    upload_in_parts,
    run_batches,
    tune,
    store_vectors,
    use_two_files_together,
    fill_a_vector_store,
    go_on_with_responses,
    give_reasoning_back,
    use_what_has_no_method_here,
]


@pytest.mark.parametrize("use", USES)
async def test_endpoint(plane: Plane, provider: StrictProvider, use: Callable[[openai.OpenAI], None]) -> None:
    """No call meets another account, so none is sent twice; and no key but the pool's is used."""

    def run() -> None:
        with client(plane) as sdk:
            use(sdk)

    await asyncio.to_thread(run)
    mine = {key.secret.reveal() for key in plane.replica.state.config.pools["openai"].keys}
    assert {arrival.key for arrival in provider.arrivals} <= mine
    refused = [arrival for arrival in provider.arrivals if arrival.status >= 400]
    gone = use in {
        keep_files,
        go_on_with_responses,
    }  # what is deleted is remembered by nobody, and asked of two accounts
    assert len(refused) == (2 if gone else 0), refused
