"""The soak: real replicas, a real Redis and a strict provider under load while everything around them fails."""
