"""A fleet that Prometheus scrapes: three servers' real books and collectors, and what the rules are to make of them.

Run as `python -m tests.control.drift.scraped_fleet > docs/prometheus/roost-drift.test.yml`: it writes that file. Two
servers have one digest, one like the reference and one whose traffic has moved, and which is started again on the way;
the third has a digest with other bins. What is expected is what judgement computes of the rows that they were fed.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import yaml
from prometheus_client import CollectorRegistry

from native.plane.layout import DRIFT_BUCKETS
from registry_client.baseline.document import Baseline, Feature, Kind
from server.control.drift.baselines import ArtifactBaseline
from server.control.drift.book import DriftBook
from server.control.drift.exported import DIGEST_DIGITS, ExportedCollector
from server.control.drift.readings import Reading, Source
from server.control.drift.signals import Signal, signals_of
from server.control.drift.watching import ModelDrift
from server.control.drift.windows import MINUTE_NS, Counts
from server.judgement.drift.layout import Floats
from server.judgement.drift.psi import debiased, psi, shares
from tests.control.drift.counted_seats import DIGEST, MODEL, OTHER, Clock, store_in

RULES: Final = "roost-drift.rules.yml"
GROUPS: Final = ("roost-drift-reference", "roost-drift-1h", "roost-drift-1d", "roost-drift-verdicts",
                 "roost-drift-rules-of-thumb")  # fmt: skip
SCRAPE_MINUTES: Final = 5
SCRAPES_AN_HOUR: Final = 60 // SCRAPE_MINUTES
SCRAPES: Final = 25 * SCRAPES_AN_HOUR
RESTART_AT: Final = 10 * SCRAPES_AN_HOUR + 3
WINDOWS: Final = {"1h": SCRAPES_AN_HOUR, "1d": 24 * SCRAPES_AN_HOUR}
TOLERANCE: Final = 1e-9
FEATURES_MAX: Final = 50
HEADER: Final = (
    "# Written by `python -m tests.control.drift.scraped_fleet`, from what three servers export; don't edit it.\n"
    "# To be read by `promtool test rules`, in the folder of the rules.\n"
)

PLAN: Final = Feature("plan", "x", 1, Kind.CATEGORY, (1.0, 2.0, 3.0), (7000, 2500, 497, 3, 0, 0), 0.6)
SCORE: Final = Feature("score", "y", 0, Kind.NUMBER, (0.0, 0.25, 0.5, 0.75, 1.0), (0, 5200, 2800, 1400, 600, 0, 0, 0))
AGE: Final = Feature("age", "x", 0, Kind.NUMBER, (18.0, 30.0, 45.0, 60.0, 90.0), (0, 2600, 3400, 2500, 1478, 2, 20, 0))
OTHER_AGE: Final = Feature("age", "x", 0, Kind.NUMBER, (20.0, 40.0, 60.0, 80.0), (40, 4900, 3900, 1100, 60, 0, 0))

# Rows by bin between two scrapes: age, plan, score.
AS_LEARNT: Final = ((0, 26, 34, 25, 14, 0, 1, 0), (70, 25, 5, 0, 0, 0), (0, 52, 28, 14, 6, 0, 0, 0))
MOVED: Final = ((6, 4, 10, 26, 50, 2, 2, 0), (40, 40, 15, 5, 0, 0), (0, 30, 30, 22, 18, 0, 0, 0))
ELSEWHERE: Final = ((1, 30, 35, 12, 1, 1, 0), (60, 18, 2, 0, 0, 0), (0, 40, 20, 15, 5, 0, 0, 0))


def artifact_of(digest: str, inputs: Sequence[Feature], predictions: Sequence[Feature] = ()) -> ArtifactBaseline:
    """As `baseline_of` makes it of a bundle."""
    baseline = Baseline(inputs[0].rows, 0.0, tuple(inputs), tuple(predictions))
    features = baseline.inputs + baseline.predictions
    offsets = np.cumsum([0, *(len(feature.counts) for feature in features)], dtype=np.int64)
    reference = np.concatenate([np.array(feature.counts, dtype=np.int64) for feature in features])
    return ArtifactBaseline(digest, baseline, features, offsets, reference)


def known_of(artifact: ArtifactBaseline) -> ModelDrift:
    """As a watch knows a model whose stable this is."""
    known = ModelDrift()
    known.begin(artifact.digest)
    known.baseline, known.signals = artifact, signals_of(artifact)
    return known


@dataclass
class ScrapedServer:
    """One server. rows: int64[T], what it counts between two scrapes. fed: all that it has counted, over restarts."""

    instance: str
    artifact: ArtifactBaseline
    rows: Counts
    clock: Clock = field(default_factory=Clock)

    def __post_init__(self) -> None:
        self.models = {MODEL: known_of(self.artifact)}
        self.fed = np.zeros_like(self.rows)
        self.start()

    def start(self) -> None:
        """Anew: its plane has counted nothing."""
        self.book = DriftBook(store_in(None), {}, self.clock.at_utc_ns)
        self._counts = np.zeros((DRIFT_BUCKETS, self.rows.size), dtype=np.int64)
        self._registry = CollectorRegistry()
        self._registry.register(ExportedCollector(self, FEATURES_MAX))

    def count(self, rows: Counts | None = None) -> None:
        """Until the next scrape."""
        self.clock.step(SCRAPE_MINUTES * MINUTE_NS)
        self._counts[0] += self.rows if rows is None else rows
        self.fed += self.rows if rows is None else rows
        reading = Reading(MODEL, self.artifact.digest, Source(0, 1), self._counts)
        self.book.observe([reading], at_utc_ns=self.clock.at_utc_ns, now_ns=self.clock.now_ns)

    def scrape(self) -> dict[str, int]:
        """Series as Prometheus keeps them, and the values that it finds now."""
        found = {}
        for family in self._registry.collect():
            for sample in family.samples:
                labels = {**sample.labels, "instance": self.instance}
                found[f"{sample.name}{labels_text(labels)}"] = int(sample.value)
        return found


def labels_text(labels: dict[str, str]) -> str:
    """In braces, sorted, as promtool takes them."""
    return "{" + ", ".join(f"{name}={json.dumps(value)}" for name, value in sorted(labels.items())) + "}"


def fleet() -> tuple[ScrapedServer, ...]:
    both = artifact_of(DIGEST, [AGE, PLAN], [SCORE])
    other = artifact_of(OTHER, [OTHER_AGE, PLAN], [SCORE])
    return tuple(
        ScrapedServer(instance, artifact, np.concatenate([np.array(part, dtype=np.int64) for part in rows]))
        for instance, artifact, rows in (("a", both, AS_LEARNT), ("b", both, MOVED), ("c", other, ELSEWHERE))
    )


def scraped(servers: Sequence[ScrapedServer]) -> dict[str, list[int]]:
    """Each series' values, from before the first row on. The second server is started again on the way."""
    series: dict[str, list[int]] = {}
    for number in range(SCRAPES + 1):
        for server in servers:
            if number == RESTART_AT and server is servers[1]:
                server.start()
            if number > 0:
                server.count()
            for name, value in server.scrape().items():
                series.setdefault(name, []).append(value)
    return series


