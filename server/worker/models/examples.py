"""Made-up inputs for a signature: what warm-up and the batchability probe run.

Seeded, so that a model loads the same way each time. Integers are 0 or 1, since larger ones are often indices.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from registry_client.tensors import FREE_DIMENSION, Datatype, Signature, TensorSpec

Array = npt.NDArray[np.generic]

WORDS = (b"a", b"b", b"roost")
FLOATS = {Datatype.FP16: np.float16, Datatype.FP32: np.float32, Datatype.FP64: np.float64}


def random_inputs(signature: Signature, rows: int, free_size: int, rng: np.random.Generator) -> dict[str, Array]:
    """One array for each input. rows: its first dimension where that is free; free_size: any other free one."""
    return {spec.name: _random(spec, rows, free_size, rng) for spec in signature.inputs}


def _random(spec: TensorSpec, rows: int, free_size: int, rng: np.random.Generator) -> Array:
    shape = tuple(
        (rows if axis == 0 else free_size) if size == FREE_DIMENSION else size for axis, size in enumerate(spec.shape)
    )
    datatype = spec.datatype
    if datatype in FLOATS:
        return np.asarray(rng.standard_normal(shape)).astype(FLOATS[datatype])
    if datatype is Datatype.BF16:
        # The upper half of a float32 is its bfloat16.
        bits = np.asarray(rng.standard_normal(shape)).astype(np.float32).view(np.uint32)
        return (bits >> 16).astype(np.uint16)
    if datatype is Datatype.BYTES:
        words = np.empty(len(WORDS), dtype=object)
        words[:] = WORDS
        return np.asarray(words[rng.integers(0, len(WORDS), size=shape)], dtype=object)
    return np.asarray(rng.integers(0, 2, size=shape)).astype(datatype.numpy_dtype)


def take_rows(inputs: Mapping[str, Array], rows: npt.NDArray[np.int64]) -> dict[str, Array]:
    return {name: array[rows] for name, array in inputs.items()}
