"""A simulated Redis as a process of its own: prints the port it listens at. For machines without a Redis."""

from __future__ import annotations

import sys

from fakeredis import TcpFakeServer


def main() -> None:
    """Serves until it is ended."""
    with TcpFakeServer(("127.0.0.1", 0)) as server:
        server.daemon_threads = True
        sys.stdout.write(f"{server.server_address[1]}\n")
        sys.stdout.flush()
        server.serve_forever()


if __name__ == "__main__":
    main()
