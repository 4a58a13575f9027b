"""Everything that runs while it is measured, each a process on loopback that is kept to one core.

The proxies share the last core, one of them at a time under load; upstream, Redis and client have the first.
"""

from __future__ import annotations

import http.client
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import orjson

from tests.bench import load
from tests.servers import binary, free_port

KEYS = 10
TICK_S = 1 / os.sysconf("SC_CLK_TCK")
PATH = "/v1/chat/completions"
EVENTS = 48  # of a streamed answer, as many as a short one has

QUESTION = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Say something about rivers. " * 20}]}
USAGE = {"prompt_tokens": 118, "completion_tokens": EVENTS, "total_tokens": 118 + EVENTS}

NGINX = """
master_process off; daemon off; pid {folder}/nginx.pid; error_log stderr error;
events {{ worker_connections 4096; }}
http {{
  access_log off; keepalive_requests 100000000; keepalive_timeout 1h;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  types {{ application/json json; text/event-stream sse; }}
  # Nothing is included: this takes the length away, so that the stream is chunked as a provider's is.
  ssi_types text/event-stream;
  map $args $answer {{ stream /answer.sse; default /answer.json; }}
  server {{
    listen 127.0.0.1:{port};
    root {folder};
    location = {path} {{ rewrite ^ $answer last; }}
    location / {{ error_page 405 =200 $uri; }}
    location = /answer.sse {{ ssi on; error_page 405 =200 $uri; }}
  }}
}}
"""


def _chunk(text: str | None, **more: object) -> bytes:
    choice = {"index": 0, "delta": {} if text is None else {"content": text}, "finish_reason": None if text else "stop"}
    head = {"id": "chatcmpl-bench", "object": "chat.completion.chunk", "created": 1_700_000_000, "model": "gpt-4o-mini"}
    return b"data: " + orjson.dumps({**head, "choices": [choice], **more}) + b"\n\n"


def _answers(folder: Path) -> None:
    """What nginx says: one JSON answer, one stream of events."""
    message = {"role": "assistant", "content": "Rivers shape the land that they cross. " * 8}
    head = {"id": "chatcmpl-bench", "object": "chat.completion", "created": 1_700_000_000, "model": "gpt-4o-mini"}
    choices = [{"index": 0, "message": message, "finish_reason": "stop"}]
    (folder / "answer.json").write_bytes(orjson.dumps({**head, "choices": choices, "usage": USAGE}))
    events = [_chunk(f"river{number} ") for number in range(EVENTS)]
    (folder / "answer.sse").write_bytes(b"".join([*events, _chunk(None, usage=USAGE), b"data: [DONE]\n\n"]))


@dataclass(slots=True)
class Process:
    """A process of the stage and the port that it answers on."""

    popen: subprocess.Popen[bytes]
    port: int
    started: float

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def cpu_s(self) -> float:
        """User and system time so far, in the kernel's ticks of 10 ms."""
        fields = Path(f"/proc/{self.popen.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) * TICK_S

    def memory_mib(self) -> tuple[float, float]:
        """Resident and proportional: pages that processes share count whole in the first, in parts in the second."""
        return self._kib("status", "VmRSS:") / 1024, self._kib("smaps_rollup", "Pss:") / 1024

    def _kib(self, file: str, field: str) -> int:
        lines = Path(f"/proc/{self.popen.pid}/{file}").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith(field))

    def answers(self, question: bytes | None) -> bool:
        """Whether it does: a chat completion, or (None) a connection."""
        wire = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            wire.connect()
            if question is None:
                return True
            wire.request("POST", PATH, question, {"Content-Type": "application/json"})
            return wire.getresponse().status == 200
        except OSError:
            return False
        finally:
            wire.close()

    def first_answer_s(self, question: bytes | None) -> float:
        """Seconds from its start to its first answer. RuntimeError where it dies or takes a minute."""
        while time.perf_counter() - self.started < 60 and self.popen.poll() is None:
            if self.answers(question):
                return time.perf_counter() - self.started
            time.sleep(0.005)
        raise RuntimeError(f"{self.popen.args!r} does not answer (exit {self.popen.poll()}); run it to see why")


def pinned(core: int) -> list[str]:
    """The command that keeps what follows it to one core, where there is one to be had."""
    return ["taskset", "-c", str(core)] if shutil.which("taskset") else []


