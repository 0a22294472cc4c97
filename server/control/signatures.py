"""Signatures compared: a canary must take and give what the stable one does, or its callers would notice.

Used before anything is loaded. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass

from registry_client.tensors import Signature, TensorSpec


@dataclass(frozen=True)
class Difference:
    """The first one: which tensor, and what it is in each."""

    field: str
    expected: str
    got: str


def difference(stable: Signature, other: Signature) -> Difference | None:
    """None where both take and give the same tensors; their order is no matter, since tensors are named."""
    return _of("inputs", stable.inputs, other.inputs) or _of("outputs", stable.outputs, other.outputs)


def _of(what: str, stable: tuple[TensorSpec, ...], other: tuple[TensorSpec, ...]) -> Difference | None:
    wanted, found = ({spec.name: spec for spec in specs} for specs in (stable, other))
    for name in [*wanted, *(name for name in found if name not in wanted)]:
        if wanted.get(name) != found.get(name):
            return Difference(f"{what}.{name}", _shown(wanted.get(name)), _shown(found.get(name)))
    return None


def _shown(spec: TensorSpec | None) -> str:
    return "none" if spec is None else f"{spec.datatype.name} {list(spec.shape)}"
