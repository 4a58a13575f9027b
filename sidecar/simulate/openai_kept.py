"""What OpenAI keeps: files, uploads, batches, jobs, responses, vector stores, and whatever else has an id there."""

from __future__ import annotations

import re
from collections.abc import Callable

import orjson

from sidecar.simulate.answers import CREATED, Answer
from sidecar.simulate.calls import Call, CallError, Data
from sidecar.simulate.failures import openai_error
from sidecar.simulate.shelves import Part, Shelves, form, json, new_id, raw

# What resources are called: in the path, how their ids begin, in `object`.
KINDS = {
    "files": ("file-", "file"),
    "uploads": ("upload_", "upload"),
    "batches": ("batch_", "batch"),
    "fine_tuning/jobs": ("ftjob-", "fine_tuning.job"),
    "vector_stores": ("vs_", "vector_store"),
    "containers": ("cntr_", "container"),
    "assistants": ("asst_", "assistant"),
    "threads": ("thread_", "thread"),
    "conversations": ("conv_", "conversation"),
    "responses": ("resp_", "response"),
}
_PATH = re.compile(rf"(?P<kind>{'|'.join(KINDS)})(?:/(?P<thing>[^/]+)(?:/(?P<what>.+))?)?")
_WEEK_S = 7 * 86_400


def answer(call: Call, account: str, shelves: Shelves) -> Answer | None:
    """None where nothing is kept there. Raises Absent, and CallError where something needed is missing."""
    found = _PATH.fullmatch(call.operation.strip("/"))
    if not found or (found["kind"] == "responses" and not found["thing"]):
        return None
    kind, thing, what = found["kind"], found["thing"], found["what"] or ""
    if thing is None:
        rows = shelves.of(account, KINDS[kind][0])
        return (
            json({"object": "list", "data": rows, "has_more": False})
            if call.method == "GET"
            else json(_make(call, kind, account, shelves))
        )
    kept = shelves.get(account, thing)
    if call.method == "DELETE" and not what:
        shelves.drop(account, thing)
        return json({"id": thing, "object": f"{KINDS[kind][1]}.deleted".removeprefix("file."), "deleted": True})
    if kind == "files" and what == "content":
        return raw(kept.content, "application/octet-stream")
    if step := _STEPS.get((kind, what)):
        return json(step(call, account, shelves, thing))
    if kind == "batches":
        _finish(account, shelves, kept.data)
    return json(kept.data)


def absent(call: Call, thing: str) -> Answer:
    """As recorded for files and previous responses; encrypted items as in openai/codex and vercel/ai threads."""
    if thing.startswith("resp_") and call.method == "POST":
        text, code = f"Previous response with id '{thing}' not found.", "previous_response_not_found"
        return openai_error(400, text, code=code)
    if thing.startswith("file-"):
        return openai_error(404, f"No such File object: {thing}")
    if thing.startswith("gAAAA"):
        why = "Encrypted content organization_id did not match the target organization."
        text = f"The encrypted content {thing[:4]}...{thing[-4:]} could not be verified. Reason: {why}"
        return openai_error(400, text, code="invalid_encrypted_content")
    kind = next((name for prefix, name in KINDS.values() if thing.startswith(prefix)), "object")
    return openai_error(404, f"{kind.rpartition('.')[2].replace('_', ' ').capitalize()} with id '{thing}' not found.")


def _make(call: Call, kind: str, account: str, shelves: Shelves) -> Data:
    thing = new_id(KINDS[kind][0])
    data: Data = {"id": thing, "object": KINDS[kind][1], "created_at": CREATED}
    if kind == "files":
        parts = form(call)
        if "file" not in parts or "purpose" not in parts:
            raise CallError("'file' and 'purpose' are required.")
        return file(account, shelves, parts["file"], parts["purpose"].content.decode())
    return shelves.put(account, thing, data | (call.data or {}) | _FRESH.get(kind, {})).data


def file(account: str, shelves: Shelves, part: Part, purpose: str) -> Data:
    """A new file."""
    thing = new_id("file-")
    data: Data = {
        "id": thing,
        "object": "file",
        "bytes": len(part.content),
        "created_at": CREATED,
        "filename": part.filename,
        "purpose": purpose,
        "status": "processed",
        "expires_at": None,
    }
    return shelves.put(account, thing, data, part.content).data