@contextmanager
def process(command: Sequence[str], port: int, core: int) -> Iterator[Process]:
    """Started, not yet answering; ended at the end."""
    started = time.perf_counter()
    popen = subprocess.Popen([*pinned(core), *command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield Process(popen, port, started)
    finally:
        popen.terminate()
        try:
            popen.wait(10)
        except subprocess.TimeoutExpired:
            popen.kill()
            popen.wait()


@dataclass(frozen=True, slots=True)
class Stage:
    """What stays up for all rounds, and how the proxies between are started."""

    folder: Path
    upstream: Process
    redis_url: str
    proxy_core: int
    other_core: int

    def body(self, shape: str) -> Path:
        return self.folder / f"{shape}.json"

    def path(self, shape: str) -> str:
        return PATH + ("?stream" if shape == "stream" else "")

    def run(self, target: Process, what: load.Load, seconds: float) -> load.Sample:
        """One load on one target, or on the upstream itself."""
        url = target.url + self.path(what.shape)
        return load.run(what, url, self.body(what.shape), seconds, pinned(self.other_core))

    def commands(self) -> dict[str, list[str]]:
        """The proxies, by the name that the table gives them; `{port}` is to be filled in."""
        floor = [sys.executable, "-m", "tests.bench.floor", "--port", "{port}", "--upstream", self.upstream.url]
        return {
            "floor": floor,
            "floor+redis": [*floor, "--redis", self.redis_url],
            "sidecar": [sys.executable, "-m", "sidecar", "run", "--config", "{config}"],
        }

    @contextmanager
    def proxy(self, name: str) -> Iterator[Process]:
        """A proxy of this name, just started."""
        port = free_port()
        config = self.folder / f"sidecar-{port}.yaml"
        config.write_bytes(orjson.dumps(self._config(port)))
        command = [part.format(port=port, config=config) for part in self.commands()[name]]
        with process(command, port, self.proxy_core) as started:
            yield started

    def _config(self, port: int) -> dict[str, object]:
        """JSON is YAML. The budgets are too large to matter and as many as keys usually have."""
        keys = [{"id": f"k{number}", "secret": f"sk-bench-{number:04}"} for number in range(KEYS)]
        limits = [{"requests": 10**8, "per": per} for per in ("minute", "day")]
        pool = {"base_url": self.upstream.url + "/v1", "dialect": "openai", "auth": "bearer"}
        return {
            "listen": f"127.0.0.1:{port}",
            "ops_listen": f"127.0.0.1:{free_port()}",
            "redis": self.redis_url,
            "namespace": "bench",
            "failures": "off",
            "pools": {"bench": {**pool, "keys": keys, "limits": limits}},
        }


@contextmanager
def stage(folder: Path) -> Iterator[Stage]:
    """Upstream and Redis, answering."""
    cores = sorted(os.sched_getaffinity(0))
    with ExitStack() as stack:
        _answers(folder)
        for shape in ("plain", "stream"):
            (folder / f"{shape}.json").write_bytes(orjson.dumps({**QUESTION, "stream": shape == "stream"}))
        upstream = stack.enter_context(_upstream(folder, cores[0]))
        port = free_port()
        found = binary()
        if found is None:
            raise SystemExit("The bench needs redis-server or valkey-server.")
        server = [found, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
        redis = stack.enter_context(process(server, port, cores[0]))
        redis.first_answer_s(None)
        yield Stage(folder, upstream, f"redis://127.0.0.1:{port}/0", cores[-1], cores[0])


@contextmanager
def _upstream(folder: Path, core: int) -> Iterator[Process]:
    """nginx, which costs almost nothing; else the simulated provider, which then is what is measured most."""
    port = free_port()
    conf = folder / "nginx.conf"
    conf.write_text(NGINX.format(folder=folder, port=port, path=PATH))
    command = ["nginx", "-p", str(folder), "-e", "stderr", "-c", str(conf)]
    if not has_nginx():
        secrets = ["floor", *(f"sk-bench-{number:04}" for number in range(KEYS))]
        provider = [sys.executable, "-m", "sidecar.simulate.provider", "--port", str(port)]
        command = [*provider, "--keys", orjson.dumps(secrets).decode()]
    with process(command, port, core) as started:
        started.first_answer_s(None)
        yield started


def has_nginx() -> bool:
    return shutil.which("nginx") is not None
