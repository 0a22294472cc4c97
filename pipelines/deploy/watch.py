"""What has become of a canary, read off the server's decisions as they come. Pure: no clock, no socket.

`told` takes a decision, `described` a look at the model, `noted` what is no decision; each gives the next `Trial`. Used
by `rollout.py`. Always: a trial that has ended stays as it ended, whatever comes later; a decision counts once, by its
revision, however often and from wherever (events, the journal) it is told.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Final

from pipelines.parameters import Step
from protos.roost.v1 import admin_pb2

OPERATOR: Final = "roost pipeline"
"""As the journal names us."""
DRIFT_OPERATOR: Final = "roost drift"
"""As it names the server's own watch over drift."""
PPM: Final = 1_000_000


class End(StrEnum):
    """REFUSED: it never had traffic, since it could not be loaded."""

    PROMOTED = "promoted"
    ROLLED_BACK = "rolled back"
    HELD = "held"
    REFUSED = "refused"


@dataclass(frozen=True)
class Decision:
    """entry: as the journal has it. text: the same as the server says it; "" where only the journal told of it."""

    entry: Mapping[str, Any]
    text: str = ""

    @property
    def kind(self) -> str:
        return str(self.entry.get("kind", ""))

    @property
    def revision(self) -> int:
        return int(self.entry.get("revision", 0))

    @property
    def operator(self) -> str:
        """Who asked for it; "" where the server decided by itself."""
        return str(self.entry.get("operator") or "")

    @property
    def words(self) -> str:
        """What was decided, by whom and why, without a full stop."""
        if self.text:
            return self.text.rstrip(".")
        evidence = self.entry.get("evidence") or {}
        because = [self.entry.get("why"), *(evidence.get(key) for key in ("failure", "incident", "withheld"))]
        who = f" by {self.operator} ({self.entry.get('reason')})" if self.operator else ""
        reasons = "".join(f": {reason}" for reason in dict.fromkeys(because) if reason)
        return f"{self.kind.replace('_', ' ')}{who}{reasons}"

    def digest(self, moment: str, place: str) -> str:
        """Who had a place before ("from") or has it after ("to"); "" where nobody."""
        return str(((self.entry.get(moment) or {}).get(place) or {}).get("digest", ""))


@dataclass(frozen=True)
class Ending:
    """reason: in words. by: the operator who ended it by hand, "" where the server decided or nobody did.

    theirs: somebody else has taken the canary over, or nobody can be asked any more: it is not ours to take back.
    """

    end: End
    reason: str
    by: str = ""
    theirs: bool = False


@dataclass(frozen=True)
class Trial:
    """One version's canary. revision: of the last decision that was taken in. steps: of its plan.

    phase: "asked", "loading", "canary". step: from 0. requests, elapsed_s: of the canary in its step. verdict: the
    judge's, words: the same in plain words. waits: why its plan stands still. by_hand: the operator who has it now.
    """

    version: str
    digest: str
    steps: tuple[Step, ...]
    revision: int
    phase: str = "asked"
    step: int = 0
    weight_ppm: int = 0
    requests: int = 0
    elapsed_s: float = 0.0
    verdict: str = ""
    words: str = ""
    waits: str = ""
    by_hand: str = ""
    frozen_by: str = ""
    drift: str = ""
    decisions: tuple[Decision, ...] = ()
    ending: Ending | None = None


def told(trial: Trial, decision: Decision) -> Trial:
    """A decision about the model, by an event or by the journal."""
    if trial.ending is not None or decision.revision <= trial.revision:
        return trial
    had, has = decision.digest("from", "canary"), decision.digest("to", "canary")
    trial = replace(trial, revision=decision.revision)
    if trial.digest not in (had, has):
        return _frozen(trial, decision)
    trial = replace(trial, decisions=(*trial.decisions, decision))
    if has == trial.digest:
        return _goes_on(_frozen(trial, decision), decision)
    return replace(trial, ending=_ended(trial, decision))


def _ended(trial: Trial, decision: Decision) -> Ending:
    """It is no canary any more."""
    words = f"{decision.words}."
    if decision.digest("to", "stable") == trial.digest:
        return Ending(End.PROMOTED, words, decision.operator)
    if decision.kind == "canary_refused":
        return Ending(End.REFUSED, words)
    return Ending(End.ROLLED_BACK, words, "" if decision.operator == DRIFT_OPERATOR else decision.operator)


