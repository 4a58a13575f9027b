"""Names of HTTP headers, in lower case, that nobody but the sidecar says to a provider."""

from __future__ import annotations

# What concerns one connection only (RFC 9110, 7.6.1).
HOP_BY_HOP = frozenset({
    "connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection", "te", "trailer",
    "transfer-encoding", "upgrade",
})  # fmt: skip
# What the connection to the provider says of itself, and of the body as it is sent there.
OURS = frozenset({"host", "content-length", "content-encoding", "expect", "accept-encoding", "cookie"})
CREDENTIALS = ("authorization", "x-api-key", "x-goog-api-key", "api-key")
