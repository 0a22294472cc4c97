"""`roost replay`: what the server's judge of drift would have said of rows in files, and what it would have done.

Used by `application.py`. Always: standard output carries the result only, with --json exactly one document; a refusal
is one line on standard error and exit code 1, a wrong command line or setting exit code 2.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from registry_client.errors import BadDocument
from server.cli.baselines import read_with_baseline
from server.cli.bundles import JsonOption, refusals_in_one_line
from server.cli.configuration import ConfigurationError, Values, load_settings
from server.cli.given_files import read_json_object
from server.cli.operators.options import Window
from server.cli.progress import progress
from server.settings import DriftSettings

if TYPE_CHECKING:
    # Imported by the command itself: kernels and ONNX Runtime would slow every other start of `roost`.
    from registry_client.verify import VerifiedBundle
    from server.replay.files import Choices
    from server.replay.reading import Rows
    from server.replay.replaying import Replay
    from server.replay.summary import Summary

EXIT_USAGE: Final = 2
START_DEFAULT: Final = "2001-01-01"  # a Monday


def replay(
    target: Annotated[
        str,
        typer.Argument(
            metavar="DIR|NAME[@ALIAS|:VERSION]",
            help="A bundle, or with --registry a model; NAME alone is @stable, else the newest.",
        ),
    ],
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE.parquet|FOLDER ...", help="The rows, in any order of files.")
    ],
    registry: Annotated[
        str | None, typer.Option(metavar="FOLDER|URI", help="A folder registry, or an MLflow tracking URI.")
    ] = None,
    time: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="When each row came: timestamps or dates, rising, in UTC.")
    ] = None,
    rows_per_second: Annotated[
        float | None, typer.Option(metavar="R", help="For rows without times: a made-up, even clock.")
    ] = None,
    start: Annotated[
        str | None, typer.Option(metavar="UTC", help=f"When that clock begins; {START_DEFAULT} unless said otherwise.")
    ] = None,
    key: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="What callers send as routing_key; without it, none do.")
    ] = None,
    columns: Annotated[
        Path | None,
        typer.Option(metavar="FILE.json", help='Which columns feed which input: {"TENSOR": ["COLUMN", ...]}.'),
    ] = None,
    recorded: Annotated[
        bool, typer.Option("--recorded", help="Of recordings: only what this very artifact answered, as it did.")
    ] = False,
    window: Annotated[
        Window, typer.Option("--window", help="Whose timeline is shown; all lengths are judged.")
    ] = Window.HOUR,
    config: Annotated[Path | None, typer.Option(metavar="FILE", help="Settings as TOML; [drift] counts.")] = None,
    setting: Annotated[
        list[str] | None, typer.Option("--set", metavar="drift.KEY=VALUE", help="A setting to try; repeatable.")
    ] = None,
    until_first: Annotated[bool, typer.Option("--until-first", help="Stop at the first alarm.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Judge rows of files as the server judges traffic, and tell what its policy would have done.

    The model is run over the rows, and what goes in and comes out is counted, cut into windows and judged by the
    server's own code, with the rows' clock. So a policy can be tried on last month before it guards this one.

    \b
    roost replay churn.bundle october.parquet --time seen_at
    roost replay churn@stable october.parquet --registry /srv/models --time seen_at --key customer
    roost replay churn.bundle october.parquet --time seen_at --set drift.tau=0.2 --set drift.inputs=hold
    roost replay churn.bundle rows.parquet --rows-per-second 50 --window minute
    roost replay churn@stable /var/lib/roost/recorded/churn --registry /srv/models --recorded --json

    A recording that a server made (record.folder) needs neither --time nor --key: it has both. All lengths of windows
    are judged; --window says which one's timeline is printed. --config and ROOST_DRIFT__... are read as `roost serve`
    does, and --set wins over both.
    """
    with _usage_in_lines():
        settings = load_settings(_given(setting or ()), os.environ, config).drift
        clash = _clash(time, rows_per_second, start, key, columns, recorded)
        if clash is not None:
            raise ConfigurationError([clash])
    with refusals_in_one_line():
        from registry_client.baseline.mapping import read_mapping
        from server.replay.files import Choices
        from server.replay.subject import NothingToCompare
        from server.replay.times import EvenClock, parse_utc

        even = None
        if rows_per_second is not None:
            even = EvenClock(parse_utc(start or START_DEFAULT, "--start"), rows_per_second)
        mapping = None if columns is None else read_mapping(read_json_object(columns), "--columns")
        name, bundle, _ = read_with_baseline(target, registry, "replay")
        choices = Choices(time, key, even, mapping, recorded)
        try:
            done, summary = _replayed(name, bundle, files, choices, settings, window, until_first)
        except NothingToCompare as refusal:
            print(f"roost: {refusal}", file=sys.stderr)
            raise typer.Exit(1) from None
        if as_json:
            print(json.dumps(_document(name, bundle, done, settings, summary)))
        else:
            from server.cli.replay_tables import print_replay

            print_replay(name, bundle.digest, done, summary, stopped=until_first and summary.first is not None)


