"""Recovery: what a control process finds, from plain values; and the texts that it finds it in."""

from dataclasses import replace

import pytest

from native.plane.decisions import TEXT_BYTES_MAX
from native.plane.routes import Route, SeatRef
from native.plane.seats import Seat
from registry_client.manifest import sha256_hex
from server.control.decision_text import Decision, decision_text, read_decision
from server.control.recovery import begin, follow, missing
from server.control.state_document import read_state, state_document
from server.control.state_folder import KeptState
from server.lifecycle.actions import StoreRoute
from server.lifecycle.events import Event, Freeze, Quarantine, Release, Unfreeze
from server.lifecycle.explain import told
from server.lifecycle.journal import Head, Line
from server.lifecycle.plan import DEFAULT_PLAN
from server.lifecycle.state import Artifact, ModelState, Rollout
from server.lifecycle.step import step
from server.processes import ModelPin

A, B, C = (Artifact(str(number), letter * 64) for number, letter in enumerate("abc", start=1))
NAME = "m"
PIN = ModelPin(name=NAME, version=A.version, digest=A.digest)
ROLLOUT = Rollout("id", 2**62, B, DEFAULT_PLAN, started=True, step=2, step_started_ns=5, weight_ppm=250_000)
MODEL = ModelState(NAME, revision=7, stable=A, last_safe=C, canary=ROLLOUT, quarantine={"d" * 64: "worse"})


def begun(kept: ModelState | None, pin: ModelPin = PIN, lines: tuple[Line, ...] = ()) -> ModelState:
    kept_state = None if kept is None else KeptState(kept)
    return begin(pin, kept_state, lines, 99, "2026-01-01T00:00:00.000Z").kept.model


def entry_of(revision: int, kind: str = "frozen") -> dict[str, object]:
    return {"model": NAME, "revision": revision, "kind": kind, "evidence": {}}


def text_of(revision: int, model: ModelState, kind: str = "frozen") -> str:
    document = {**state_document(replace(model, revision=revision)), "released": [], "index": 0}
    return decision_text(Decision(entry_of(revision, kind), document))


def followed(route: Route, texts: list[str], kept: ModelState | None = None) -> ModelState:
    before = {} if kept is None else {NAME: KeptState(kept)}
    seats = [Seat(0, 1, True, 0, A.digest, A.version), Seat(1, 1, True, 0, B.digest, B.version)]
    return follow([NAME], [route], seats, texts, before).kept[0].model


def test_a_state_is_read_back_as_it_was() -> None:
    assert read_state(state_document(MODEL)) == MODEL
    with pytest.raises(ValueError, match="state: expected"):
        read_state({"name": NAME})


def test_the_first_start_serves_the_pin_and_a_later_one_goes_on_with_the_rollout() -> None:
    assert begun(None) == ModelState(NAME, revision=1, stable=A, ready=frozenset({A.digest}))
    again = begun(MODEL)
    assert again.canary == replace(ROLLOUT, started=False, step_started_ns=99)
    assert (again.stable, again.last_safe, again.quarantine) == (A, C, MODEL.quarantine)
    assert again.revision == 8


def test_a_start_with_another_version_ends_the_rollout_and_keeps_what_was_stable_as_last_safe() -> None:
    moved = begun(MODEL, ModelPin(name=NAME, version=B.version, digest=B.digest))
    assert (moved.stable, moved.last_safe, moved.canary) == (B, A, None)


def test_a_start_with_a_quarantined_version_serves_what_was_stable_instead() -> None:
    bad = ModelPin(name=NAME, version="4", digest="d" * 64)
    home = begun(MODEL, bad)
    assert (home.stable, home.coming, home.canary) == (None, A, None)
    assert begun(replace(MODEL, stable=None, last_safe=None), bad).coming is None


def test_no_revision_of_the_journal_is_given_again() -> None:
    lines = (Line(1, "x", entry_of(41)), Line(2, "y", {**entry_of(90), "model": "another"}))
    assert begun(MODEL, lines=lines).revision == 42


def changed(model: ModelState, event: Event) -> tuple[ModelState, str]:
    """The state after a decision, and its text."""
    after, actions = step(model, event)
    stored = next(action for action in actions if isinstance(action, StoreRoute))
    document = {**state_document(after), "released": [], "index": 0}
    return after, decision_text(Decision(stored.entry, document))


