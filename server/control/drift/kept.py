"""What is kept of each artifact, for how long, and how much of it in memory. Shared by `store`, `database` and `book`.

Always: in memory as on disk, how much is kept has a bound; sums are kept longer than blocks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from server.control.drift.readings import KeptReading
from server.control.drift.windows import DAY_NS, HOUR_NS, WEEK_NS, Window, WindowKind

KEPT_NS: Final = {
    WindowKind.MINUTE: 2 * DAY_NS,
    WindowKind.HOUR: 5 * WEEK_NS,
    WindowKind.DAY: 2 * 366 * DAY_NS,
    WindowKind.WEEK: 10 * 366 * DAY_NS,
}
"""On disk, since the window's end."""

BLOCKS_KEPT_NS: Final = {
    WindowKind.MINUTE: 3 * HOUR_NS,
    WindowKind.HOUR: 3 * DAY_NS,
    WindowKind.DAY: 3 * WEEK_NS,
    WindowKind.WEEK: 10 * WEEK_NS,
}
"""On disk: blocks of sixteen take twenty times the bytes of the sum. Larger windows are made of them until then."""

STATES_KEPT_NS: Final = 366 * DAY_NS
"""On disk, since a state was last saved."""

STATE_BYTES_MAX: Final = 32 << 20
SIGNALS_MAX: Final = 1024  # states of one artifact
STREAMS_MAX: Final = 64  # artifacts in memory, but for those that have seats

RECENT: Final = {WindowKind.MINUTE: 180, WindowKind.HOUR: 72, WindowKind.DAY: 40, WindowKind.WEEK: 20}
"""Closed windows in memory, of each artifact; older ones are on disk. With sums only, but for the last one."""

RECENT_BYTES_MAX: Final = 8 << 20  # of one kind and artifact
UNSAVED_MAX: Final = 240  # windows of one kind and artifact that wait for a disk that takes nothing
UNSAVED_BYTES_MAX: Final = 32 << 20  # of them
WINDOWS_MIN: Final = 4  # whatever the bytes

for _kind in WindowKind:
    assert _kind.length_ns < BLOCKS_KEPT_NS[_kind] <= KEPT_NS[_kind], "blocks outlive the window that they make up"


class Stream(NamedTuple):
    """Whose rows they are. digest: of the artifact."""

    model: str
    digest: str


@dataclass(frozen=True)
class Unsaved:
    """What is to be written of one artifact, all of it or nothing: then counts and readings belong together.

    minute: the one in progress, None where it has nothing. readings: all that stand, of this plane.
    """

    windows: tuple[Window, ...]
    minute: Window | None
    readings: tuple[KeptReading, ...]
    states: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True)
class Kept:
    """What a new control process finds of one artifact.

    covered_utc_ns: the end of its last closed window. recent: see RECENT, in order. parts: of each kind, the windows
    below it since the end of its last closed one. minute: the one that was in progress. readings: of this plane.
    """

    bins: int
    covered_utc_ns: int
    recent: Mapping[WindowKind, tuple[Window, ...]]
    parts: Mapping[WindowKind, tuple[Window, ...]]
    minute: Window | None
    readings: tuple[KeptReading, ...]
    states: Mapping[str, bytes]


def recent_max(kind: WindowKind, bins: int) -> int:
    """How many closed windows of so many bins stay in memory."""
    return min(RECENT[kind], max(WINDOWS_MIN, RECENT_BYTES_MAX // (8 * bins)))


def unsaved_max(window: Window) -> int:
    """How many such windows wait at most to be written."""
    window_bytes = window.blocks_by_key.nbytes + window.blocks_by_time.nbytes
    return min(UNSAVED_MAX, max(WINDOWS_MIN, UNSAVED_BYTES_MAX // window_bytes))
