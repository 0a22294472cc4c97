"""Trials as the driver asks for them: in a process of their own, one at a time.

Always: a trial that crashes, hangs, or takes too much is a refusal in words, never an error of control's.
"""

from __future__ import annotations

import asyncio

from server.control.loading import TrialOutcome, TrialTask, TryArtifact
from server.settings import Settings
from server.trials import TrialSpec, run_trial


def trials_of(settings: Settings) -> TryArtifact:
    """Trials under these settings."""
    one_at_a_time = asyncio.Lock()

    async def try_artifact(task: TrialTask) -> TrialOutcome:
        spec = TrialSpec(
            name=task.name,
            version=task.artifact.version,
            digest=task.artifact.digest,
            stable_digest=task.stable_digest,
            settings=settings,
        )
        async with one_at_a_time:
            verdict = await run_trial(spec, settings.trial.load_timeout_s)
        return TrialOutcome(verdict.ok, verdict.reason, verdict.rss_bytes)

    return try_artifact
