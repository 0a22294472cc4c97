"""A process that changes routes, seats or cells as fast as it can.

Run as a process of its own: routes_writer.py PLANE_FD routes|seats|cells CHANGES
"""

import sys

import numpy as np
from numba import njit

from native.plane.evidence import CELLS_COUNT, open_cell, publish_cell
from native.plane.layout import Plane
from native.plane.routes import store_routes
from native.plane.routing import (
    CELL_REQUESTS,
    CELL_UNITS,
    CELL_WORDS,
    MODELS_MAX,
    ROUTE_WORDS,
    TABLE_ROUTES,
    TABLE_WORDS,
)
from native.plane.seats import SeatTable


@njit("void(int64[::1], int64[::1], int64)", nogil=True)
def flip(routing, table, changes):  # type: ignore[no-untyped-def]
    """Every word of a table's routes says which table it is of, so that a mixture shows."""
    for change in range(1, changes + 1):
        table[TABLE_ROUTES:] = change
        store_routes(routing, table)


@njit("void(int64[::1], int64[::1], int64)", nogil=True)
def count(cells, routing, changes):  # type: ignore[no-untyped-def]
    """In every published state of a cell the requests and what became of them add up to nothing."""
    for change in range(1, changes + 1):
        at = open_cell(cells, 3, 1, 1 + change // 1000)
        cells[at + CELL_REQUESTS] += 1
        for word in range(CELL_UNITS, CELL_WORDS):
            cells[at + word] = -cells[at + CELL_REQUESTS]
        publish_cell(cells, routing, at)


def main() -> None:
    plane, kind, changes = Plane.attach(int(sys.argv[1])), sys.argv[2], int(sys.argv[3])
    if kind == "routes":
        assert TABLE_WORDS - TABLE_ROUTES == MODELS_MAX * ROUTE_WORDS
        flip(plane.routing, np.zeros(TABLE_WORDS, np.int64), changes)
    elif kind == "seats":
        seats = SeatTable(plane)
        for change in range(changes):
            seats.fill(change % 3, 0, str(change + 1), f"{change + 1:064x}")
    else:
        count(np.zeros(CELLS_COUNT * CELL_WORDS, np.int64), plane.block(0).routing, changes)


main()
