"""What the sidecar costs beside a bare proxy: `python -m tests.bench`. Not collected by pytest."""
