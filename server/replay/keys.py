"""Which bucket a row's key falls into: that of the server's own hash, so that rows of one key stay together.

Used by `reading`. Always: rows without a key are spread, each by itself, as the server spreads keyless requests.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from native.drift.buckets import buckets_of
from native.drift.count import bucket_of
from native.route.split import key_hash
from registry_client.baseline.parquet import Cells
from registry_client.baseline.rows import what_of
from registry_client.errors import BadDocument

Buckets = npt.NDArray[np.uint8]

REMEMBERED_MAX: Final = 1_000_000  # keys


class KeyBuckets:
    """Of one replay: keys that come again are not hashed again."""

    def __init__(self) -> None:
        self._known: dict[bytes, int] = {}
        self._spread = 0

    def of_keys(self, cells: Cells, path: Path, column: str) -> Buckets:
        """uint8[n]: of a column of texts or whole numbers, as decimals. Missing or empty ones are keyless.

        Raises BadDocument where the column holds something else.
        """
        texts = _texts(cells, path, column)
        found = np.fromiter((self._bucket(text) for text in texts), dtype=np.uint8, count=len(texts))
        keyless = np.fromiter((not text for text in texts), dtype=np.bool_, count=len(texts))
        if cells.present is not None:
            keyless |= ~cells.present
        found[keyless] = self.spread(int(keyless.sum()))
        return found

    def of_buckets(self, cells: Cells) -> Buckets:
        """uint8[n]: of a recording's own column, which has none where a row was keyless."""
        found = np.asarray(cells.values).astype(np.uint8)
        if cells.present is not None:
            found[~cells.present] = self.spread(int((~cells.present).sum()))
        return found

    def spread(self, rows: int) -> Buckets:
        """uint8[rows]: of rows without a key."""
        found = np.empty(rows, dtype=np.uint8)
        words = np.arange(self._spread, self._spread + rows, dtype=np.int64)
        buckets_of(np.zeros(rows, dtype=np.int64), words, found)
        self._spread += rows
        return found

    def _bucket(self, text: bytes) -> int:
        found = self._known.get(text)
        if found is None:
            # One byte more: an empty array has no address.
            hashed = key_hash(np.frombuffer(text + b"\0", dtype=np.uint8).copy(), 0, len(text))
            found = int(bucket_of(1, hashed))
            if len(self._known) < REMEMBERED_MAX:
                self._known[text] = found
        return found


def _texts(cells: Cells, path: Path, column: str) -> list[bytes]:
    values: npt.NDArray[Any] = cells.values
    if values.dtype == object:
        return list(values)
    if values.dtype.kind in "iu" and values.ndim == 1:
        return [b"%d" % number for number in values.tolist()]
    raise BadDocument(
        what_of(path, column), expected="text or whole numbers, for --key", got=str(values.dtype),
        hint="Name the column that has what callers send as routing_key.",
    )  # fmt: skip