_COUNTS = {"in_progress": 0, "completed": 0, "failed": 0, "cancelled": 0, "total": 0}
_FRESH: dict[str, Data] = {
    "uploads": {"status": "pending", "expires_at": 4_000_000_000},
    "batches": {
        "status": "validating",
        "errors": None,
        "output_file_id": None,
        "error_file_id": None,
        "expires_at": CREATED + 86_400,
        "request_counts": {"total": 0, "completed": 0, "failed": 0},
        "metadata": None,
    },
    "fine_tuning/jobs": {
        "status": "queued",
        "fine_tuned_model": None,
        "hyperparameters": {"n_epochs": "auto"},
        "organization_id": "org-simulated",
        "result_files": [],
        "seed": 1,
        "error": None,
        "trained_tokens": None,
        "finished_at": None,
    },
    "vector_stores": {"name": "", "status": "completed", "usage_bytes": 0, "file_counts": _COUNTS, "metadata": {}},
    "containers": {"status": "running", "last_active_at": CREATED},
    "conversations": {"metadata": {}},
}


def _finish(account: str, shelves: Shelves, batch: Data) -> None:
    """A batch that is asked for is done: its output is a file of the same account."""
    if batch["status"] != "validating":
        return
    lines = shelves.get(account, batch["input_file_id"]).content.splitlines()
    done = [{"id": new_id("batch_req_"), "custom_id": orjson.loads(line).get("custom_id")} for line in lines if line]
    output = Part(b"\n".join(map(orjson.dumps, done)), "output.jsonl", "application/jsonl")
    made = file(account, shelves, output, "batch_output")
    counts = {"total": len(done), "completed": len(done), "failed": 0}
    batch.update(status="completed", output_file_id=made["id"], request_counts=counts)


def _cancel(_call: Call, account: str, shelves: Shelves, thing: str) -> Data:
    kept = shelves.get(account, thing).data
    kept["status"] = "cancelled"
    return kept


def _part(call: Call, account: str, shelves: Shelves, upload: str) -> Data:
    thing = new_id("part_")
    data: Data = {"id": thing, "object": "upload.part", "created_at": CREATED, "upload_id": upload}
    return shelves.put(account, thing, data, form(call)["data"].content).data


def _complete(call: Call, account: str, shelves: Shelves, upload: str) -> Data:
    kept = shelves.get(account, upload).data
    content = b"".join(shelves.get(account, part).content for part in (call.data or {})["part_ids"])
    made = file(account, shelves, Part(content, kept["filename"], kept["mime_type"]), kept["purpose"])
    kept.update(status="completed", file=made)
    return kept


def _events(_call: Call, _account: str, _shelves: Shelves, _thing: str) -> Data:
    return {"object": "list", "data": [], "has_more": False}


def _store_file(call: Call, account: str, shelves: Shelves, store: str) -> Data:
    if call.method == "GET":
        return {"object": "list", "data": [], "has_more": False}
    thing = shelves.get(account, (call.data or {})["file_id"]).data["id"]
    row: Data = {"id": thing, "object": "vector_store.file", "created_at": CREATED, "vector_store_id": store}
    return row | {"status": "completed", "last_error": None, "usage_bytes": 1}


def _search(call: Call, _account: str, _shelves: Shelves, _store: str) -> Data:
    query = (call.data or {}).get("query")
    return {"object": "vector_store.search_results.page", "search_query": [query], "data": [], "has_more": False}


_STEPS: dict[tuple[str, str], Callable[[Call, str, Shelves, str], Data]] = {
    ("batches", "cancel"): _cancel,
    ("fine_tuning/jobs", "cancel"): _cancel,
    ("fine_tuning/jobs", "events"): _events,
    ("responses", "cancel"): _cancel,
    ("responses", "input_items"): _events,
    ("uploads", "cancel"): _cancel,
    ("uploads", "parts"): _part,
    ("uploads", "complete"): _complete,
    ("vector_stores", "files"): _store_file,
    ("vector_stores", "search"): _search,
}


# --- responses --------------------------------------------------------------------------------------


def seal(call: Call, account: str, shelves: Shelves, response: Data) -> None:
    """Puts what was thought in front, where the call asks for it: only the account can open it again."""
    if "reasoning.encrypted_content" in ((call.data or {}).get("include") or ()):
        sealed = new_id("gAAAAAB") * 3
        shelves.put(account, sealed, {})
        thought = {"id": new_id("rs_"), "type": "reasoning", "summary": [], "encrypted_content": sealed}
        response["output"].insert(0, thought)


def keep_response(call: Call, account: str, shelves: Shelves, response: Data) -> None:
    """Keeps a new one and its items, unless the call says otherwise."""
    if (call.data or {}).get("store") is not False:
        for kept in (response, *response["output"]):
            shelves.put(account, kept["id"], kept)
