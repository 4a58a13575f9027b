"""A time zone made to order, whose midnight falls into the run: real ones have theirs on the quarters of an hour."""

from __future__ import annotations

import shutil
import struct
from importlib import resources
from pathlib import Path

ZONE = "Soak/Midnight"
DAY_S = 86_400
EAST_S = 14 * 3600  # no clock is further ahead


def write(folder: Path, at_s: int) -> None:
    """Puts a copy of `tzdata` there that has ZONE too: who has `folder` first in its path reads that.

    `at_s`: the moment of its midnight, seconds since 1970.
    """
    copy = folder / "tzdata"
    with resources.as_file(resources.files("tzdata")) as own:
        shutil.copytree(own, copy)
    region, _, city = ZONE.partition("/")
    (copy / "zoneinfo" / region).mkdir()
    (copy / "zoneinfo" / region / "__init__.py").touch()
    (copy / "zoneinfo" / region / city).write_bytes(_tzif(-at_s % DAY_S))
    with (copy / "zones").open("a") as zones:
        zones.write(f"{ZONE}\n")


def _tzif(offset_s: int) -> bytes:
    """RFC 9636, version 2: no transition, one type of local time, and no rule for the time after."""
    offset_s -= DAY_S if offset_s > EAST_S else 0
    header = b"TZif2" + bytes(15) + struct.pack(">6l", 0, 0, 0, 0, 1, 4)
    block = header + struct.pack(">lBB", offset_s, 0, 0) + b"SKT\0"
    return 2 * block + b"\n\n"
