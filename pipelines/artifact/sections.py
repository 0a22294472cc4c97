"""Sections: what a model card says, in order: sentences, tables of places, pictures. Used by `card.py`, which shows it.

Always: no figure stands here; each is a `Place` in the evaluation's report, the explanations or the manifest. What no
run can know (what it is for, and what not) is the definition's prose.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass
from typing import Any, Final

from pipelines.artifact.places import (
    EVALUATION,
    EVALUATION_FILE,
    EXPLANATIONS,
    EXPLANATIONS_FILE,
    LINEAGE,
    MANIFEST_FILE,
    MEANING,
    Documents,
    Key,
    Place,
)
from pipelines.definition import Classification, Definition

Cell = str | Place | Key
Sentence = tuple[Cell, ...]

TITLES: Final[Mapping[str, str]] = {
    "rows": "rows",
    "auc": "AUC",
    "mae_skill": "skill",
    "accuracy": "accuracy",
    "majority_share": "share of the commonest class",
    "accuracy_gain": "accuracy above that",
    "log_loss": "log loss",
    "brier": "Brier score",
    "mae": "mean absolute error",
    "mae_of_median": "error of always saying training's median",
    "mae_share": "error as a share of that",
    "rmse": "root mean squared error",
    "spread": "standard deviation of labels",
    "actual_mean": "actual mean",
    "predicted_mean": "predicted mean",
    "bias": "bias",
}
"""Of measures, in the order of telling; one that is not here comes last and goes by its key."""
CLASS_TITLES: Final = {"actual_mean": "actual share", "predicted_mean": "predicted share"}
"""Of classes instead: how many are of the positive one, and how many should be by their probabilities."""
SHIFTS_MAX: Final = 10
SLICE_MEASURES: Final[Mapping[str, tuple[str, ...]]] = {
    "classification": ("rows", "auc", "accuracy", "actual_mean", "predicted_mean"),
    "regression": ("rows", "mae_skill", "mae", "actual_mean", "predicted_mean"),
}


@dataclass(frozen=True)
class Table:
    """heads: one for each cell of a row. note: what has to be known to read it."""

    heads: tuple[Cell, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""


@dataclass(frozen=True)
class Picture:
    """file: in the bundle, SVG. says: what it shows."""

    file: str
    says: str


@dataclass(frozen=True)
class Section:
    """name: for links. points: a list of sentences, before the tables."""

    name: str
    title: str
    sentences: tuple[Sentence, ...] = ()
    points: tuple[Sentence, ...] = ()
    pictures: tuple[Picture, ...] = ()
    tables: tuple[Table, ...] = ()


def sections(definition: Definition, documents: Documents) -> tuple[Section, ...]:
    """All that the card says. documents: the evaluation's report, the explanations, and of the manifest what it has."""
    report, manifest = documents[EVALUATION_FILE], documents[MANIFEST_FILE]
    return (
        _summary(definition, report, manifest["lineage"]),
        Section("intended", "Intended use", points=_points(definition.prose.intended_use)),
        Section("not-intended", "Not intended", points=_points(definition.prose.not_intended)),
        _takes(manifest["meaning"]),
        _data(manifest["lineage"]["data"]),
        _measures(report),
        _gates(report),
        _slices(report),
        _calibration(report),
        _robustness(report),
        _population(report),
        _explanations(documents[EXPLANATIONS_FILE]),
        Section("limits", "Limits", points=_points(definition.prose.limits)),
        _made(manifest),
    )


def _title(report: Mapping[str, Any], measure: str) -> str:
    titles = {**TITLES, **(CLASS_TITLES if report["task"] == "classification" else {})}
    return titles.get(measure, measure.replace("_", " "))


def _table(heads: tuple[str, ...], at: Place, items: Sized, keys: tuple[str, ...], note: str = "") -> Table:
    """A row for each item of the list at `at`, of what is under its keys."""
    return Table(heads, tuple(tuple(one / key for key in keys) for one in at.each(items)), note)


def _points(prose: tuple[str, ...]) -> tuple[Sentence, ...]:
    return tuple((sentence,) for sentence in prose)


def _summary(definition: Definition, report: Mapping[str, Any], lineage: Mapping[str, Any]) -> Section:
    measure = report["measure"]["name"]
    task = definition.task
    says: Sentence = (
        ("Predicts ", MEANING / "label", ": ", " or ".join(f'"{label}"' for label in task.labels), ".")
        if isinstance(task, Classification)
        else ("Predicts ", MEANING / "label", ", in ", MEANING / "unit", ".")
    )
    failed = sum(not gate["passed"] for gate in report["gates"])
    sentences: list[Sentence] = [
        says,
        (
            "On ", EVALUATION / "rows" / "evaluation", " rows that it did not learn from it reaches ",
            EVALUATION / "whole" / measure, " (", EVALUATION / "measure" / "title", ").",
        ),
    ]  # fmt: skip
    if not failed:
        sentences.append(("It has passed every gate.",))
    else:
        sentences.append(("Not every gate was passed: it is here to see what a server does with it. Do not use it.",))
    if "drill" in lineage["parameters"]:
        sentences.append(("A drill, ", LINEAGE / "parameters" / "drill", ". Do not use it for anything else.",))
    return Section("summary", "In short", tuple(sentences))


