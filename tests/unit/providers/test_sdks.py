"""The official SDKs understand what the sidecar itself says in their dialects."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import anthropic
import openai
import pytest
from google import genai
from google.genai import errors, types

from sidecar.providers.catalogue import DIALECTS

# google-genai derives from aiohttp's session, which aiohttp discourages.
pytestmark = pytest.mark.filterwarnings("ignore:Inheritance class AiohttpClientSession:DeprecationWarning")

MODELS = ("gpt-4o", "org/m", "g-2.0")


class Canned(HTTPServer):
    """Answers everything with the same bytes."""

    answer = (200, b"")

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Canned

    def do_GET(self) -> None:
        status, body = self.server.answer
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as http.server calls it
        """Says nothing."""


@pytest.fixture
def canned() -> Iterator[Canned]:
    with Canned(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def openai_names(url: str) -> list[str]:
    with openai.OpenAI(api_key="k", base_url=f"{url}/v1", max_retries=0) as client:
        return [model.id for model in client.models.list()]


def anthropic_names(url: str) -> list[str]:
    with anthropic.Anthropic(api_key="k", base_url=url, max_retries=0) as client:
        return [model.id for model in client.models.list()]


def gemini_names(url: str) -> list[str]:
    with genai.Client(api_key="k", http_options=types.HttpOptions(base_url=url)) as client:
        return [(model.name or "").removeprefix("models/") for model in client.models.list()]


LISTS: dict[str, Callable[[str], list[str]]] = {
    "openai": openai_names,
    "anthropic": anthropic_names,
    "gemini": gemini_names,
}


@pytest.mark.parametrize("dialect", LISTS)
@pytest.mark.parametrize("models", [MODELS, ()])
def test_models_are_listed(canned: Canned, dialect: str, models: tuple[str, ...]) -> None:
    """In order, and an empty list is one."""
    canned.answer = (200, DIALECTS[dialect].write_models(models))
    assert LISTS[dialect](canned.url) == list(models)


@pytest.mark.parametrize(
    ("dialect", "status", "error"),
    [
        ("openai", 400, openai.BadRequestError),
        ("openai", 404, openai.NotFoundError),
        ("openai", 429, openai.RateLimitError),
        ("openai", 503, openai.InternalServerError),
        ("anthropic", 401, anthropic.AuthenticationError),
        ("anthropic", 404, anthropic.NotFoundError),
        ("anthropic", 429, anthropic.RateLimitError),
        ("anthropic", 503, anthropic.APIStatusError),
        ("gemini", 400, errors.ClientError),
        ("gemini", 404, errors.ClientError),
        ("gemini", 503, errors.ServerError),
    ],
)
def test_errors_are_the_sdks_own(canned: Canned, dialect: str, status: int, error: type[Any]) -> None:
    """With the sidecar's words in them."""
    canned.answer = (status, DIALECTS[dialect].write_error(status, "model_not_found", "No route serves it."))
    with pytest.raises(error, match=r"No route serves it\."):
        LISTS[dialect](canned.url)


def test_openai_error_names_its_code(canned: Canned) -> None:
    """For programs."""
    canned.answer = (404, DIALECTS["openai"].write_error(404, "model_not_found", "No route serves it."))
    with pytest.raises(openai.NotFoundError) as raised:
        openai_names(canned.url)
    assert (raised.value.code, raised.value.type) == ("model_not_found", "invalid_request_error")
