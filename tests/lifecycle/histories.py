"""Random histories of one model: events that could come, in any order, and what must always hold."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any

from server.lifecycle import events
from server.lifecycle.actions import Journal, Load, ProjectRegistry, StoreRoute, Unload
from server.lifecycle.events import Event
from server.lifecycle.phases import TRANSITIONS, phase_of
from server.lifecycle.plan import PPM, Plan, Promotion, Step, constant
from server.lifecycle.state import Artifact, ModelState
from server.lifecycle.step import Outcome

ARTIFACTS = tuple(Artifact(str(version), f"{version:x}" * 64) for version in range(1, 7))
SECOND_NS = 1_000_000_000
PLANS = (
    constant(50_000),
    Plan((Step(10_000), Step(500_000, bake_s=1.0))),
    Plan((Step(50_000, bake_s=1.0, minimum_requests=10), Step(PPM)), Promotion.APPROVED),
)


def first_state() -> ModelState:
    """Version 1 serves, and is all that is known."""
    stable = ARTIFACTS[0]
    return ModelState("m", stable=stable, known=(stable,), ready=frozenset({stable.digest}))


def random_event(random: Random, now_ns: int, artifacts: Sequence[Artifact] = ARTIFACTS) -> Event:
    """Any event, about any artifact."""
    when = {"now_ns": now_ns, "at_utc": f"2026-01-01T00:00:{now_ns // SECOND_NS % 60:02d}Z"}
    who: dict[str, Any] = when | {"operator": "op", "reason": "because", "request_id": f"{random.random()}"}
    artifact = random.choice(artifacts)
    digest = artifact.digest
    known = tuple(random.sample(artifacts, random.randint(0, len(artifacts))))
    plan = random.choice(PLANS)
    makers = (
        lambda: events.DeployCanary(artifact=artifact, plan=plan, rollout_id="r", salt=random.getrandbits(62), **who),
        lambda: events.SetWeight(weight_ppm=random.choice((-1, 0, 1, 500_000, PPM, PPM + 1)), **who),
        lambda: events.SetShadow(artifact=random.choice((artifact, None)), **who),
        lambda: events.Promote(**who),
        lambda: events.Rollback(**who),
        lambda: events.Quarantine(digest=digest, **who),
        lambda: events.Release(digest=digest, **who),
        lambda: random.choice((events.Freeze, events.Unfreeze, events.Unfreeze))(**who),
        lambda: random.choice((events.Pause, events.Resume))(**who),
        lambda: events.Known(artifacts=known, **when),
        lambda: events.Loaded(digest=digest, **when),
        lambda: events.Loaded(digest=digest, **when),
        lambda: events.LoadFailed(digest=digest, reason="refused", unavailable=random.random() < 0.3, **when),
        lambda: events.Judged(
            digest=digest,
            verdict=random.choice(("worse", "not_worse", "wait")),
            requests=random.choice((0, 10, 10_000)),
            withheld=random.choice(("", "a setting says so")),
            **when,
        ),
        lambda: events.Incident(digest=digest, detail="crashed", **when),
        lambda: events.Tick(**when),
    )
    return random.choice(makers)()


class Broken(AssertionError):
    """An invariant does not hold."""


def check(before: ModelState, event: Event, outcome: Outcome) -> None:
    """Everything that must hold of one step. Raises Broken."""
    after, actions = outcome
    _check_traffic(after)
    _check_entries(before, after, outcome)
    _check_last_safe(before, after)
    _check_worse(before, event, after)
    _check_known(before, event, after)
    for digest in {artifact.digest for artifact in ARTIFACTS}:
        pair = phase_of(before, digest), phase_of(after, digest)
        if pair[0] is not pair[1] and pair not in TRANSITIONS:
            raise Broken(f"{pair[0]} -> {pair[1]} by {type(event).__name__}")
    for action in actions:
        if isinstance(action, Unload) and action.artifact.digest in after.needed:
            raise Broken(f"{action.artifact} is needed and asked to leave")
        if isinstance(action, Load) and action.artifact.digest not in after.needed:
            raise Broken(f"{action.artifact} is loaded for nobody")


def _check_traffic(after: ModelState) -> None:
    if not 0 <= after.weight_ppm <= PPM:
        raise Broken(f"weights do not sum to one: {after.weight_ppm}")
    canary = after.canary
    serving = [after.stable, canary.artifact if canary is not None and canary.started else None]
    if after.shadow_started:
        serving.append(after.shadow)
    for artifact in serving:
        if artifact is None:
            continue
        if artifact.digest in after.quarantine:
            raise Broken(f"{artifact} is in quarantine and serves")
        if artifact.digest not in after.ready:
            raise Broken(f"{artifact} is not loaded and serves")
    if after.stable is None and after.weight_ppm:
        raise Broken("a canary has traffic beside no stable")
    if canary is not None and after.stable is not None and canary.artifact.digest == after.stable.digest:
        raise Broken("the canary is the stable")
    if after.last_safe is not None and after.last_safe.digest in after.quarantine:
        raise Broken("the last safe artifact is in quarantine")


def _check_entries(before: ModelState, after: ModelState, outcome: Outcome) -> None:
    """One entry a decision, and a decision for whatever changes who serves."""
    _, actions = outcome
    decided = after.revision - before.revision
    if decided not in (0, 1):
        raise Broken(f"the revision moved by {decided}")
    kinds = [type(action) for action in actions]
    if kinds.count(StoreRoute) != decided or kinds.count(ProjectRegistry) != decided:
        raise Broken(f"{kinds} for {decided} decisions")
    if decided and kinds[:3] != [StoreRoute, Journal, ProjectRegistry]:
        raise Broken(f"the route is not first: {kinds}")
    if kinds.count(Journal) > 1 or (decided and kinds.count(Journal) != 1):
        raise Broken(f"{kinds.count(Journal)} entries")
    visible = [
        (
            state.stable,
            state.canary and state.canary.artifact,
            state.weight_ppm,
            state.shadow,
            state.last_safe,
        )
        for state in (before, after)
    ]
    if visible[0] != visible[1] and not decided:
        raise Broken("who serves changed without a decision")


def _check_known(before: ModelState, event: Event, after: ModelState) -> None:
    """Only what was refused is forgotten."""
    refused = event.digest if isinstance(event, events.LoadFailed) and not event.unavailable else ""
    lost = {artifact.digest for artifact in before.known} - {artifact.digest for artifact in after.known} - {refused}
    if lost and not isinstance(event, events.Known):
        raise Broken(f"{lost} is not known any more after {type(event).__name__}")


def _check_worse(before: ModelState, event: Event, after: ModelState) -> None:
    """What was judged worse is given no more traffic by itself."""
    canary = before.canary
    if canary is None or not canary.started or isinstance(event, events.Request):
        return
    digest = canary.artifact.digest
    worse = canary.verdict == "worse" or any(key.endswith(digest) for key in before.withheld)
    if not worse and not (isinstance(event, events.Judged) and (event.digest, event.verdict) == (digest, "worse")):
        return
    if after.weight_ppm > before.weight_ppm or (after.stable == canary.artifact and before.stable != canary.artifact):
        raise Broken(f"{canary.artifact} was judged worse and {type(event).__name__} gave it more")


def _check_last_safe(before: ModelState, after: ModelState) -> None:
    """It leaves its place for the stable's, for a later one, or into quarantine."""
    lost = before.last_safe
    if lost is None or after.last_safe == lost or lost.digest in after.quarantine:
        return
    if lost in (after.stable, after.coming):
        return
    if after.last_safe is not None and after.last_safe == before.stable:
        return
    raise Broken("the last safe artifact was lost")
