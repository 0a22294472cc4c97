"""Proof: whether a version that is registered has passed what a pipeline asks of one. Pure, on what was fetched.

Used by `roost pipeline deploy`, which is given nothing but a digest. Always: the evaluation is the bundle's own, under
its digest; the comparison hangs beside it, where nothing vouches for it, and can only speak against a version.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pipelines.refusal import Refusal
from registry_client.lineage.gathering import COMPARISON_FILE
from registry_client.lineage.reading import EVALUATION_FILE
from registry_client.registry import Version
from registry_client.verify import VerifiedBundle


def check_proved(bundle: VerifiedBundle, beside: Mapping[str, bytes], stable: Version | None) -> None:
    """Raises Refusal where the bundle has no evaluation, a gate failed, it was found worse than what was stable, or was
    compared with another version than is stable now. A registry that it was only pushed to has no comparison."""
    named, hint = f"digest {bundle.digest[:12]}", "Deploy one that a pipeline has made, or say --unproved."
    gates = _gates(bundle)
    if not gates:
        raise Refusal(named, expected=f"gates in its {EVALUATION_FILE}", got="none", hint=hint)
    failed = [str(gate.get("name")) for gate in gates if gate.get("passed") is not True]
    if failed:
        raise Refusal(named, expected="every gate passed", got=f"{', '.join(failed[:5])} failed", hint=hint)
    if "drill" in bundle.manifest.lineage.parameters:
        raise Refusal(named, expected="a sound model", got="one that was spoilt on purpose, for a drill", hint=hint)
    compared = _document(beside.get(COMPARISON_FILE))
    if isinstance(compared, dict) and compared.get("passed") is not True:
        raise Refusal(named, expected="one no worse than what was stable", got="one that is", hint=hint)
    against = compared.get("with") if isinstance(compared, dict) else None
    if stable is None or stable.digest == bundle.digest or not isinstance(against, dict):
        return
    if against.get("digest") != stable.digest:
        raise Refusal(
            named, expected=f"a comparison with version {stable.version}, which is stable now",
            got=f"one with version {against.get('version')}",
            hint="Run its pipeline's register stage again, which compares with that one, or say --unproved.",
        )  # fmt: skip


def _gates(bundle: VerifiedBundle) -> list[Mapping[str, Any]]:
    document = _document(bundle.files.get(EVALUATION_FILE))
    gates = document.get("gates") if isinstance(document, dict) else None
    return [gate for gate in gates if isinstance(gate, dict)] if isinstance(gates, list) else []


def _document(content: bytes | None) -> Any:
    try:
        return None if content is None else json.loads(content)
    except ValueError:
        return None
