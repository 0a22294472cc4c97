"""A deployment's evidence: asked of the server, and kept beside the results, the version and the training's run.

Used by `deploying.py`. Always: what can't be asked or kept is said, and changes nothing of what was decided.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from pipelines.deploy.admin_calls import AdminPort, Declined, NoAnswer
from pipelines.deploy.outcome import Outcome, drift_document, evidence_document
from pipelines.deploy.rollout import Rollout
from pipelines.refusal import Refusal
from pipelines.training.tracking import attach
from pipelines.work import Work, write_json
from registry_client import canonical_json
from registry_client.errors import ArtifactError
from registry_client.manifest import DIGEST_FILE
from registry_client.registry import Registry

ROLLOUT_FILE: Final = "rollout.json"
JOURNAL_S_MAX: Final = 5.0
POLL_S: Final = 0.2


async def what_it_says(port: AdminPort, rollout: Rollout) -> dict[str, Any]:
    """The server's evidence, what it knows of the canary's answers, and its reasons in words."""
    said: dict[str, Any] = {"evidence": None}
    try:
        await rollout.look_at_drift()
        said["evidence"] = evidence_document(await port.evidence(rollout.candidate.model))
        said["explained"] = list(await port.explain(rollout.candidate.model))
    except NoAnswer as silence:
        said["explained"] = [f"The server does not answer: {silence}"]
    except Declined as declined:
        said["explained"] = [f"The server does not say: {declined.words}"]
    return {**said, "drift": None if rollout.drift is None else drift_document(rollout.drift)}


async def entries_of(port: AdminPort, rollout: Rollout) -> list[Mapping[str, Any]]:
    """The journal's entries of a rollout once the last is on disk; as events told of them where that takes long."""
    heard = list(rollout.trial.decisions)
    deadline = time.monotonic() + JOURNAL_S_MAX
    while heard and time.monotonic() < deadline:
        try:
            found = [one for one in await port.decisions(rollout.candidate.model) if one.revision >= heard[0].revision]
        except (NoAnswer, Declined):
            break
        if found and found[-1].revision >= heard[-1].revision:
            return [one.entry for one in found]
        await asyncio.sleep(POLL_S)
    return [one.entry for one in heard]


def keep(work: Work, registry: Registry, outcome: Outcome) -> Outcome:
    """The same, with what could not be kept among its problems. Blocks."""
    content = canonical_json.encode(outcome.document) + b"\n"
    stamp = "".join(char for char in outcome.document["timings"]["began_utc"] if char.isalnum())
    file_name, problems = f"rollout-{stamp}.json", []
    try:
        registry.attach(outcome.model, outcome.version, file_name, content)
    except (ArtifactError, OSError) as error:
        problems.append(f"The evidence is not beside the version: {error}")
    try:
        if _is_of(work, outcome.digest):
            attach(work, file_name, content)
    except (Refusal, OSError) as refusal:
        problems.append(f"The evidence is not at the training's run: {refusal}")
    try:
        write_json(work.beside / ROLLOUT_FILE, outcome.document)
    except OSError as error:
        problems.append(f"The evidence is not in {work.beside / ROLLOUT_FILE}: {error}")
    return replace(outcome, problems=(*outcome.problems, *problems))


def _is_of(work: Work, digest: str) -> bool:
    """Whether the bundle that lies here is that one: an older version's evidence is none of this training's."""
    path = work.folder / "bundle" / DIGEST_FILE
    return path.exists() and path.read_text(encoding="ascii").startswith(digest)
