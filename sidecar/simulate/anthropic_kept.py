"""What Anthropic keeps: files and batches of messages."""

from __future__ import annotations

import re

import orjson

from sidecar.simulate.answers import WORDS, Answer
from sidecar.simulate.calls import Call, CallError, Data
from sidecar.simulate.failures import anthropic_error
from sidecar.simulate.shelves import Shelves, form, header, json, new_id, raw

_PATH = re.compile(r"(?P<kind>files|messages/batches)(?:/(?P<thing>[^/]+)(?:/(?P<what>.+))?)?")
_NOW = "2025-06-15T15:06:40Z"
_PREFIX = {"files": "file_", "messages/batches": "msgbatch_"}
_COUNTS = {"processing": 0, "succeeded": 0, "errored": 0, "canceled": 0, "expired": 0}


def answer(call: Call, account: str, shelves: Shelves) -> Answer | None:
    """None where nothing is kept there. Raises Absent, and CallError where something needed is missing."""
    found = _PATH.fullmatch(call.operation.strip("/"))
    if not found:
        return None
    kind, thing, what = found["kind"], found["thing"], found["what"]
    if thing is None and call.method == "GET":
        rows = shelves.of(account, _PREFIX[kind])
        ends = {"first_id": rows[0]["id"], "last_id": rows[-1]["id"]} if rows else {"first_id": None, "last_id": None}
        return json({"data": rows, "has_more": False} | ends)
    if thing is None:
        return json(_file(call, account, shelves) if kind == "files" else _batch(call, account, shelves))
    kept = shelves.get(account, thing)
    if call.method == "DELETE":
        shelves.drop(account, thing)
        return json({"id": thing, "type": f"{'file' if kind == 'files' else 'message_batch'}_deleted"})
    if what in {"content", "results"}:
        return raw(kept.content, "application/binary" if what == "content" else "application/x-jsonl")
    if what == "cancel":
        kept.data["processing_status"] = "canceling"
    elif kind != "files":
        host = header(call, "host")
        kept.data |= {"processing_status": "ended", "ended_at": _NOW}
        kept.data["results_url"] = f"http://{host}/v1/messages/batches/{thing}/results"
    return json(kept.data)


def absent(thing: str) -> Answer:
    kind = "File" if thing.startswith("file_") else "Message batch"
    return anthropic_error(404, f"{kind} not found: {thing}")


def _file(call: Call, account: str, shelves: Shelves) -> Data:
    part = form(call).get("file")
    if part is None:
        raise CallError("file: Field required")
    thing = new_id("file_011")
    data: Data = {
        "id": thing,
        "type": "file",
        "filename": part.filename,
        "mime_type": part.media,
        "size_bytes": len(part.content),
        "created_at": _NOW,
        "downloadable": True,
    }
    return shelves.put(account, thing, data, part.content).data


def _batch(call: Call, account: str, shelves: Shelves) -> Data:
    asked = (call.data or {}).get("requests")
    if not asked:
        raise CallError("requests: Field required")
    thing = new_id("msgbatch_01")
    data: Data = {
        "id": thing,
        "type": "message_batch",
        "processing_status": "in_progress",
        "request_counts": _COUNTS | {"processing": len(asked)},
        "ended_at": None,
        "created_at": _NOW,
        "expires_at": "2099-06-16T15:06:40Z",
        "archived_at": None,
        "cancel_initiated_at": None,
        "results_url": None,
    }
    lines = [orjson.dumps({"custom_id": one["custom_id"], "result": _result(one["params"])}) for one in asked]
    return shelves.put(account, thing, data, b"\n".join(lines)).data


def _result(asked: Data) -> Data:
    message = {
        "id": new_id("msg_01"),
        "type": "message",
        "role": "assistant",
        "model": asked["model"],
        "content": [{"type": "text", "text": "".join(WORDS)}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 1, "output_tokens": 1},
    }
    return {"type": "succeeded", "message": message}
