"""A model's state as a route of seats. Used by the driver and by the break-glass command.

Always: what has no seat, or has not started, is not named.
"""

from __future__ import annotations

from native.plane.routes import SeatRef
from server.control.route_publisher import WantedRoute
from server.control.seating import Seating
from server.lifecycle.state import Artifact, ModelState


def wanted_route(seating: Seating, index: int, model: ModelState) -> WantedRoute:
    """A model's state as seats."""

    def ref(artifact: Artifact | None) -> SeatRef | None:
        return seating.ref(index, None if artifact is None else artifact.digest)

    canary = model.canary if model.canary is not None and model.canary.started else None
    return WantedRoute(
        revision=model.revision,
        stable=ref(model.stable),
        canary=ref(None if canary is None else canary.artifact),
        shadow=ref(model.shadow if model.shadow_started else None),
        last_safe=ref(model.last_safe),
        canary_ppm=model.weight_ppm,
        salt=0 if canary is None else canary.salt,
    )
