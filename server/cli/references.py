"""The options of `roost bundle` that tell where the rows are that a model learnt from, and the baseline of them.

Used by `bundles.py`. Always: an option that would do nothing without --reference is refused without it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from registry_client.errors import BadDocument
from server.cli.given_files import read_json_object
from server.cli.progress import progress

if TYPE_CHECKING:
    from collections.abc import Callable

    from registry_client.baseline.reference import Batch, Built
    from registry_client.onnx_model import OnnxModel

BINS = 10
TAU = 0.1

ReferenceOption = Annotated[
    Path | None,
    typer.Option(metavar="FILE.parquet", help="Rows that the model learnt from: gives a baseline for drift."),
]
ColumnsOption = Annotated[
    Path | None,
    typer.Option(metavar="FILE.json", help='Which columns feed which input: {"TENSOR": ["COLUMN", ...]}.'),
]
TimeOption = Annotated[
    str | None, typer.Option(metavar="COLUMN", help="The rows' times: also counted by hour of the week, UTC.")
]
LabelOption = Annotated[str | None, typer.Option(metavar="COLUMN", help="What came true.")]
CategoriesOption = Annotated[
    str | None, typer.Option(metavar="A,B,C", help="Features whose numbers are codes, whatever their values.")
]
ImportancesOption = Annotated[
    Path | None, typer.Option(metavar="FILE.json", help='How much the model leans on each feature: {"NAME": NUMBER}.')
]
BinsOption = Annotated[int, typer.Option(help="Bins of a number, with equal shares of the rows.")]
TauOption = Annotated[float, typer.Option(help="The shift (PSI) that the rows must be enough to tell.")]


@dataclass(frozen=True)
class ReferenceOptions:
    """The options as given; see the Annotated types above."""

    reference: Path | None
    columns: Path | None
    time: str | None
    label: str | None
    categories: str | None
    importances: Path | None
    bins: int
    tau: float


def build(model: OnnxModel, meaning: Mapping[str, Any], options: ReferenceOptions) -> Built | None:
    """The baseline of the reference's rows; None where none is wanted. Raises ArtifactError."""
    if options.reference is None:
        _refuse_orphans(options)
        return None
    from registry_client.baseline.builder import Choices, check_choices
    from registry_client.baseline.mapping import meaning_columns, read_mapping
    from registry_client.baseline.reference import Built, Naming, build_baseline
    from registry_client.baseline.rows import ModelRows, Source
    from registry_client.reference_run import ReferenceRun

    importances = {} if options.importances is None else _read_numbers(options.importances)
    check_choices(Choices(options.bins, options.tau, importances=importances))
    named, coded = meaning_columns(meaning)
    source = Source(
        options.reference,
        time=options.time,
        label=options.label,
        meaning=named,
        explicit=None if options.columns is None else read_mapping(read_json_object(options.columns), "--columns"),
        class_labels=model.class_labels,
    )
    rows = ModelRows(model.signature, source)
    # Codes that `meaning` explains are codes, where it speaks of the columns that feed the model.
    fed = {name for names in rows.names.values() for name in names}
    given = [name.strip() for name in (options.categories or "").split(",") if name.strip()]
    with progress("baseline", rows.rows) as advance:
        built = build_baseline(
            model.signature,
            _watched(rows.batches(), advance),
            run=None if rows.unfed else ReferenceRun(model.model_bytes, model.signature),
            naming=Naming(rows.names, model.class_labels, options.label),
            hourly=options.time is not None,
            choices=Choices(options.bins, options.tau, frozenset(given) | (coded & fed), importances),
        )
    if not rows.unfed:
        return built
    note = f"{options.reference} has no column for input {', '.join(rows.unfed)}: predictions are not in the baseline"
    return Built(built.baseline, (*built.notes, note))


def _refuse_orphans(options: ReferenceOptions) -> None:
    given = {
        "--columns": options.columns, "--time": options.time, "--label": options.label,
        "--categories": options.categories, "--importances": options.importances,
        "--bins": None if options.bins == BINS else options.bins, "--tau": None if options.tau == TAU else options.tau,
    }  # fmt: skip
    for option, value in given.items():
        if value is not None:
            raise BadDocument(
                option, expected="--reference FILE.parquet beside it", got="none",
                hint="Give the rows, or leave it out.",
            )  # fmt: skip


def _read_numbers(path: Path) -> dict[str, float]:
    numbers = {}
    for name, number in read_json_object(path).items():
        if type(number) not in (int, float):
            raise BadDocument(f"{path}: {name}", expected="a number", got=repr(number)[:40], hint="Correct it.")
        numbers[name] = float(number)
    return numbers


def _watched(batches: Iterator[Batch], advance: Callable[[int], None]) -> Iterator[Batch]:
    """The same batches; each is told when it is done."""
    for batch in batches:
        yield batch
        advance(len(next(iter(batch.inputs.values()))))