def _replayed(
    name: str,
    bundle: VerifiedBundle,
    files: Sequence[Path],
    choices: Choices,
    settings: DriftSettings,
    window: Window,
    until_first: bool,
) -> tuple[Replay, Summary]:
    """The whole pass. What is left out is said on standard error."""
    from server.control.drift.windows import WindowKind
    from server.judgement.drift.report import Verdict
    from server.replay.files import open_files, paths_of
    from server.replay.replaying import Replay, replayed
    from server.replay.subject import subject_of, unjudged
    from server.replay.summary import Summary

    opened = open_files(subject_of(name, bundle), paths_of(files), choices)
    for note in (*opened.notes, *unjudged(opened.subject, settings)):
        print(f"roost: {note}", file=sys.stderr)
    found, summary = Replay(opened.subject, settings), Summary(WindowKind[window.name])
    with progress("replay", opened.rows) as advance:
        for told in replayed(found, _watched(opened.in_order(), advance)):
            summary.note(told)
            if until_first and told.verdict is Verdict.DRIFT:
                break
    if found.rows == 0:
        raise BadDocument(
            name, expected="rows that it has answered", got="none in these recordings",
            hint="Name the version that served then, or leave --recorded out: the model is run over all rows.",
        )  # fmt: skip
    return found, summary


def _watched(rows: Iterator[Rows], advance: Callable[[int], None]) -> Iterator[Rows]:
    for some in rows:
        yield some
        advance(len(some))


def _document(
    name: str, bundle: VerifiedBundle, done: Replay, settings: DriftSettings, summary: Summary
) -> dict[str, Any]:
    from server.replay.summary import utc
    from server.replay.times import NS_PER_US

    return {
        "model": name,
        "digest": bundle.digest,
        "rows": done.rows,
        "start_utc": utc(done.first_us * NS_PER_US),
        "end_utc": utc(done.last_us * NS_PER_US),
        "pauses": [[utc(begin), utc(end)] for begin, end in done.pauses],
        "left_out": list(done.subject.left_out),
        "settings": settings.model_dump(),
        **summary.to_dict(),
    }


def _given(texts: Sequence[str]) -> Values:
    """The settings of --set, nested as the sections. Raises ConfigurationError."""
    values: Values = {}
    for text in texts:
        key, equals, value = text.partition("=")
        section, dot, name = key.strip().partition(".")
        if not equals or not dot or section != "drift":
            raise ConfigurationError(
                [f"--set: expected drift.KEY=VALUE, got {text!r}. For example: --set drift.tau=0.2"]
            )
        values.setdefault(section, {})[name] = value.strip()
    return values


def _clash(
    time: str | None,
    rows_per_second: float | None,
    start: str | None,
    key: str | None,
    columns: Path | None,
    recorded: bool,
) -> str | None:
    """What is wrong with the options together, in a line."""
    if rows_per_second is not None and not 0.0 < rows_per_second < float("inf"):
        return f"--rows-per-second: expected a number above 0, got {rows_per_second:g}."
    if time is not None and rows_per_second is not None:
        return "--rows-per-second: expected no --time beside it, got both. Rows have one clock: leave one out."
    if start is not None and rows_per_second is None:
        return "--start: expected --rows-per-second beside it, got none. It says when a made-up clock begins."
    given = {"--time": time, "--rows-per-second": rows_per_second, "--key": key, "--columns": columns}
    beside = [option for option, value in given.items() if value is not None]
    if recorded and beside:
        return f"--recorded: expected no {beside[0]} beside it, got both. A recording says itself what its columns are."
    return None


@contextmanager
def _usage_in_lines() -> Iterator[None]:
    try:
        yield
    except ConfigurationError as error:
        for line in error.lines:
            print(f"roost: {line}", file=sys.stderr)
        raise typer.Exit(EXIT_USAGE) from None
