"""Shrunk histories, by what they tell apart."""

HISTORIES: dict[str, list[int]] = {}
