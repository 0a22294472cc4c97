"""How far a rollout is, for people: a live table on a terminal, else a line for each change.

Fed by `rollout.py` with every look and event. Always: `headline` and `details` are pure, and both views say the same;
what only counts up makes no line of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from pipelines.deploy import watch
from pipelines.deploy.watch import Trial

if TYPE_CHECKING:
    from rich.console import Console, Group

    from pipelines.deploy.rollout import Rollout

BAR_WIDTH = 40


class View(Protocol):
    """What shows a rollout. say: what goes on besides, overwritten by the next; show: the rollout as it is now."""

    def say(self, words: str) -> None: ...

    def show(self, rollout: Rollout) -> None: ...


def headline(trial: Trial) -> str:
    """Where it is, in one line."""
    if trial.ending is not None:
        return f"{trial.ending.end}: {trial.ending.reason}"
    if trial.phase == "asked":
        return f"version {trial.version} is fetched and verified"
    if trial.phase == "loading":
        return f"version {trial.version} is tried apart, then loaded by every worker"
    return f"version {trial.version} is a canary at {watch.place(trial)}"


def details(rollout: Rollout) -> Iterator[str]:
    """What else is to be known, a line each: the plan's halt, the verdict so far, drift, the traffic."""
    trial, tally = rollout.trial, rollout.tally
    if trial.ending is None:
        frozen = f"Automatic action is off: {trial.frozen_by}" if trial.frozen_by else ""
        yield from filter(None, (trial.waits, frozen, trial.words, trial.drift))
    sent = f": {tally.calls:,} calls, {tally.calls_per_s:,.0f}/s, {tally.failed:,} failed" if tally.calls else ""
    yield f"{rollout.played}{sent}"
    for text, count in tally.errors.most_common(1):
        yield f"{count:,} x {text}"


def turning_point(rollout: Rollout) -> tuple[object, ...]:
    """What is worth a line when it changes."""
    trial = rollout.trial
    verdict = "" if trial.verdict == "wait" else trial.verdict
    return (
        trial.phase, trial.step, trial.weight_ppm, verdict, trial.waits, trial.frozen_by, trial.drift,
        rollout.played, trial.ending, tuple(rollout.tally.errors),
    )  # fmt: skip


class Lines:
    """A line for each change."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._shown: tuple[object, ...] = ()
        self._said = ""

    def say(self, words: str) -> None:
        """Two blanks set off what moves (seconds, the end of a log): no line for that."""
        if (kind := words.partition("  ")[0]) != self._said:
            self._said = kind
            self._console.print(f"  deploy: {kind}", soft_wrap=True)

    def show(self, rollout: Rollout) -> None:
        if (now := turning_point(rollout)) != self._shown:
            self._shown = now
            told = (text.rstrip(".") for text in (headline(rollout.trial), *details(rollout)))
            self._console.print(f"  deploy: {'; '.join(told)}", soft_wrap=True)


class Table:
    """On a terminal. refresh: takes what is to be seen from now on."""

    def __init__(self, refresh: Refresh) -> None:
        self._refresh = refresh

    def say(self, words: str) -> None:
        from rich.console import Group
        from rich.text import Text

        self._refresh(Group(Text(f"  deploy  {words}")))

    def show(self, rollout: Rollout) -> None:
        self._refresh(drawn(rollout))


class Refresh(Protocol):
    """`rich.live.Live.update`, as far as it is used."""

    def __call__(self, renderable: Group) -> None: ...


def drawn(rollout: Rollout) -> Group:
    """The headline, the step's bar, the rest below."""
    from rich.console import Group
    from rich.progress_bar import ProgressBar
    from rich.text import Text

    trial = rollout.trial
    lines: list[Text | ProgressBar] = [Text(f"  deploy  {headline(trial)}")]
    if trial.phase == "canary" and trial.step < len(trial.steps):
        lines.append(ProgressBar(total=1.0, completed=share_of_step(trial), width=BAR_WIDTH))
    return Group(*lines, *(Text(f"          {text}", style="dim") for text in details(rollout)))


def share_of_step(trial: Trial) -> float:
    """How much of what the step needs it has: the lesser of time and requests, 0 to 1."""
    step = trial.steps[trial.step]
    parts = [(trial.elapsed_s, step.seconds), (float(trial.requests), float(step.requests))]
    return min((min(1.0, has / needs) for has, needs in parts if needs > 0), default=1.0)


@contextmanager
def shown(console: Console) -> Iterator[View]:
    """A view for as long as the block lasts. What was live is gone after it: the outcome is said by who asked."""
    if not console.is_terminal:
        yield Lines(console)
        return
    from rich.live import Live

    with Live(console=console, transient=True, refresh_per_second=8) as live:
        yield Table(live.update)