def _takes(meaning: Mapping[str, Any]) -> Section:
    rows = tuple(
        (at / "name", at / "title", at / "input", at / "column", *_domain(at, column))
        for part in ("features", "texts")
        for at, column in zip((MEANING / part).each(meaning[part]), meaning[part], strict=True)
    )
    heads = ("name", "what it is", "input", "column", "is", "from", "to", "unit or values")
    note = (
        "What is outside, or none of the values, counts as missing or unknown; at its end a cycle begins again. "
        "manifest.json explains the codes."
    )
    return Section("takes", "What it takes", tables=(Table(heads, rows, note),))


def _domain(at: Place, column: Mapping[str, Any]) -> tuple[Cell, Cell, Cell, Cell]:
    match column["kind"]:
        case "number":
            return at / "kind", at / "low", at / "high", at / "unit"
        case "cycle":
            return at / "kind", at / "low", at / "period", ""
        case "code":
            return at / "kind", "", "", "codes"
        case _:
            return at / "kind", "", "", at / "values"


def _data(data: Mapping[str, Any]) -> Section:
    at = LINEAGE / "data"
    parts = tuple(
        (part, at / part / "rows", at / part / "from_utc", at / part / "to_utc", at / part / "digest")
        for part in ("training", "evaluation")
    )
    tables, loads = [], []
    for name, table in sorted(data["tables"].items()):
        place = at / "tables" / name
        tables.append((Key(place), place / "version", place / "rows", place / "digest"))
        for load in sorted(table["loads"]):
            one = place / "loads" / load
            loads.append((Key(place), Key(one), one / "rows", one / "digest"))
    # None where no package is pinned, and the records come from elsewhere.
    source = tuple((Key(at / "source" / key), at / "source" / key) for key in sorted(data["source"] or ()))
    return Section(
        "data",
        "Data",
        ((MEANING / "source",), ("A digest is of the rows alone, whatever files they lie in.",)),
        tables=(
            Table(("rows of", "rows", "first event, UTC", "last event, UTC", "digest"), parts,
                  "An event of which only the year is known counts as its beginning."),
            Table(("table", "version", "rows", "digest"), tuple(tables)),
            Table(("table", "load", "rows", "digest"), tuple(loads)),
            *([Table(("source", "is"), source)] if source else ()),
        ),
    )  # fmt: skip


def _measures(report: Mapping[str, Any]) -> Section:
    periods = (EVALUATION / "periods").each(report["periods"])
    keys = [key for key in TITLES if key in report["whole"]]
    keys += sorted(report["whole"].keys() - TITLES.keys())
    rows: tuple[tuple[Cell, ...], ...] = tuple(
        (
            _title(report, key),
            EVALUATION / "whole" / key,
            *(period / "measures" / key for period in periods),
        )
        for key in keys
    )
    heads: tuple[Cell, ...] = ("measure", "all", *(period / "period" for period in periods))
    sentences: list[Sentence] = [("The gates judge by ", EVALUATION / "measure" / "title", "; higher is better.")]
    if report["task"] == "regression":
        sentences.append(("Errors, deviations, means and bias are in ", EVALUATION / "label" / "unit", "."))
    return Section("measures", "How good it is", tuple(sentences), tables=(Table(heads, rows),))


def _gates(report: Mapping[str, Any]) -> Section:
    keys = ("name", "on", "measured", "sense", "bound", "rows", "checks", "passed")
    heads = ("gate", "closest to failing on", "measured", "must be", "bound", "rows", "places looked at", "passed")
    table = _table(heads, EVALUATION / "gates", report["gates"], keys)
    return Section("gates", "Gates", tables=(table,))


def _slices(report: Mapping[str, Any]) -> Section:
    measures = SLICE_MEASURES[report["task"]]
    rows = tuple(
        (
            at / "title", at / "value", *(at / "measures" / key for key in measures),
            at / "training_rows", at / "judged",
        )
        for at in (EVALUATION / "slices").each(report["slices"])
    )  # fmt: skip
    heads = ("slice", "is", *(_title(report, key) for key in measures), "rows in training", "judged")
    note = "Slices of too few rows are shown and not judged: chance alone moves them far."
    picture = Picture("slices.svg", "The gates' measure in each judged slice, against the whole's.")
    return Section("slices", "For whom", pictures=(picture,), tables=(Table(heads, rows, note),))


def _calibration(report: Mapping[str, Any]) -> Section:
    at = EVALUATION / "calibration"
    keys = ("low", "high", "predicted", "actual", "rows")
    heads = ("predicted from", "to", "predicted, mean", "actual, mean", "rows")
    unit = "as probabilities" if report["task"] == "classification" else "as a share of the labels' standard deviation"
    return Section(
        "calibration",
        "Calibration",
        (("On average over bins, what was predicted and what came true are ", at / "error", f" apart, {unit}."),),
        pictures=(Picture("calibration.svg", "What was predicted against what came true; on the line is right."),),
        tables=(_table(heads, at / "bins", report["calibration"]["bins"], keys),),
    )


