"""The incident of docs/runbooks/sudden-drift.md: one input moves from one minute to the next, while a plan is going on.

Minutes are real ones, by UTC: a quiet one must have ended before the shift, and the shift shows when its own ends, so
that a drill takes one to two and a half minutes, and one more where a busy machine comes late to the shift.
`drift.season` is off, or the first week would say nothing.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from protos.roost.v1 import admin_pb2
from server.drills.carrying_out import Drill
from server.drills.model import FEATURES, NAME, Versions, baseline, model_bytes
from server.drills.stack import Settings, Stack, local_stack
from server.drills.traffic import Traffic
from server.drills.walk import Arrived, Follower, Walk
from server.judgement.drift.policy import INPUTS, PREDICTIONS

FEATURE: Final = "monthly_spend"
SHIFT_SD: Final = 1.0
SETTINGS: Final[Settings] = {"drift": {"season": "off", "inputs": "hold"}, "server": {"drain_timeout_s": 5}}
PLAN: Final = {
    "promotion": "approved",
    "steps": [{"weight": 0.1, "bake_s": 3600, "minimum_requests": 100_000}, {"weight": 0.5, "bake_s": 3600}],
}
CALLS_PER_S: Final = 40.0
ROWS: Final = 8  # of a call
MINUTE_S: Final = 60.0
QUIET_S_MAX: Final = 2.5 * MINUTE_S
SHOWS_WITHIN_S: Final = 10.0  # after its minute's end
# A minute of which less is shifted differs too much within itself to say anything surely.
ENOUGH_OF_A_MINUTE_S: Final = 50.0
QUIET_ROWS_MIN: Final = 1000  # of the minute before: less would be quiet whatever came
HELD_S_MAX: Final = 10.0


def drill(*, shift_sd: float = SHIFT_SD) -> Drill:
    """shift_sd: 0 stages nothing, so that a test sees the drill fail."""
    return Drill(
        name="sudden-drift",
        title=f"An input, {FEATURE}, moves from one minute to the next, while a rollout's plan is going on.",
        runbook="docs/runbooks/sudden-drift.md",
        incident=lambda walk, folder: _incident(walk, folder, shift_sd),
    )


def decision(moved: Mapping[str, Sequence[str]], *, held: bool) -> str:
    """The line of the runbook's table. moved: features, by signal. held: a rollout's plan waits."""
    inputs, predictions = moved.get(INPUTS, ()), moved.get(PREDICTIONS, ())
    waits = " The plan that waits goes on waiting until that is known." if held else ""
    follow = " Predictions follow it." if predictions else ""
    if len(inputs) == 1:
        return (
            f"One input moved, {inputs[0]}: its source changed. Ask its owner; take nothing back, since every version "
            f"is given the same.{follow}{waits}"
        )
    if inputs:
        return f"{len(inputs)} inputs moved together: other callers, or another population. Find them.{follow}{waits}"
    if predictions:
        return f"Predictions moved and no input did: look at the last decision, and at inputs that have no bins.{waits}"
    return "Nothing has drifted: nothing is to be done."


def _incident(walk: Walk, folder: Path, shift_sd: float) -> None:
    versions = Versions(folder)
    content = model_bytes()
    learnt_from = baseline(content)
    stable, canary = versions.push(content, learnt_from), versions.push(content, learnt_from)
    walk.report.staged = [
        f"A server of {NAME}, version {stable}, with a baseline of {learnt_from.rows:,} rows; `drift.season` is "
        "`off`, `drift.inputs` is `hold`.",
        f"{CALLS_PER_S:g} calls a second of {ROWS} rows each, drawn as the baseline was, every reply checked.",
        f"A rollout of version {canary}, the same model again, with a plan that takes hours.",
        f"{FEATURE} is shifted by {shift_sd:g} standard deviations once a minute was quiet, and shifted back at the "
        "end.",
    ]
    walk.report.measured = [
        "Time to detect: from the first shifted call until the `drift` event was on the terminal. Time to decide: "
        "until the runbook's commands had been run, too. A window ends with its minute: of a shift that begins with a "
        "minute, most of the time to detect is the wait for that minute's end.",
    ]
    with (
        local_stack(folder, versions.registry, SETTINGS) as stack,
        Follower(stack) as follower,
        Traffic(stack.ready["listen"], versions.answers, calls_per_s=CALLS_PER_S, rows=ROWS) as traffic,
    ):
        walk.moment(f"The server is ready: version {stable} answers.")
        _begin_a_rollout(walk, stack, folder, canary)
        _wait_for_a_quiet_minute(walk, stack)
        shifted_s = traffic.shift({FEATURE: shift_sd})
        walk.moment(f"Staged: {FEATURE} is shifted by {shift_sd:g} standard deviations.")
        alarm = _wait_for_the_alarm(walk, follower, shifted_s)
        held = follower.wait(lambda one: one.is_decision("paused"), HELD_S_MAX if alarm else 0.0)
        if held is not None:
            walk.moment("The policy held the rollout's plan.", held.event["at_utc"])
        _diagnose(walk, stack)
        _decide(walk, stack, shifted_s, canary)
        _check_what_the_policy_did(walk, stack, stable)
        traffic.shift({})
        walk.moment(f"Recovery: {FEATURE} is as it was.")
        _recover(walk, stack)
        _count(walk, traffic, shifted_s, alarm)


def _begin_a_rollout(walk: Walk, stack: Stack, folder: Path, canary: str) -> None:
    (folder / "plan.json").write_text(json.dumps(PLAN), encoding="utf-8")
    walk.run(
        stack, "Before: a rollout begins",
        "canary", NAME, "--version", canary, "--plan", "plan.json", "--reason", "a drill: a rollout is under way",
    )  # fmt: skip


def _minute(reply: admin_pb2.GetDriftReply, signal: str) -> admin_pb2.DriftWindow | None:
    return next((one for one in reply.windows if (one.signal, one.length) == (signal, "minute")), None)


def _wait_for_a_quiet_minute(walk: Walk, stack: Stack) -> None:
    deadline = time.monotonic() + QUIET_S_MAX
    window = None
    while time.monotonic() < deadline:
        window = _minute(stack.drift(), INPUTS)
        if window is not None and window.verdict != "not_enough" and window.rows >= QUIET_ROWS_MIN:
            break
        time.sleep(0.5)
    found = "no window" if window is None else f"{window.verdict}, {window.rows:,} rows: {window.why}"
    walk.moment(f"The minute before: {found}")
    walk.expect("a minute of usual traffic is quiet", window is not None and window.verdict == "quiet", found)
    walk.run(stack, "Before: a quiet minute", "drift", NAME, "--window", "minute")


def _wait_for_the_alarm(walk: Walk, follower: Follower, shifted_s: float) -> Arrived | None:
    left_s = MINUTE_S - shifted_s % MINUTE_S
    if left_s < ENOUGH_OF_A_MINUTE_S:
        left_s += MINUTE_S

    def of_the_inputs(one: Arrived) -> bool:
        return one.event["kind"] == "drift" and one.detail.get("signal") == INPUTS and one.happened_s > shifted_s

    alarm = follower.wait(of_the_inputs, left_s + SHOWS_WITHIN_S)
    if alarm is None:
        walk.expect("a `drift` event of the inputs comes with the end of a whole shifted minute", False, "none came")
        return None
    walk.report.to_detect_s = alarm.seen_s - shifted_s
    walk.moment(f"Detected: {alarm.event['text']}", alarm.event["at_utc"])
    walk.expect(
        "a `drift` event of the inputs comes with the end of a whole shifted minute", True,
        f"{walk.report.to_detect_s:.1f} s later",
    )  # fmt: skip
    return alarm


def _diagnose(walk: Walk, stack: Stack) -> None:
    """The runbook's first five minutes, in its order."""
    walk.run(stack, "What is served, and which alerts stand?", "status", NAME)
    walk.run(stack, "Which features moved, and how far?", "drift", NAME, "--window", "minute")
    walk.run(stack, "Where did the feature move to?", "drift", NAME, "--window", "minute", "--feature", FEATURE)
    walk.run(stack, "What follows, in plain words?", "explain", NAME)
    walk.run(stack, "Is the canary worse than the stable beside it?", "evidence", NAME)
    walk.run(stack, "Was anything decided just before?", "journal", "show", NAME, "--limit", "5")
    found = walk.metrics(stack, "Does the dashboard say the same?", "roost_drift_verdict{", "roost_alerts ")
    drifted = [line for line in found if f'signal="{INPUTS}"' in line and 'window="minute"' in line]
    shown = [line for line in drifted if 'verdict="drift"' in line]
    walk.expect("the metric says drift", shown != [] and shown[0].endswith(" 1.0"), shown[0] if shown else "no line")


