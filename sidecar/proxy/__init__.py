"""The data plane, alone in moving bytes: no Redis, no Prometheus, no files but a large body's own."""
