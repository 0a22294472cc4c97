"""The trial of an artifact in a process of its own, as the driver asks for it.

Always: a trial that crashes, hangs, or takes too much is a refusal in words, never an error of control's.
"""

from __future__ import annotations

from server.control.loading import TrialOutcome, TrialTask, TryArtifact
from server.settings import Settings


def trials_of(settings: Settings) -> TryArtifact:
    """Trials under these settings, one at a time."""

    async def try_artifact(task: TrialTask) -> TrialOutcome:
        from server.trials import TrialSpec, run_trial  # type: ignore[import-not-found]

        spec = TrialSpec(
            name=task.name,
            version=task.artifact.version,
            digest=task.artifact.digest,
            stable_digest=task.stable_digest,
            settings=settings,
        )
        verdict = await run_trial(spec, settings.trial.load_timeout_s)
        return TrialOutcome(verdict.ok, verdict.reason, verdict.rss_bytes)

    return try_artifact
