"""Why things are as they are with a model, in plain words: for `roost explain`."""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import Any, Final

from server.lifecycle.decisions import HOME, STAYS
from server.lifecycle.plan import PPM, Promotion
from server.lifecycle.state import ModelState

WEIGHT_KINDS: Final = frozenset({"advanced", "weight_set"})
"""Of decisions that give a canary another weight, and change nothing else: neither aliases nor quarantine."""

KINDS: Final[Mapping[str, str]] = {
    "canary_deployed": "version {canary} was deployed as a canary, and waits to be loaded",
    "canary_started": "version {canary} took {weight} of the traffic as a canary",
    "canary_refused": "the canary {before} was refused",
    "advanced": "the canary {canary} was given {weight} of the traffic, as its plan says",
    "weight_set": "the canary {canary} was given {weight} of the traffic, and its plan waits",
    "promoted": "version {stable} was promoted from canary to stable",
    "rolled_back": "traffic was taken back to version {stable}",
    "went_home": "version {quarantined} was found to be bad and taken back by itself; {stable} serves",
    "quarantined": "version {quarantined} was put in quarantine; {stable} serves",
    "released": "{released} was let out of quarantine",
    "shadow_set": "version {shadow} is to run unseen beside the stable",
    "shadow_started": "version {shadow} runs unseen beside the stable",
    "shadow_lifted": "no version runs unseen any more",
    "shadow_refused": "the shadow was refused",
    "coming": "nothing safe was loaded, so that {coming} is being loaded",
    "coming_refused": "what was to be stable could not be loaded",
    "stable_restored": "version {stable} is stable again",
    "frozen": "all automatic action was frozen",
    "unfrozen": "automatic action was allowed again",
    "paused": "the canary's plan was paused",
    "resumed": "the canary's plan was resumed",
    "incident": "the stable {stable} had an incident",
    "withheld": "something was not done by itself",
    "started": "the server started with version {stable}",
}


def is_of_weights(entry: Mapping[str, Any]) -> bool:
    """True where an entry of the journal gives a canary another weight, and nothing else."""
    return entry.get("kind") in WEIGHT_KINDS


def sentence(entry: Mapping[str, Any]) -> str:
    """As `told`, for where the time is told beside it."""
    return told(entry).removeprefix(f"{entry.get('at_utc')}: ")


def told(entry: Mapping[str, Any]) -> str:
    """An entry of the journal as a sentence."""
    before, after = entry.get("from", {}), entry.get("to", {})

    def version(where: Mapping[str, Any], place: str) -> str:
        return str((where.get(place) or {}).get("version", "none"))

    left = before.get("canary") or before.get("stable") or {}
    held = [set(where.get("quarantine") or ()) for where in (before, after)]
    change = entry.get("quarantine_change") or {}  # where the two were too long to be kept over a crash
    words = KINDS.get(str(entry.get("kind")), str(entry.get("kind"))).format(
        stable=version(after, "stable"),
        canary=version(after, "canary"),
        shadow=version(after, "shadow"),
        coming=version(after, "coming"),
        before=left.get("version", "none"),
        quarantined=_named((held[1] - held[0]) | set(change.get("added", ())), before),
        released=_named((held[0] - held[1]) | set(change.get("released", ())), before),
        weight=share(int(after.get("weight_ppm", 0))),
    )
    sentence = f"{entry.get('at_utc')}: {words}"
    if entry.get("operator"):
        sentence += f", by {entry['operator']} ({entry.get('reason')})"
    evidence = entry.get("evidence") or {}
    because = [entry.get("why"), *(evidence.get(key) for key in ("failure", "incident", "withheld"))]
    for reason in dict.fromkeys(because):
        if reason:
            sentence += f": {reason}"
    return sentence + "."


def _named(digests: Set[str], where: Mapping[str, Any]) -> str:
    """Versions of those that had a place, the beginnings of the others' digests."""
    versions = {
        place["digest"]: place["version"]
        for place in where.values()
        if isinstance(place, Mapping) and "digest" in place
    }
    return ", ".join(sorted(str(versions.get(digest, digest[:12])) for digest in digests)) or "none"


