"""The evaluation's report: what the gates judge, what a model card shows, and what goes into the bundle.

Written by the evaluate stage as `evaluate/report.json` (in the bundle `evaluation.json`), read by `artifact/`,
`registry_client/lineage/` and the register stage. Always: plain JSON; floats rounded to 6 significant digits, so that
the last bit of a sum does not name another bundle; null where a figure is not defined (an AUC of rows of one class);
nothing that depends on the machine or the day, which is in `beside/measured.json`. Its form:

    {"task": "classification" | "regression",
     "label": {"name": str, "classes": [str, ...] | null, "positive": int | null,
               "unit": str | null, "median": float | null},                         the median of training's labels
     "measure": {"name": "auc" | "mae_skill", "title": str},              the gates' measure: higher is better
     "rows": {"training": int, "evaluation": int, "not_finite": int},
     "whole": MEASURES,
     "periods": [{"period": "2016" | "2013-10", "measures": MEASURES}, ...],                 in the order of time
     "slices": [{"column": str, "title": str, "value": str, "training_rows": int, "of_time": bool, "judged": bool,
                 "coverage": float | null, "measures": MEASURES}, ...],
     "calibration": {"error": float, "bins": [{"rows": int, "low": float, "high": float,
                                               "predicted": float, "actual": float}, ...]},
     "robustness": {"missing": {"share": float, "rows": int, "measure": float, "drop": float},
                    "extremes": [{"case": str, "rows": int, "not_finite": int}, ...]},
     "population": {"features": [SHIFT, ...], "over_time": [SHIFT, ...], "pairs": [SHIFT, ...],
                    "spans": [{"name": str, "of": "training" | "evaluation", "low": float, "high": float,
                               "share": float}, ...]},
     "leakage": [{"name": str, "strength": float}, ...],                                        strongest first
     "duplicates": {"training": float, "periods": {PERIOD: float, ...}, "of_training": float},  shares of rows
     "model": {"bytes": int, "sha256": hex},                                                of the graph that was judged
     "gates": [GATE, ...]}

MEASURES of classes: {"rows", "auc", "accuracy", "majority_share", "accuracy_gain", "log_loss", "brier",
"actual_mean", "predicted_mean", "bias"}; of a regression: {"rows", "mae", "mae_of_median", "mae_share", "mae_skill",
"rmse", "spread", "actual_mean", "predicted_mean", "bias"}: `measures.py` defines each.

SHIFT: {"names": [str] | [str, str], "from": str, "to": str, "psi": float, "beyond_chance": float}, the label among the
names. `features` are from "training" to "evaluation", `over_time` from a period to the next, `pairs` of both kinds, the
ten that moved most. `psi` has its bias taken away and may be below zero; gates judge what is `beyond_chance`.

GATE: {"name": str, "parameter": "gates.auc_min" | null, "measured": float | null, "bound": float,
"sense": "at least" | "at most", "passed": bool, "by": float | null, "on": str, "rows": int, "checks": int}. One entry
a gate: the place that came closest to failing, of `checks` places; where places failed, one for each, 50 at most.
`by`: how far on the right side of the bound, below zero where it failed. `on` names the place, such as "all rows",
"sex=female", "AGEP, 2017 to 2018". Gates whose parameter is unset are not there; those of speed are in
`beside/measured.json`: {"latency": {"row_us": float, "batch_row_ns": float, "batch_rows": int}, "gates": [GATE, ...]}.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from pipelines.definition import Classification, Definition
from pipelines.evaluation import gates as gates_room
from pipelines.evaluation.examination import Examination, SliceResult
from pipelines.evaluation.gates import Check, is_large
from pipelines.evaluation.measures import MEASURES, as_json, rounded
from pipelines.evaluation.population import Population
from pipelines.parameters import Gates

PAIRS_TOLD: Final = 10


def report(definition: Definition, found: Examination, checks: Sequence[Check], gates: Gates) -> dict[str, Any]:
    """The document. checks: of what does not depend on the machine."""
    name, title = MEASURES[type(definition.task)]
    return {
        "task": "classification" if isinstance(definition.task, Classification) else "regression",
        "label": _label(definition, found),
        "measure": {"name": name, "title": title},
        "rows": {
            "training": found.training_rows,
            "evaluation": found.evaluation_rows,
            "not_finite": found.not_finite,
        },
        "whole": as_json(found.whole),
        "periods": [{"period": period, "measures": as_json(each)} for period, each in found.periods.items()],
        "slices": [_slice(definition, one, gates) for one in found.slices if one.measures is not None],
        "calibration": found.calibration.as_json(),
        "robustness": {
            "missing": found.missing.as_json(),
            "extremes": [one.as_json() for one in found.extremes],
        },
        "population": _population(found.population),
        "leakage": [one.as_json() for one in found.strengths],
        "duplicates": found.duplicates.as_json(),
        "model": {"bytes": found.model_bytes},
        "gates": gates_room.as_json(checks),
    }


def _label(definition: Definition, found: Examination) -> dict[str, Any]:
    task = definition.task
    if isinstance(task, Classification):
        kind: dict[str, Any] = {"classes": list(task.labels), "positive": task.positive, "unit": None, "median": None}
    else:
        kind = {"classes": None, "positive": None, "unit": task.unit, "median": rounded(found.judge.median)}
    return {"name": definition.label} | kind


def _slice(definition: Definition, one: SliceResult, gates: Gates) -> dict[str, Any]:
    assert one.measures is not None, "slices without rows are not told"
    return {
        "column": one.slice.column,
        "title": definition.slices.get(one.slice.column, one.slice.column),
        "value": one.slice.value,
        "training_rows": one.slice.training_rows,
        "of_time": one.slice.of_time,
        "judged": is_large(one, gates),
        "coverage": rounded(one.slice.coverage),
        "measures": as_json(one.measures),
    }


def _population(found: Population) -> dict[str, Any]:
    return {
        "features": [shift.as_json() for shift in found.features],
        "over_time": [shift.as_json() for shift in found.over_time],
        "pairs": [shift.as_json() for shift in found.pairs[:PAIRS_TOLD]],
        "spans": [span.as_json() for span in found.spans],
    }