def _decide(walk: Walk, stack: Stack, shifted_s: float, canary: str) -> None:
    windows = [_minute(stack.drift(), signal) for signal in (INPUTS, PREDICTIONS)]
    moved = {
        window.signal: [feature.name for feature in window.features if feature.moved]
        for window in windows
        if window is not None
    }
    state = stack.state()
    walk.expect(
        f"{FEATURE} is named, and no other input", moved.get(INPUTS) == [FEATURE],
        ", ".join(moved.get(INPUTS, [])) or f"none of {', '.join(FEATURES)}",
    )  # fmt: skip
    walk.report.decision = decision(moved, held=state.HasField("canary") and state.rollout.paused)
    walk.report.to_decide_s = time.time() - shifted_s
    walk.moment(f"Decided: {walk.report.decision}")
    waits = state.HasField("canary") and state.canary.version == canary and state.rollout.paused
    walk.expect("the policy holds the rollout's plan", waits, "paused" if waits else "it goes on")


def _check_what_the_policy_did(walk: Walk, stack: Stack, stable: str) -> None:
    state, journal = stack.state(), stack.journal()
    paused = [entry for entry in journal if entry["kind"] == "paused"]
    walk.report.policy = [
        f"{alert}" for alert in state.alerts if alert.startswith("drift of ")
    ] + [f"Paused by {entry['operator']}: {entry['reason']}" for entry in paused]  # fmt: skip
    alerts = [alert for alert in state.alerts if alert.startswith(f"drift of {NAME}: {INPUTS}")]
    walk.expect("an alert stands", alerts != [], "; ".join(alerts) or "none")
    kept = state.stable.version == stable and not state.quarantined
    walk.expect("nothing is taken home for what the inputs do", kept, f"version {state.stable.version} is stable")


