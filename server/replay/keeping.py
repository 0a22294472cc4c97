"""Where a replay keeps what its detectors know: in memory, since it begins anew each time. Used by `replaying`."""

from __future__ import annotations


class MemoryKeeper:
    """A `server.control.drift.judging.Keeper`. Always: bounded by the judge's own number of states."""

    def __init__(self) -> None:
        self._states: dict[tuple[str, str, str], bytes] = {}

    def keep_state(self, model: str, digest: str, signal: str, state: bytes) -> None:
        self._states[model, digest, signal] = state

    def state(self, model: str, digest: str, signal: str) -> bytes | None:
        return self._states.get((model, digest, signal))
