"""The way to where a provider answers: connections, who may use one, and what comes back over it. Knows no key."""
