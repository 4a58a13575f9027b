"""Rotates LLM API keys exactly, over all replicas, and keeps every key inside its budget."""

__version__ = "0.1.0"
