"""Deploy: the registered version to a running server as a canary, watched until it is promoted or taken back. Last.

The server decides, by what its callers get, or by recorded traffic where it has none; see `pipelines/deploy/`. Always:
a version that is stable already costs nothing; what became of any other is evidence in `beside/rollout.json`.
"""

from __future__ import annotations

from rich.console import Console

from pipelines.deploy.deploying import deploy
from pipelines.deploy.options import Options
from pipelines.deploy.progress_view import shown
from pipelines.refusal import Refusal
from pipelines.work import Work


def run(work: Work, options: Options | None = None, console: Console | None = None) -> str:
    """Deploys `register/`. console: where progress is shown; standard output where none is given.

    Raises Refusal where it could not be tried, and where it was tried and does not have all traffic now.
    """
    with shown(console or Console(highlight=False, soft_wrap=True)) as view:
        outcome = deploy(work, options or Options(), view)
    if outcome.serves:
        return " ".join((outcome.line, *outcome.problems))
    raise Refusal(
        f"{outcome.model} version {outcome.version}", expected="it to be promoted",
        got=f"{outcome.result}: {outcome.reason.rstrip('.')}",
        hint=" ".join((outcome.done, f"The evidence is in {work.beside / 'rollout.json'}.", *outcome.problems)).strip(),
        table=tuple(outcome.document.get("explained", ())),
    )  # fmt: skip