@pytest.mark.parametrize("digests", [3, 150, 2000])
def test_what_was_just_quarantined_or_released_is_so_although_the_folder_is_behind(digests: int) -> None:
    many = {sha256_hex(str(number).encode()): "worse" for number in range(digests)}
    kept = replace(MODEL, canary=None, quarantine=many)
    who = {"now_ns": 0, "at_utc": "2026-01-01T00:00:00Z", "operator": "eva", "reason": "why", "request_id": ""}
    model, texts = kept, []
    for event in (
        Quarantine(digest="e" * 64, **who),
        Freeze(**who),
        Release(digest=next(iter(many)), **who),
        Quarantine(digest="f" * 64, **who),
        Release(digest="e" * 64, **who),
        Unfreeze(**who),
    ):
        model, text = changed(model, event)
        texts.append(text)
        behind = followed(Route(revision=model.revision), texts, kept)
        assert behind.quarantine == model.quarantine
        assert list(behind.quarantine) == list(model.quarantine), "the oldest first"
    assert followed(Route(revision=model.revision), texts, model).quarantine == model.quarantine
    assert followed(Route(revision=model.revision - 1), texts, kept).quarantine == model.quarantine
    assert "e" * 12 in told(read_decision(texts[0]).entry)


def test_what_was_released_stays_so_although_the_list_of_it_does_not_fit() -> None:
    free = [sha256_hex(str(number).encode()) for number in range(200)]
    entry = {**entry_of(8), "from": {"quarantine": ["e" * 64, free[0]]}, "to": {"quarantine": []}}
    document = {**state_document(replace(MODEL, revision=8, quarantine={})), "released": free, "index": 0}
    text = decision_text(Decision(entry, document))
    assert read_decision(text).state["released"] is None
    kept = KeptState(replace(MODEL, quarantine={"e" * 64: "", free[0]: ""}), frozenset(free[1:]))
    found = follow([NAME], [Route(revision=8)], (), [text], {NAME: kept}).kept[0]
    assert (found.released, found.model.quarantine) == (frozenset([*free, "e" * 64]), {})


def test_the_newest_published_decision_is_the_state_and_one_that_was_only_noted_is_not() -> None:
    route = Route(revision=8, stable=SeatRef(0, 1))
    texts = [text_of(8, MODEL), text_of(9, replace(MODEL, frozen=True)), "not a decision"]
    assert followed(route, texts) == replace(MODEL, revision=8)
    # Noted, not published, and then decided otherwise under the same number.
    texts = [text_of(8, replace(MODEL, frozen=True)), text_of(8, MODEL)]
    assert followed(route, texts) == replace(MODEL, revision=8)


def test_a_decision_that_left_the_ring_is_found_in_the_folder_or_read_off_the_route() -> None:
    route = Route(revision=7, stable=SeatRef(0, 1), canary=SeatRef(1, 1), canary_ppm=10_000)
    assert followed(route, [], MODEL) == MODEL
    older = replace(MODEL, revision=3)
    found = followed(route, [], older)
    assert (found.revision, found.stable, found.quarantine) == (7, A, MODEL.quarantine)
    assert found.canary is not None
    assert (found.canary.weight_ppm, found.canary.paused) == (10_000, True)
    assert followed(replace(route, canary=None), [], older).canary is None


def test_only_decisions_that_the_journal_lacks_are_missing() -> None:
    texts = [read_decision(text_of(revision, MODEL)) for revision in (6, 7, 8)]
    lines = [Line(1, "x", entry_of(6)), Line(2, "y", entry_of(7, "incident"))]
    assert [entry["revision"] for entry in missing(texts, lines)] == [7, 8]
    assert Head().number == 0


def test_a_decision_fits_the_ring_whatever_it_is_about_and_says_what_it_leaves_out() -> None:
    small = Decision(entry_of(7), state_document(MODEL))
    assert read_decision(decision_text(small)) == small
    evidence = {"judgement": [f"{number * 7919 % 104_729:x}" * 3 for number in range(3000)]}
    large = Decision({**entry_of(7), "evidence": evidence}, state_document(MODEL))
    read = read_decision(decision_text(large))
    assert "left_out" in read.entry["evidence"]
    assert read.state == large.state
    many = {sha256_hex(str(number).encode()): "worse " * 9 for number in range(500)}
    text = decision_text(Decision(entry_of(7), state_document(replace(MODEL, quarantine=many))))
    assert len(text) <= TEXT_BYTES_MAX
    assert read_decision(text).state["quarantine"] is None
    kept = followed(Route(revision=7), [text], replace(MODEL, quarantine=many, revision=6))
    assert kept.quarantine == many
