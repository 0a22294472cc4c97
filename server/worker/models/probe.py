"""Are a model's rows independent? Found by trial at load, since a free first dimension does not prove it.

Rows are run alone, then in permuted batches of several sizes. Only a model that answers each row the same in any
company is batched; the reason against is kept for its metadata.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import numpy as np
import numpy.typing as npt

from registry_client.tensors import Datatype, Signature, TensorSpec
from server.worker.models.examples import random_inputs, take_rows
from server.worker.status import StatusError

Array = npt.NDArray[np.generic]
Run = Callable[[Mapping[str, Array]], Mapping[str, Array]]

PROBE_ROWS = 12
BATCH_SIZES = (2, 3, 5, PROBE_ROWS, 64)
RTOL, ATOL = 1e-5, 1e-6
SEED = 20210

# Runs that disagree by scale: rows near 0, of 1 and of 1,000 in one batch show a model that normalises over rows.
SCALES = (1.0, 0.0, 1000.0)


def reason_against_batching(signature: Signature, run: Run, examples: Iterable[Mapping[str, Array]] = ()) -> str | None:
    """None where batching is safe as far as trial can tell, else one clause that says why it is off.

    examples: inputs known to be good (a bundle's golden ones), used in place of made-up rows.
    """
    for kind, specs in (("input", signature.inputs), ("output", signature.outputs)):
        for spec in specs:
            if not spec.has_free_rows:
                return f"{kind} {spec.name} has shape {list(spec.shape)}, not [rows, fixed ...]"
            if spec.datatype.width_bytes == 0:
                return f"{kind} {spec.name} is {spec.datatype.name}, which has no fixed width"
    rng = np.random.default_rng(SEED)
    known = _rows_of(examples)
    made_up = _made_up_rows(signature, rng)
    try:
        rows = made_up if known is None else {name: np.concatenate([known[name], made_up[name]]) for name in made_up}
        return _difference_in_company(signature, run, rows, rng)
    except StatusError as error:
        failure = error
    # The model may rightly refuse made-up values; two known rows that differ are enough to see one change the other.
    if known is not None and _differ(known):
        try:
            return _difference_in_company(signature, run, known, rng)
        except StatusError as error:
            failure = error
    return f"probe rows could not be run ({failure.message})"


def _difference_in_company(
    signature: Signature, run: Run, rows: Mapping[str, Array], rng: np.random.Generator
) -> str | None:
    """None where every row is answered alike alone and in batches. Raises StatusError where the model refuses one."""
    count = len(next(iter(rows.values())))
    alone = [run(take_rows(rows, np.array([row]))) for row in range(count)]
    for row, outputs in enumerate(alone):
        wrong = _wrong_shape(signature, outputs, 1)
        if wrong:
            return f"{wrong} for row {row} alone"
    for size in BATCH_SIZES:
        chosen = np.concatenate([rng.permutation(count) for _ in range(-(-size // count))])[:size]
        outputs = run(take_rows(rows, chosen))
        difference = _wrong_shape(signature, outputs, size) or _difference(signature, outputs, alone, chosen)
        if difference:
            return f"{difference} in a batch of {size}"
    return None


def _rows_of(examples: Iterable[Mapping[str, Array]]) -> dict[str, Array] | None:
    several = list(examples)
    if not several:
        return None
    return {name: np.concatenate([example[name] for example in several])[:PROBE_ROWS] for name in several[0]}


def _differ(rows: Mapping[str, Array]) -> bool:
    return any((array != array[:1]).any() for array in rows.values())


def _made_up_rows(signature: Signature, rng: np.random.Generator) -> dict[str, Array]:
    rows = random_inputs(signature, PROBE_ROWS, 1, rng)
    for spec in signature.inputs:
        if spec.datatype in (Datatype.FP32, Datatype.FP64):
            for index in range(PROBE_ROWS):
                rows[spec.name][index] *= SCALES[index % len(SCALES)]
    return rows


def _wrong_shape(signature: Signature, outputs: Mapping[str, Array], rows: int) -> str | None:
    for spec in signature.outputs:
        expected = (rows, *spec.shape[1:])
        if outputs[spec.name].shape != expected:
            return f"output {spec.name} has shape {list(outputs[spec.name].shape)}, not {list(expected)},"
    return None


def _difference(
    signature: Signature, outputs: Mapping[str, Array], alone: list[Mapping[str, Array]], chosen: npt.NDArray[np.int64]
) -> str | None:
    for spec in signature.outputs:
        expected = np.concatenate([alone[row][spec.name] for row in chosen])
        if not _same(spec, outputs[spec.name], expected):
            return f"output {spec.name} depends on the other rows"
    return None


def _same(spec: TensorSpec, got: Array, expected: Array) -> bool:
    if spec.datatype is Datatype.BF16:
        got, expected = _widened(got), _widened(expected)
    if np.issubdtype(got.dtype, np.floating):
        wide, wide_expected = got.astype(np.float64), expected.astype(np.float64)
        return bool(np.allclose(wide, wide_expected, rtol=RTOL, atol=ATOL, equal_nan=True))
    return bool(np.array_equal(got, expected))


def _widened(bits: Array) -> Array:
    return (bits.astype(np.uint32) << np.uint32(16)).view(np.float32)