def _recover(walk: Walk, stack: Stack) -> None:
    walk.run(
        stack, "Upstream is mended: the plan goes on",
        "resume", NAME, "--reason", "a drill: upstream is mended",
    )  # fmt: skip
    state = stack.state()
    goes_on = state.HasField("canary") and not state.rollout.paused
    walk.expect("the plan goes on once it is resumed", goes_on, "it goes on" if goes_on else "it waits")
    verified = walk.run(stack, "After-care: is the record whole?", "journal", "verify")
    walk.expect("the journal is whole", verified.exit_code == 0, verified.output.strip())


def _count(walk: Walk, traffic: Traffic, shifted_s: float, alarm: Arrived | None) -> None:
    until_s = time.time() if alarm is None else alarm.seen_s
    during, everything = traffic.tally(shifted_s, until_s), traffic.tally()
    walk.report.counts = {
        "calls until the alarm": during.requests,
        "shifted rows until the alarm": during.rows,
        "calls in all": everything.requests,
        "rows in all": everything.rows,
    }
    walk.expect(
        "every reply is the right one of its version, and no call fails",
        everything.requests > 0 == len(everything.wrong),
        f"{everything.requests:,} calls" + "".join(f"; {count:,} x {text}" for text, count in everything.wrong.items()),
    )  # fmt: skip
