"""Tables of a replay on the terminal: its timeline, what each detector said in all, and what the policy asked for.

Used by `replay.py`. Always: windows that follow each other and say the same are one line.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from server.cli.operators.drift_tables import STYLES
from server.judgement.drift.policy import Response
from server.judgement.drift.report import Verdict
from server.replay.replaying import Replay, Told
from server.replay.summary import RULES_OF_THUMB, Summary
from server.replay.times import NS_PER_US, utc_text

BOX: Final = box.SIMPLE_HEAD
FILE_COLUMNS: Final = 160
NAMES_SHOWN: Final = 4
ASKED_SHOWN: Final = 20


@dataclass
class Stretch:
    """Windows of one signal that follow each other and say the same."""

    first: Told
    last: Told
    windows: int = 1
    rows: int = 0

    def add(self, told: Told) -> bool:
        """False where it says something else."""
        if _said(told) != _said(self.last):
            return False
        self.last = told
        self.windows += 1
        self.rows += told.rows
        return True


def stretches(timeline: Iterable[Told]) -> list[Stretch]:
    """In the order in which they began."""
    found: list[Stretch] = []
    newest: dict[str, Stretch] = {}
    for told in timeline:
        current = newest.get(told.signal)
        if current is None or not current.add(told):
            newest[told.signal] = Stretch(told, told, rows=told.rows)
            found.append(newest[told.signal])
    return found


def print_replay(name: str, digest: str, done: Replay, summary: Summary, *, stopped: bool) -> None:
    """The timeline, the totals, the alarms. stopped: at the first of these, so that there may be more."""
    console = _console()
    span = f"{utc_text(done.first_us)} to {utc_text(done.last_us)} UTC"
    console.print(Text(f"{name}, digest {digest[:12]}: {done.rows:,} rows, {span}"), soft_wrap=True)
    for begin, end in done.pauses:
        text = f"No rows from {_utc(begin)} to {_utc(end)}: taken as not served meanwhile."
        console.print(Text(text), soft_wrap=True)
    if summary.timeline:
        console.print(_timeline(summary))
    console.print(_totals(summary))
    for line in _sentences(summary):
        console.print(Text(line), soft_wrap=True)
    if stopped:
        console.print("Stopped at the first alarm: what came after it was not looked at.")
    if summary.asked:
        console.print(_asked(summary))


def _timeline(summary: Summary) -> Table:
    table = Table(box=BOX, title=f"Each {summary.shown.word}, in UTC", title_justify="left")
    for heading in ("from", "until", "signal", "verdict"):
        table.add_column(heading, no_wrap=True)
    for heading in ("windows", "rows"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("policy", no_wrap=True)
    table.add_column("what moved, or why nothing is said")
    for stretch in stretches(summary.timeline):
        first, last = stretch.first, stretch.last
        said = _names(last.names) if last.verdict is Verdict.DRIFT else ""
        if last.verdict is Verdict.NOT_ENOUGH:
            said = last.why
        cells = (
            _utc(first.start_utc_ns), _utc(last.end_utc_ns), first.signal, last.verdict.value.replace("_", " "),
            f"{stretch.windows:,}", f"{stretch.rows:,}", _response(last), said,
        )  # fmt: skip
        table.add_row(*(Text(cell) for cell in cells), style=STYLES[last.verdict.value])
    return table


def _totals(summary: Summary) -> Table:
    table = Table(box=BOX, title="All that was judged", title_justify="left")
    table.add_column("signal")
    table.add_column("windows of")
    for heading in ("windows", "not enough", "quiet", "drift"):
        table.add_column(heading, justify="right")
    table.add_column("first drift, until")
    for rule in RULES_OF_THUMB:
        table.add_column(f"PSI {rule:g}", justify="right")
    for (signal, kind), tally in summary.tallies.items():
        verdicts = (Verdict.NOT_ENOUGH, Verdict.QUIET, Verdict.DRIFT)
        cells = (
            signal, f"a {kind.word}" if kind.word != "hour" else "an hour", f"{tally.windows:,}",
            *(f"{tally.verdicts[verdict]:,}" for verdict in verdicts),
            "" if tally.first is None else _utc(tally.first.end_utc_ns),
            *(f"{tally.thumb[rule]:,}" for rule in RULES_OF_THUMB),
        )  # fmt: skip
        style = STYLES[Verdict.DRIFT.value] if tally.verdicts[Verdict.DRIFT] else None
        table.add_row(*(Text(cell) for cell in cells), style=style)
    return table


def _sentences(summary: Summary) -> Iterator[str]:
    yield "PSI 0.1 and 0.2: windows in which rules of thumb would have called some feature moved. They decide nothing."
    first = summary.first
    if first is None:
        yield "No alarm."
        return
    yield f"First alarm: {first.signal}, the {first.window.word} until {_utc(first.end_utc_ns)}. {first.why}"


def _asked(summary: Summary) -> Table:
    dry_run = summary.asked[0].asked.dry_run
    title = "What the policy would have asked for" + (", told only: it is a dry run" if dry_run else "")
    table = Table("at", "response", "signal", "window of", "what moved", box=BOX, title=title, title_justify="left")
    for told in summary.asked[:ASKED_SHOWN]:
        cells = _utc(told.at_utc_ns), told.asked.response.word, told.signal, told.window.word, _names(told.names)
        table.add_row(*(Text(cell) for cell in cells))
    left = len(summary.asked) - ASKED_SHOWN
    if left > 0:
        table.caption = f"and {left:,} more: --json has all"
    return table


def _said(told: Told) -> tuple[object, ...]:
    names = frozenset(told.names) if told.verdict is Verdict.DRIFT else frozenset()
    return told.verdict, names, told.asked.response


def _response(told: Told) -> str:
    return "" if told.asked.response is Response.OFF else told.asked.response.word


def _names(names: tuple[str, ...]) -> str:
    more = f" and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else ""
    return ", ".join(names[:NAMES_SHOWN]) + more


def _utc(at_ns: int) -> str:
    return utc_text(at_ns // NS_PER_US)


def _console() -> Console:
    # Into a pipe or a file, rich would fold tables at 80 columns.
    console = Console()
    return console if console.is_terminal else Console(width=FILE_COLUMNS)