def would_change(model: ModelState) -> tuple[str, ...]:
    """What the next decision waits for: one sentence for each thing."""
    sentences = []
    canary = model.canary
    if model.stable is None:
        sentences.append("Nothing safe is left to serve: deploy a good version, or release one from quarantine.")
    if model.frozen:
        sentences.append("All automatic action is frozen: `roost unfreeze` allows it again.")
    if canary is None:
        if model.stable is not None:
            sentences.append("No canary is on trial: `roost canary` deploys one.")
        if model.quarantine:
            sentences.append(
                f"{len(model.quarantine)} in quarantine, which nothing serves: `roost status {model.name}` lists them, "
                "`roost release` lets one out. What was judged worse goes home again at the first look."
            )
        return tuple(sentences)
    if not canary.started:
        sentences.append("The canary gets its first traffic once every worker has loaded it.")
        return tuple(sentences)
    if model.held:
        sentences.append(f"Its plan goes no further, since {model.held}.")
    if STAYS + canary.artifact.digest in model.withheld:
        sentences.append("It was judged worse and is not taken back by itself: `roost rollback` takes it back.")
        return tuple(sentences)
    if model.frozen:
        found = HOME + canary.artifact.digest in model.withheld
        sentences.append(
            "It was found to be bad, and stays only because of the freeze: `roost rollback` takes it back now."
            if found
            else "As long as that lasts it stays, whatever is found: `roost rollback` takes it back."
        )
        return tuple(sentences)
    if is_compared(model):
        sentences.append("It goes home by itself as soon as it is found to be worse than the stable beside it.")
    else:
        by_itself = "it goes home by itself only for a crash, a hang or too much memory"
        sentences.append(f"At {share(canary.weight_ppm)} of the traffic nothing is compared: {by_itself}.")
    if canary.plan.promotion is Promotion.NEVER:
        sentences.append("It has no plan: `roost promote` makes it stable, `roost rollback` takes it back.")
    elif canary.paused and canary.weight_ppm != canary.current.weight_ppm:
        sentences.append(
            f"Its share was set by hand, so its plan is paused: `roost resume` goes on with step {canary.step + 1} of "
            f"{len(canary.plan.steps)}, at {share(canary.current.weight_ppm)}."
        )
    elif canary.paused:
        sentences.append("Its plan is paused: it goes on when it is resumed.")
    elif canary.awaits_approval:
        sentences.append("It is not worse, and waits for `roost promote`.")
    else:
        current = canary.current
        place = f"step {canary.step + 1} of {len(canary.plan.steps)}"
        needs = (
            f"{current.bake_s:g} s and {current.minimum_requests:,} requests of its own (it has {canary.requests:,})"
        )
        following = (
            "promoted, once it is also found to be not worse"
            if canary.on_last_step
            else f"given {share(canary.plan.steps[canary.step + 1].weight_ppm)}"
        )
        sentences.append(f"It is at {place}; after {needs} it is {following}.")
    return tuple(sentences)


def why_not_serving(model: ModelState) -> str:
    """Empty where a stable version answers."""
    if model.stable is not None:
        return ""
    if model.coming is not None:
        return f"{model.name}: no safe version is loaded; version {model.coming.version} is being loaded"
    reasons = "; ".join(f"{digest[:12]}: {why}" for digest, why in model.quarantine.items()) or "none is known"
    return f"{model.name}: no safe version is left ({reasons}). Push a good version, or release one from quarantine"


def is_compared(model: ModelState) -> bool:
    """Whether evidence about the canary grows, and may take it home."""
    return model.canary is not None and not model.frozen and 0 < model.canary.weight_ppm < PPM


def share(weight_ppm: int) -> str:
    """Parts per million as people say it: 5 %."""
    return f"{weight_ppm * 100 / PPM:g} %"