def _robustness(report: Mapping[str, Any]) -> Section:
    at = EVALUATION / "robustness"
    missing = at / "missing"
    sentence = (
        "With a share of ", missing / "share", " of all values gone missing, the gates' measure is ",
        missing / "measure", ", a drop of ", missing / "drop", ".",
    )  # fmt: skip
    heads = ("extreme values", "rows asked", "answers that were no number")
    table = _table(heads, at / "extremes", report["robustness"]["extremes"], ("case", "rows", "not_finite"))
    return Section("robustness", "Robustness", (sentence,), tables=(table,))


def _population(report: Mapping[str, Any]) -> Section:
    shifts = tuple(
        _shifts(part, report["population"][part], what)
        for part, what in (("features", "column"), ("over_time", "column over time"), ("pairs", "pair of columns"))
    )
    leaks = _table(("one column alone", "tells the label by"), EVALUATION / "leakage", report["leakage"],
                   ("name", "strength"), "One that tells it all would be a leak.")  # fmt: skip
    repeated = ("Share of training's rows that are equal to another in every column and the label: ",
                EVALUATION / "duplicates" / "training", ".")  # fmt: skip
    says = ("How far what it was judged on is from what it learnt from, as population stability index (PSI).",)
    return Section("population", "Population", (says, repeated), tables=(*shifts, leaks))


def _shifts(part: str, shifts: Sequence[Mapping[str, Any]], what: str) -> Table:
    """Those furthest beyond what chance moves, first."""
    order = sorted(range(len(shifts)), key=lambda place: (-(shifts[place]["beyond_chance"] or 0), place))
    keys, at = ("names", "from", "to", "psi", "beyond_chance"), EVALUATION / "population" / part
    rows = tuple(tuple(at / place / key for key in keys) for place in order[:SHIFTS_MAX])
    note = "Those that moved most; evaluation.json has all of them." if len(order) > SHIFTS_MAX else ""
    return Table((what, "from", "to", "PSI", "beyond chance"), rows, note)


def _explanations(explanations: Mapping[str, Any]) -> Section:
    table = _table(
        ("rank", "feature", "name", "share", "mean contribution, up or down"), EXPLANATIONS / "importances",
        explanations["importances"], ("rank", "title", "feature", "share", "mean_abs"),
    )  # fmt: skip
    swapped: tuple[Sentence, ...] = ()
    if explanations["background_rows"] is not None:
        swapped = ((
            "Features take the place of those of ", EXPLANATIONS / "background_rows", " rows of training one by one, "
            "also where no record has such values together: contributions of columns that go together may be large "
            "and cancel out.",
        ),)  # fmt: skip
    return Section(
        "explanations",
        "What it goes by",
        (
            ("By ", EXPLANATIONS / "method", ", over ", EXPLANATIONS / "rows", " rows of evaluation, in ",
             EXPLANATIONS / "unit", ". Contributions lead from the mean answer, ", EXPLANATIONS / "base",
             ", to what is answered to a row."),
            ("A contribution tells what moved this model's answer, not what causes what.",),
            *swapped,
        ),
        pictures=(
            Picture("importances.svg", "How much each feature moves the answers: its share of all contributions."),
            Picture("explained_rows.svg", "Some answers, feature by feature: what pushed them up, what down."),
        ),
        tables=(table,),
    )  # fmt: skip


def _made(manifest: Mapping[str, Any]) -> Section:
    lineage, code, parameters_at = manifest["lineage"], LINEAGE / "code", LINEAGE / "parameters"
    parameters = tuple(
        (Key(place, len(place.path) - len(parameters_at.path)), place)
        for place in _leaves(parameters_at, lineage["parameters"])
    )
    made: tuple[tuple[Cell, Cell], ...] = (
        ("digest of the code", code / "sha256"),
        ("Python", code / "python"),
        *((Key(code / "libraries" / name), code / "libraries" / name) for name in sorted(lineage["code"]["libraries"])),
        ("bytes of the graph", EVALUATION / "model" / "bytes"),
        ("rows on which graph and learner agree", MEANING / "parity" / "rows"),
        ("within", MEANING / "parity" / "bound"),
    )
    return Section(
        "made",
        "How it was made",
        (("The same rows, parameters, code and libraries give the same bundle, byte for byte: environment.lock has all "
          "versions, manifest.json the digest of each file.",),),
        tables=(Table(("parameter", "is"), parameters), Table(("made by", "is"), made)),
    )  # fmt: skip


def _leaves(at: Place, document: Mapping[str, Any]) -> Iterator[Place]:
    for key, value in sorted(document.items()):
        if isinstance(value, Mapping):
            yield from _leaves(at / key, value)
        else:
            yield at / key
