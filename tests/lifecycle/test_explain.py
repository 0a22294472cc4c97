"""What people are told of decisions: which version it was about, and why."""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import Any

from server.lifecycle import events
from server.lifecycle.actions import Journal
from server.lifecycle.events import Event
from server.lifecycle.explain import KINDS, told
from server.lifecycle.plan import constant
from server.lifecycle.refusal import Refused
from server.lifecycle.state import ModelState
from server.lifecycle.step import step
from tests.lifecycle.histories import ARTIFACTS, SECOND_NS, first_state, random_event

ONE, TWO, THREE = ARTIFACTS[:3]
WHEN: dict[str, Any] = {"now_ns": 0, "at_utc": "2026-01-01T00:00:00Z"}
WHO: dict[str, Any] = WHEN | {"operator": "eva", "reason": "a new model", "request_id": "r1"}


def both_on_trial() -> ModelState:
    """Version 1 serves, 2 is the canary, 3 the shadow."""
    happened = (
        events.DeployCanary(artifact=TWO, plan=constant(50_000), rollout_id="r", salt=5, **WHO),
        events.Loaded(digest=TWO.digest, **WHEN),
        events.SetShadow(artifact=THREE, **WHO),
        events.Loaded(digest=THREE.digest, **WHEN),
    )
    model = first_state()
    for event in happened:
        model, _ = step(model, event)
    return model


def sentence(model: ModelState, event: Event) -> str:
    _, actions = step(model, event)
    (entry,) = (action.entry for action in actions if isinstance(action, Journal))
    return told(entry)


def test_who_went_home_is_named_whoever_else_was_there() -> None:
    trial = both_on_trial()
    words = sentence(trial, events.Incident(digest=THREE.digest, detail="SIGSEGV", **WHEN))
    assert words == ("2026-01-01T00:00:00Z: version 3 was found to be bad and taken back by itself; 1 serves: SIGSEGV.")
    words = sentence(trial, events.Judged(digest=TWO.digest, verdict="worse", requests=9, **WHEN))
    assert words.endswith(
        "2 was found to be bad and taken back by itself; 1 serves: judged to be worse than the stable beside it."
    )
    crashing = replace(trial, last_safe=ARTIFACTS[4], incidents_ns=(0, 0))
    assert "version 1 was found to be bad" in sentence(crashing, events.Incident(digest=ONE.digest, detail="x", **WHEN))


def test_what_was_quarantined_or_released_is_named_with_who_did_it_and_why() -> None:
    words = sentence(both_on_trial(), events.Quarantine(digest=TWO.digest, **WHO))
    assert words.endswith("version 2 was put in quarantine; 1 serves, by eva (a new model).")
    far = ARTIFACTS[5].digest
    assert f"version {far[:12]} was put in quarantine" in sentence(first_state(), events.Quarantine(digest=far, **WHO))
    held = replace(first_state(), quarantine={far: "why"})
    assert f"{far[:12]} was let out" in sentence(held, events.Release(digest=far, **WHO))


def test_a_failure_is_told_with_its_reason() -> None:
    trial = both_on_trial()
    words = sentence(trial, events.LoadFailed(digest=TWO.digest, reason="golden example 3 differs", **WHEN))
    assert words.endswith("the canary 2 was refused: golden example 3 differs.")


def test_every_kind_that_is_ever_written_has_its_words_and_every_word_its_kind() -> None:
    written = set()
    for seed in range(600):
        random, model = Random(seed), first_state()
        for second in range(60):
            now_ns = second * SECOND_NS
            loading = sorted(model.needed.keys() - model.ready)
            event = random_event(random, now_ns, ARTIFACTS[:3])
            if loading and random.random() < 0.4:
                event = events.Loaded(now_ns=now_ns, at_utc="2026-01-01T00:00:00Z", digest=random.choice(loading))
            try:
                model, actions = step(model, event)
            except Refused:
                continue
            written |= {action.entry["kind"] for action in actions if isinstance(action, Journal)}
    assert written == set(KINDS) - {"started"}, "`started` is written by recovery"
