"""Against stable: the gates of a version that comes beside one that is stable already. Pure; for the register stage.

`comparison`, `comparison_slice`: its answers (`comparison.py`). `population_of_stable`: what it learnt from
(`inherited_population.py`). `history`: loads that both have read are the same rows still, by their digests: a code that
changes its meaning in every load at once, past and present, moves no share and no measure, but it rewrites what is
past. Always: all are looked at; of a stable version that tells nothing of its records nothing is asked.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any, Final

from pipelines.evaluation.comparison import ComparisonReport
from pipelines.evaluation.gates import ALL_ROWS, Check
from pipelines.evaluation.inherited_population import shifts
from pipelines.examples import Examples
from pipelines.parameters import Comparison
from registry_client.baseline.document import Baseline
from registry_client.manifest import Lineage

HISTORY: Final = "history"


def judged(
    report: ComparisonReport, ours: Lineage, stables: Lineage, baseline: Baseline | None, training: Examples,
    settings: Comparison,
) -> tuple[Check, ...]:
    """baseline: the stable version's. training: what ours learnt from."""  # fmt: skip
    return (
        *_answers(report),
        *(() if baseline is None else shifts(baseline, training, settings.population_psi_max)),
        *_history(ours, stables, settings.corrected_loads),
    )


def _answers(report: ComparisonReport) -> Iterator[Check]:
    settings = report.settings
    yield Check("comparison", None, report.not_finite, "at most", 0, "answers that are no number", report.rows)
    yield Check("comparison", "comparison.margin", report.low, "at least", -settings.margin, ALL_ROWS, report.rows)
    for one in report.slices:
        bound = settings.slice_drop_max
        yield Check("comparison_slice", "comparison.slice_drop_max", one.drop, "at most", bound, one.name, one.rows)


def _history(ours: Lineage, stables: Lineage, corrected: Collection[str]) -> Iterator[Check]:
    """One check a load that both have read, whole or by the same sample: 0 where its rows are the same, 1 otherwise."""
    then = _loads(stables) if _sample(ours) == _sample(stables) else {}
    for (table, load), (digest, rows) in sorted(_loads(ours).items()):
        if (table, load) in then and load not in corrected:
            rewritten = float(then[table, load][0] != digest)
            yield Check(HISTORY, "comparison.corrected_loads", rewritten, "at most", 0, f"{table}, load {load}", rows)


def _loads(lineage: Lineage) -> dict[tuple[str, str], tuple[str, int]]:
    """By table and load its digest and rows. Others write lineages of other forms."""
    tables = lineage.data.get("tables")
    return {
        (str(table), str(load)): (str(one["digest"]), one["rows"] if isinstance(one.get("rows"), int) else 0)
        for table, loads in (tables.items() if isinstance(tables, Mapping) else ())
        for load, one in _mapping(_mapping(loads).get("loads")).items()
        if isinstance(one, Mapping) and "digest" in one
    }


def _sample(lineage: Lineage) -> Any:
    return _mapping(lineage.parameters.get("snapshot")).get("rows_max")


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
