"""The methods of Google's SDK that make a request, with what they are called with: their signatures do not tell."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from google import genai
from google.genai import types

from tests.sdk.methods import Method

MODEL = {"model": "gemini-2.0-flash"}
WORDS = MODEL | {"contents": "hi"}
# By method: its arguments; one that names a thing is a kind of things, by how their names begin.
THINGS: dict[str, dict[str, Any]] = {
    "auth_tokens.create": {},
    "batches.cancel": {"name": "batches/"},
    "batches.create": MODEL | {"src": "files/"},
    "batches.create_embeddings": MODEL | {"src": types.EmbeddingsBatchJobSource(file_name="files/in")},
    "batches.delete": {"name": "batches/"},
    "batches.get": {"name": "batches/"},
    "batches.list": {},
    "caches.create": MODEL,
    "caches.delete": {"name": "cachedContents/"},
    "caches.get": {"name": "cachedContents/"},
    "caches.list": {},
    "caches.update": {"name": "cachedContents/", "config": types.UpdateCachedContentConfig(ttl="60s")},
    "credentials.get": {"id": "cred_"},
    "credentials.list": {},
    "environments.create": {},
    "environments.delete": {"id": "env_"},
    "environments.get": {"id": "env_"},
    "environments.list": {},
    "file_search_stores.create": {},
    "file_search_stores.delete": {"name": "fileSearchStores/"},
    "file_search_stores.documents.delete": {"name": "fileSearchStores/*/documents/"},
    "file_search_stores.documents.get": {"name": "fileSearchStores/*/documents/"},
    "file_search_stores.documents.list": {"parent": "fileSearchStores/"},
    "file_search_stores.download_media": {"media_id": "fileSearchStores/*/media/"},
    "file_search_stores.get": {"name": "fileSearchStores/"},
    "file_search_stores.import_file": {"file_search_store_name": "fileSearchStores/", "file_name": "files/"},
    "file_search_stores.list": {},
    "files.delete": {"name": "files/"},
    "files.download": {"file": "files/"},
    "files.get": {"name": "files/"},
    "files.list": {},
    "interactions.cancel": {"id": "v1_Chd1b"},
    "interactions.create": MODEL | {"input": "hi", "previous_interaction_id": "v1_Chd1b"},
    "interactions.delete": {"id": "v1_Chd1b"},
    "interactions.get": {"id": "v1_Chd1b"},
    "models.count_tokens": WORDS,
    "models.delete": {"model": "tunedModels/"},
    "models.embed_content": WORDS,
    "models.generate_content": WORDS,
    "models.get": {"model": "tunedModels/"},
    "models.update": {"model": "tunedModels/", "config": types.UpdateModelConfig(display_name="x")},
    "triggers.get": {"id": "trigger_"},
    "triggers.list": {},
    "triggers.list_executions": {"trigger_id": "trigger_"},
    "triggers.run": {"trigger_id": "trigger_"},
    "tunings.cancel": {"name": "tunedModels/"},
    "tunings.get": {"name": "tunedModels/"},
    "voices.delete": {"id": "voice_"},
    "voices.get": {"id": "voice_"},
    "voices.list": {},
    "webhooks.delete": {"id": "webhook_"},
    "webhooks.get": {"id": "webhook_"},
    "webhooks.list": {},
    "webhooks.ping": {"id": "webhook_"},
    "webhooks.rotate_signing_secret": {"id": "webhook_"},
}


@dataclass(frozen=True)
class Listed(Method):
    """One of the methods above."""

    wants: dict[str, Any] = field(default_factory=dict)

    def arguments(self, ids: Callable[[str], str]) -> dict[str, Any]:
        return {name: ids(value) if _is_kind(value) else value for name, value in self.wants.items()}


def methods(client: genai.Client) -> Iterator[Method]:
    for name, wants in THINGS.items():
        yield Listed(name, partial(_call, client, name), wants)


def _call(client: genai.Client, method: str, /, **arguments: Any) -> Any:
    return operator.attrgetter(method)(client)(**arguments)


def _is_kind(value: object) -> bool:
    return isinstance(value, str) and (value.endswith(("/", "_")) or value.startswith("v1_"))
