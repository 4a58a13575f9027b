"""What Google keeps: files, by its resumable protocol (ai.google.dev/api/files), and cached contents."""

from __future__ import annotations

import base64
import hashlib
import re
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs

from sidecar.simulate.answers import Answer
from sidecar.simulate.calls import Call, CallError, Data
from sidecar.simulate.failures import google_error
from sidecar.simulate.shelves import Shelves, Thing, header, json, new_id, raw

_PATH = re.compile(r"(?P<thing>(?P<kind>files|cachedContents|batches)(?:/[^/:]+)?)(?::(?P<verb>\w+))?")


def answer(call: Call, account: str, shelves: Shelves) -> Answer | None:
    """None where nothing is kept there. Raises Absent, and CallError where something needed is missing."""
    if "/upload/" in call.path:
        return _upload(call, account, shelves)
    found = _PATH.fullmatch(call.operation.strip("/"))
    if not found:
        return None
    kind, thing = found["kind"], found["thing"]
    if thing == kind:
        return json(
            _cache(call, account, shelves) if call.method == "POST" else {kind: shelves.of(account, f"{kind}/")}
        )
    kept = shelves.get(account, thing)
    if call.method == "DELETE":
        shelves.drop(account, thing)
        return json({})
    if call.method == "PATCH":
        kept.data["expireTime"] = _in_s((call.data or {}).get("ttl", "3600s"))
    return raw(kept.content, kept.data["mimeType"]) if found["verb"] == "download" else json(kept.data)


def absent(thing: str) -> Answer:
    """As Google tells of what another project made: reported at googleapis/python-genai#1218 for files."""
    if thing.startswith("files/"):
        name = thing.removeprefix("files/")
        return google_error(403, f"You do not have permission to access the File {name} or it may not exist.")
    if thing.startswith("cachedContents/"):
        return google_error(403, "CachedContent not found (or permission denied)")
    return google_error(404, "Requested entity was not found.")


def _in_s(ttl: str) -> str:
    end = datetime.now(UTC) + timedelta(seconds=float(ttl.removesuffix("s")))
    return end.isoformat().replace("+00:00", "000Z")


def _cache(call: Call, account: str, shelves: Shelves) -> Data:
    data = call.data or {}
    if "model" not in data:
        raise CallError("* CreateCachedContentRequest.cached_content.model: model is required")
    thing, now = new_id("cachedContents/"), _in_s("0s")
    made: Data = {"name": thing, "model": data["model"], "displayName": data.get("displayName", "")}
    made |= {"createTime": now, "updateTime": now, "expireTime": _in_s(data.get("ttl", "3600s"))}
    return shelves.put(account, thing, made | {"usageMetadata": {"totalTokenCount": 4096}}).data


# --- the resumable protocol -------------------------------------------------------------------------


def _upload(call: Call, account: str, shelves: Shelves) -> Answer:
    """Begin with `start`, go on with `upload` at the offset that is there, and end with `finalize`."""
    commands = header(call, "x-goog-upload-command").replace(" ", "").split(",")
    if "start" in commands:
        upload = new_id("ABPnzs")
        told = (call.data or {}).get("file") or {}
        media = header(call, "x-goog-upload-header-content-type")
        shelves.put(account, f"upload_id={upload}", {"file": told, "mimeType": media})
        url = f"http://{header(call, 'host')}{call.path}?upload_id={upload}&upload_protocol=resumable"
        return Answer(200, (b"",), {"X-Goog-Upload-URL": url, "X-Goog-Upload-Status": "active"})
    (upload,) = parse_qs(call.query).get("upload_id", [""])
    kept = shelves.get(account, f"upload_id={upload}")
    if "query" in commands:
        size = {"X-Goog-Upload-Status": "active", "X-Goog-Upload-Size-Received": str(len(kept.content))}
        return Answer(200, (b"",), size)
    if header(call, "x-goog-upload-offset") != str(len(kept.content)):
        raise CallError("The upload offset is not that of the bytes that were received.")
    kept.content += call.body
    if "finalize" not in commands:
        return Answer(200, (b"",), {"X-Goog-Upload-Status": "active"})
    return json({"file": _file(call, account, shelves, kept)}, {"X-Goog-Upload-Status": "final"})


def _file(call: Call, account: str, shelves: Shelves, upload: Thing) -> Data:
    told = upload.data["file"]
    thing, now = told.get("name") or new_id("files/"), _in_s("0s")
    data: Data = {
        "name": thing,
        "displayName": told.get("displayName", ""),
        "mimeType": upload.data["mimeType"],
        "sizeBytes": str(len(upload.content)),
        "createTime": now,
        "updateTime": now,
        "expirationTime": _in_s("172800s"),
        "sha256Hash": base64.b64encode(hashlib.sha256(upload.content).hexdigest().encode()).decode(),
        "uri": f"https://generativelanguage.googleapis.com/v1beta/{thing}",
        "state": "ACTIVE",
        "source": "UPLOADED",
    }
    return shelves.put(account, thing, data, upload.content).data
