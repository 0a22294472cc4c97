"""The first routes of a server that has no control process: every model's pinned artifact is its stable.

For tests of workers alone. The control process's own are `server.control.driver`'s.
"""

from __future__ import annotations

from collections.abc import Sequence

from native.plane.layout import Plane
from native.plane.routes import Route, RouteTables, SeatRef
from native.plane.seats import SeatTable
from server.processes import ModelPin
from server.settings import Settings


def publish_first_routes(plane: Plane, settings: Settings, pins: Sequence[ModelPin]) -> None:
    """pins: one for each model of the settings, in their order."""
    tables = RouteTables(plane)
    if tables.current()[0] > 0:
        return
    seats = SeatTable(plane)
    routes = []
    for model, pin in enumerate(pins):
        seat = seats.fill(model, model, pin.version, pin.digest)
        stable = SeatRef(seat.index, seat.generation)
        routes.append(Route(stable=stable, weight_epoch=1, pin_allowed=settings.lifecycle.pin_allowed))
    tables.publish(routes)