def _goes_on(trial: Trial, decision: Decision) -> Trial:
    """It is the canary still."""
    if decision.kind == "canary_deployed":
        return replace(trial, phase="loading")
    weight_ppm = int((decision.entry.get("to") or {}).get("weight_ppm", 0))
    if weight_ppm != trial.weight_ppm or decision.kind == "canary_started":
        trial = replace(trial, weight_ppm=weight_ppm, requests=0, elapsed_s=0.0)
    if decision.kind in ("canary_started", "advanced"):
        return replace(trial, phase="canary", waits="", step=_step_of(trial.steps, weight_ppm, trial.step))
    if decision.kind == "paused" and decision.operator == DRIFT_OPERATOR:
        return replace(trial, ending=Ending(End.HELD, str(decision.entry.get("reason") or decision.words)))
    if decision.kind in ("paused", "weight_set"):
        return replace(trial, waits=f"{decision.words}.", by_hand=decision.operator)
    if decision.kind == "resumed":
        return replace(trial, waits="", by_hand="")
    return trial


def _frozen(trial: Trial, decision: Decision) -> Trial:
    if decision.kind in ("frozen", "unfrozen"):
        return replace(trial, frozen_by=f"{decision.words}." if decision.kind == "frozen" else "")
    return trial


def _step_of(steps: Sequence[Step], weight_ppm: int, known: int) -> int:
    """Weights rise from step to step, so that one tells its step."""
    return next((place for place, step in enumerate(steps) if round(step.weight * PPM) == weight_ppm), known)


def described(trial: Trial, state: admin_pb2.ModelState) -> Trial:
    """A look at the model. Where its canary is not this one, `is_missed` tells that the journal has to be read."""
    stale = state.revision < trial.revision
    if trial.ending is not None or stale or state.canary.digest != trial.digest:
        return trial
    rollout = state.rollout
    plan = tuple(
        Step(weight=one.weight_ppm / PPM, seconds=one.bake_s, requests=one.minimum_requests) for one in rollout.steps
    )
    return replace(
        trial,
        steps=plan or trial.steps,
        phase="canary" if rollout.phase != "loading" else "loading",
        step=rollout.step,
        weight_ppm=state.weight_ppm,
        requests=rollout.requests,
        elapsed_s=rollout.step_elapsed_s,
        verdict=rollout.verdict,
    )


def is_missed(trial: Trial, state: admin_pb2.ModelState) -> bool:
    """Decisions were taken of which nobody has told us: another canary, or none, at a later revision."""
    return trial.ending is None and state.revision > trial.revision and state.canary.digest != trial.digest


def noted(trial: Trial, event: admin_pb2.Event) -> Trial:
    """An event that is no decision: what it says of drift is kept, and that something was withheld."""
    if trial.ending is not None:
        return trial
    if event.kind == "drift":
        return replace(trial, drift=event.text)
    if event.kind == "note" and "withheld" in event.detail_json and not trial.waits:
        return replace(trial, waits=event.text)
    return trial


def decision_of(event: admin_pb2.Event) -> Decision | None:
    """None for an event that is no decision."""
    return Decision(json.loads(event.detail_json), event.text) if event.kind == "decision" else None


def decision_of_line(line: str) -> Decision | None:
    """Of a line of the journal; None for a note, which is no decision."""
    document = json.loads(line)
    entry = document.get("entry", document)
    return None if entry.get("kind") in ("incident", "withheld") else Decision(entry)


def late(trial: Trial, limit_s: float) -> Trial:
    """Its time is over, and nothing was decided."""
    return _held(trial, f"it was not decided within {limit_s:g} s: {_where(trial)}", theirs=bool(trial.by_hand))


def lost(trial: Trial, words: str) -> Trial:
    """The server went away, and did not come back."""
    return _held(trial, f"{words} Nothing was promoted by then: {_where(trial)}", theirs=True)


def left(trial: Trial, words: str) -> Trial:
    """Whoever watches was asked to end."""
    return _held(trial, f"{words}: {_where(trial)}", theirs=bool(trial.by_hand))


def _held(trial: Trial, reason: str, *, theirs: bool) -> Trial:
    if trial.ending is not None:
        return trial
    return replace(trial, ending=Ending(End.HELD, reason, trial.by_hand, theirs))


def _where(trial: Trial) -> str:
    """How far it was, and what it waited for."""
    if trial.phase != "canary":
        return f"version {trial.version} was still being loaded."
    parts = [f"it was at {place(trial)}."]
    parts += [trial.waits] if trial.waits else []
    parts += [f"Automatic action is off: {trial.frozen_by}"] if trial.frozen_by else []
    parts += [trial.words] if trial.words else []
    return " ".join(parts)


def place(trial: Trial) -> str:
    """Which step, with which share, and how much of what it needs it has."""
    share = f"{trial.weight_ppm * 100 / PPM:g} %"
    if trial.step >= len(trial.steps):
        return share
    step = trial.steps[trial.step]
    return (
        f"step {trial.step + 1} of {len(trial.steps)}, {share}, with {trial.requests:,} of {step.requests:,} requests "
        f"and {min(trial.elapsed_s, step.seconds):.0f} of {step.seconds:g} s"
    )
