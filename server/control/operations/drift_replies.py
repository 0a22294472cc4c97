"""The reply of GetDrift: what the last windows said, in the words of the protocol."""

from __future__ import annotations

import math

from native.drift.program import rows_between
from protos.roost.v1 import admin_pb2
from server.control.drift.baselines import ArtifactBaseline
from server.control.drift.canary_watch import PairSeen
from server.control.drift.judging import Seen
from server.control.drift.watching import DriftWatch
from server.control.drift.windows import Counts, WindowKind
from server.control.event_log import utc_text
from server.judgement.drift.policy import INPUTS, PREDICTIONS
from server.judgement.drift.report import FeatureDrift
from server.lifecycle.state import Artifact


def drift_reply(
    name: str, stable: Artifact | None, drift: DriftWatch, counts_of: WindowKind | None
) -> admin_pb2.GetDriftReply:
    """counts_of: whose last window's counts are told, too; None: none are."""
    known = drift.models[name]
    reply = admin_pb2.GetDriftReply(model=name, reason=known.reason if not known.reports else "", rows_between=1)
    if stable is not None:
        reply.artifact.CopyFrom(admin_pb2.Artifact(version=stable.version, digest=stable.digest))
    for seen in known.reports.values():
        reply.windows.append(_window(seen))
    reply.canary.CopyFrom(_canary(drift.beside(name)))
    if known.baseline is not None:
        reply.rows_between = rows_between(len(known.baseline.features))
        window = None if counts_of is None else drift.book.latest(name, known.digest, counts_of)
        if window is not None:
            _add_counts(reply, known.baseline, window.counts)
    return reply


def _window(seen: Seen) -> admin_pb2.DriftWindow:
    report, window = seen.report, seen.window
    return admin_pb2.DriftWindow(
        signal=seen.signal,
        length=window.kind.word,
        start_utc=utc_text(window.start_utc_ns / 1e9),
        end_utc=utc_text(window.end_utc_ns / 1e9),
        verdict=report.verdict.value,
        why=report.why,
        rows=round(report.rows),
        weighted_psi=report.weighted_psi0,
        log_detector=report.log_r if math.isfinite(report.log_r) else 0.0,
        log_threshold=report.limits.log_threshold,
        features=[_feature(feature) for feature in report.features],
    )


def _feature(feature: FeatureDrift) -> admin_pb2.FeatureDrift:
    return admin_pb2.FeatureDrift(
        name=feature.name,
        weight=feature.weight,
        rows=feature.rows,
        effective_rows=feature.effective_rows,
        psi=feature.psi,
        psi_debiased=feature.psi0,
        standard_error=feature.standard_error,
        rule_of_thumb=feature.band.value,
        log_e=feature.log_e,
        moved=feature.moved,
    )


def _canary(seen: PairSeen) -> admin_pb2.CanaryDrift:
    canary, report = seen.canary, seen.report
    found = admin_pb2.CanaryDrift(reason=seen.reason)
    if canary is not None:
        found.artifact.CopyFrom(admin_pb2.Artifact(version=canary.version, digest=canary.digest))
    if report is None:
        return found
    found.whose, found.why = report.whose.value, report.why
    found.canary_rows, found.stable_rows = round(report.canary_rows), round(report.stable_rows)
    found.log_e, found.log_threshold = report.log_e, -math.log(report.limits.alpha)
    for feature in report.features:
        found.features.add(
            name=feature.name,
            psi=feature.psi,
            psi_debiased=feature.psi0,
            standard_error=feature.standard_error,
            phi=feature.phi,
            log_e=feature.log_e,
            moved=feature.named and feature.practical,
        )
    return found


def _add_counts(reply: admin_pb2.GetDriftReply, baseline: ArtifactBaseline, counts: Counts) -> None:
    for index, feature in enumerate(baseline.features):
        reply.counts.add(
            signal=INPUTS if index < baseline.inputs else PREDICTIONS,
            name=feature.name,
            bins=feature.bins,
            reference=feature.counts,
            window=baseline.of_feature(counts, index).tolist(),
        )
