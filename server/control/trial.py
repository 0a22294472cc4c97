"""Trials as the driver asks for them: in a process of their own, one at a time.

Always: a trial that crashes, hangs, or takes too much is a refusal in words, never an error of control's. What is no
fault of the artifact's is refused for now.
"""

from __future__ import annotations

from server.control.loading import NotNow, TrialOutcome, TrialTask, TryArtifact
from server.settings import Settings
from server.trials import NotTried, Trials, TrialSpec


def trials_of(settings: Settings, trials: Trials) -> TryArtifact:
    """Trials under these settings. Whoever made `trials` closes them."""

    async def try_artifact(task: TrialTask) -> TrialOutcome:
        spec = TrialSpec(
            name=task.name,
            version=task.artifact.version,
            digest=task.artifact.digest,
            stable_digest=task.stable_digest,
            settings=settings,
        )
        try:
            verdict = await trials.run(spec)
        except NotTried as error:
            raise NotNow(str(error)) from error
        return TrialOutcome(verdict.ok, verdict.reason, verdict.rss_bytes)

    return try_artifact