def notation(values: Sequence[int]) -> str:
    """As promtool takes them: `a+bxn` is a, a + b, and so on to a + n b."""
    parts, start = [], 0
    while start < len(values):
        stop = start + 1
        step = values[stop] - values[start] if stop < len(values) else 0
        while stop < len(values) and values[stop] - values[stop - 1] == step:
            stop += 1
        parts.append(f"{values[start]}{step:+d}x{stop - start - 1}" if stop > start + 1 else f"{values[start]}")
        start = stop
    return " ".join(parts)


@dataclass(frozen=True)
class Expected:
    """What the fleet shows of one feature, by judgement's own formulas."""

    labels: dict[str, str]
    rows: float
    psi: float
    psi0: float


def expected(servers: Sequence[ScrapedServer], scrapes: int) -> Iterator[Expected]:
    """Of a window of so many scrapes, by digest, signal and feature."""
    for digest in dict.fromkeys(server.artifact.digest for server in servers):
        same = [server for server in servers if server.artifact.digest == digest]
        raw = scrapes * np.sum([server.rows for server in same], axis=0)
        for signal in signals_of(same[0].artifact):
            value, value0, rows = psi_of(signal, raw[signal.bins])
            for place, name in enumerate(signal.reference.names):
                labels = {"model": MODEL, "digest": digest[:DIGEST_DIGITS], "signal": signal.name, "feature": name}
                yield Expected(labels, float(rows[place]), float(value[place]), float(value0[place]))


def psi_of(signal: Signal, raw: Counts) -> tuple[Floats, Floats, Floats]:
    """PSI, debiased with phi = 1, and rows of each feature: float64[F] each. raw: int64[T], the signal's bins."""
    reference, layout = signal.reference, signal.reference.layout
    counts = reference.merged(raw)
    rows = layout.sum(counts)
    value = psi(shares(counts, layout), shares(reference.counts, layout), layout)
    return value, debiased(value, layout, rows, reference.rows), rows


