"""Whether a baseline fits the model that it lies beside. Used by `verify.py` and whoever counts rows against it.

Always: what passes here names tensors, columns and types that the model's signature has.
"""

from __future__ import annotations

from collections.abc import Sequence

from registry_client.baseline.document import ARGMAX, BASELINE_FILE, Baseline, Feature
from registry_client.baseline.values import has_columns
from registry_client.errors import VerificationFailed
from registry_client.tensors import Datatype, Signature, TensorSpec

_ANEW = "It was made for another model: bundle this one anew with --reference."


def check_baseline_fits(baseline: Baseline, signature: Signature) -> None:
    """Raises VerificationFailed, naming the key, where a feature is of no column that the model has."""
    _check_features(baseline.inputs, signature.inputs, "inputs", "input")
    _check_features(baseline.predictions, signature.outputs, "predictions", "output")


def _check_features(features: Sequence[Feature], specs: Sequence[TensorSpec], key: str, what: str) -> None:
    known = {spec.name: spec for spec in specs}
    for index, feature in enumerate(features):
        at = f"{BASELINE_FILE}: {key}[{index}]"
        spec = known.get(feature.tensor)
        if spec is None:
            raise VerificationFailed(
                f"{at}.tensor", expected=f"the name of an {what}: {', '.join(known)[:200]}",
                got=repr(feature.tensor[:80]), hint=_ANEW,
            )  # fmt: skip
        if not has_columns(spec):
            what_it_is = "text" if spec.datatype is Datatype.BYTES else f"shape {list(spec.shape)}"
            raise VerificationFailed(
                f"{at}.tensor", expected=f"an {what} of numbers, in rows of a fixed size",
                got=f"{spec.name}, which is {spec.datatype.name} of {what_it_is}", hint=_ANEW,
            )  # fmt: skip
        if feature.column >= spec.row_elements:
            raise VerificationFailed(
                f"{at}.column", expected=f"a place in the row of {spec.name}, 0 to {spec.row_elements - 1}",
                got=f"{feature.column}", hint=_ANEW,
            )  # fmt: skip
        if feature.column == ARGMAX and (key == "inputs" or spec.row_elements < 2):
            raise VerificationFailed(
                f"{at}.column", expected="a place in the row: only an output of several columns has a largest one",
                got=f"{ARGMAX}", hint=_ANEW,
            )  # fmt: skip
