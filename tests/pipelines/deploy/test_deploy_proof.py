"""Proof: by its digest alone a version is deployed that has passed what a pipeline asks, and no other."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest

from pipelines.deploy.proof import check_proved
from pipelines.refusal import Refusal

PASSED = {"name": "auc", "passed": True}


def bundle(evaluation: Any = None, parameters: dict[str, Any] | None = None) -> Any:
    files = {} if evaluation is None else {"evaluation.json": json.dumps(evaluation).encode()}
    manifest = SimpleNamespace(lineage=SimpleNamespace(parameters=parameters or {}))
    return SimpleNamespace(digest="ab" * 32, files=files, manifest=manifest)


def test_a_version_whose_gates_all_passed_is_proved_also_before_there_was_one_to_compare_with() -> None:
    check_proved(bundle({"gates": [PASSED]}), {}, None)
    check_proved(bundle({"gates": [PASSED]}), {"comparison.json": b'{"passed": true}'}, None)


@pytest.mark.parametrize(
    ("found", "beside", "says"),
    [
        (bundle(), {}, "expected gates in its evaluation.json, got none"),
        (bundle({"gates": []}), {}, "got none"),
        (bundle({"gates": "all"}), {}, "got none"),
        (bundle({"gates": [PASSED, {"name": "slice", "passed": False}]}), {}, "got slice failed"),
        (bundle({"gates": [PASSED, {"name": "slice"}]}), {}, "got slice failed"),
        (bundle({"gates": [PASSED]}, {"drill": "NaN"}), {}, "spoilt on purpose"),
        (bundle({"gates": [PASSED]}), {"comparison.json": b'{"passed": false}'}, "no worse than what was stable"),
        (bundle({"gates": [PASSED]}), {"comparison.json": b'{"compared": false}'}, "no worse than what was stable"),
    ],
)
def test_any_other_is_refused_with_the_way_past(found: Any, beside: dict[str, bytes], says: str) -> None:
    with pytest.raises(Refusal) as refused:
        check_proved(found, beside, None)
    assert says in str(refused.value)
    assert "--unproved" in str(refused.value)