def promtool_test(servers: Sequence[ScrapedServer], rules: str = RULES) -> str:
    """The whole file."""
    document = {
        "rule_files": [rules],
        "evaluation_interval": "30m",
        "group_eval_order": list(GROUPS),
        "tests": [_of_the_fleet(servers), _of_verdicts()],
    }
    return HEADER + yaml.safe_dump(document, sort_keys=False, width=1000, allow_unicode=True)


def _of_the_fleet(servers: Sequence[ScrapedServer]) -> dict[str, Any]:
    series = scraped(servers)
    end = f"{SCRAPES // SCRAPES_AN_HOUR}h"
    checks, large, moderate = [], [], []
    for window, scrapes in WINDOWS.items():
        found = list(expected(servers, scrapes))
        for one in found:
            for record, value in (("psi", one.psi), ("psi_debiased", one.psi0)):
                asked = f"fleet:roost_drift_{record}:{window}{labels_text(one.labels)}"
                checks.append(_is_one(f"abs({asked} - ({value:.12g})) <= bool {TOLERANCE * abs(value):.6g}", end, one))
        checks.append(
            {"expr": f"count(fleet:roost_drift_psi:{window})", "eval_time": end,
             "exp_samples": [{"labels": "{}", "value": len(found)}]}
        )  # fmt: skip
        if window == "1h":
            large = [_thumb(one, "0.2, by an hour") for one in found if one.psi0 >= 0.2 and one.rows >= 1_000]
        else:
            moderate = [_thumb(one, "0.1, by a day") for one in found if one.psi0 >= 0.1 and one.rows >= 10_000]
    return {
        "name": "two servers of one digest, one of another",
        "interval": f"{SCRAPE_MINUTES}m",
        "input_series": [{"series": name, "values": notation(values)} for name, values in series.items()],
        "promql_expr_test": checks,
        "alert_rule_test": [
            {"eval_time": end, "alertname": "RoostRuleOfThumbLargePsi", "exp_alerts": large},
            {"eval_time": end, "alertname": "RoostRuleOfThumbModeratePsi", "exp_alerts": moderate},
        ],
    }


def _is_one(expression: str, at: str, one: Expected) -> dict[str, Any]:
    samples = [{"labels": labels_text(one.labels), "value": 1}]
    return {"expr": expression, "eval_time": at, "exp_samples": samples}


def _thumb(one: Expected, told: str) -> dict[str, Any]:
    labels = one.labels
    what = f"{labels['feature']} ({labels['signal']} of {labels['model']})"
    return {
        "exp_labels": {**labels, "severity": "info", "rule_of_thumb": "true"},
        "exp_annotations": {
            "summary": f"rule of thumb: PSI of {what} is from {told} of the fleet",
            "next": "compare with RoostDrift, which knows how large chance is",
        },
    }


def _of_verdicts() -> dict[str, Any]:
    """A server says drift for an hour, of a canary, too, and has alerts meanwhile; before and after it does not."""
    an_hour = f"0+0x{SCRAPES_AN_HOUR - 1} 1+0x{SCRAPES_AN_HOUR - 1} 0+0x{SCRAPES_AN_HOUR - 1}"
    place = {"model": "churn", "signal": "inputs", "window": "hour"}
    series = {
        f'roost_drift_verdict{labels_text({**place, "verdict": "drift", "instance": "a"})}': an_hour,
        f'roost_drift_verdict{labels_text({**place, "verdict": "drift", "instance": "b"})}': "0+0x35",
        'roost_drift_canary_verdict{instance="a", model="churn", verdict="model"}': an_hour,
        'roost_alerts{instance="a"}': an_hour,
    }
    warning = {"severity": "warning"}
    told = {
        "RoostDrift": {
            "exp_labels": {**place, **warning},
            "exp_annotations": {
                "summary": "inputs of churn have drifted, by the last hour",
                "next": "roost drift churn --window hour, on a server that says so",
            },
        },
        "RoostCanaryDiffers": {
            "exp_labels": {"model": "churn", **warning},
            "exp_annotations": {
                "summary": "predictions of the canary of churn differ from those of its stable",
                "next": "roost drift churn, on a server that says so",
            },
        },
        "RoostNeedsSomebody": {
            "exp_labels": {"instance": "a", **warning},
            "exp_annotations": {
                "summary": "alerts of a: 1",
                "next": "roost status, on that server, names them",
            },
        },
    }
    return {
        "name": "what a server says of itself",
        "interval": f"{SCRAPE_MINUTES}m",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "alert_rule_test": [
            {"eval_time": at, "alertname": name, "exp_alerts": [alert] if at == "90m" else []}
            for name, alert in told.items()
            for at in ("30m", "90m", "150m")
        ],
    }


if __name__ == "__main__":
    sys.stdout.write(promtool_test(fleet()))
