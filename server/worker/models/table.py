"""The models of a worker, by name and version: where a request's model is found or refused.

Models of one name share a route: one is its stable, another may be its canary. Always: the refusal of a name or a
version says which are served.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final

from native.plane.routing import NO_SEAT
from native.route.layout import PIN_NONE, PIN_UNKNOWN, ROLE_CANARY, ROLE_STABLE
from server.worker.models.served import ServedModel
from server.worker.routing import ANYWHERE, Routed, Wish
from server.worker.status import BadInput, Code, NotFound, StatusError, listed, quoted

Decide = Callable[[int, Wish, int], Routed | None]
"""(route, wish, seat whose version was named or NO_SEAT) -> who answers; None where nobody may."""

Role = Callable[[int], int]
"""A seat -> what it is for now, ROLE_*."""

VARIANTS: Final = {ROLE_STABLE: "stable", ROLE_CANARY: "canary"}  # by role, as replies name them


class ModelTable:
    """Served models by seat. Without `decide` the first model of a name answers for it, and every one is a stable."""

    def __init__(self, models: Iterable[ServedModel] = (), names: Iterable[str] = ()) -> None:
        self._by_seat: dict[int, ServedModel] = {}
        # The names that are configured, in the order of their routes: known even while nothing is loaded for them.
        self._names = list(names)
        self._variants: dict[int, str] = {}  # by seat, as they were last
        self.decide: Decide | None = None
        self.role: Role | None = None
        for seat, model in enumerate(models):
            assert model.name not in self._names, model.name
            self._names.append(model.name)
            self.put(seat, model)

    def __iter__(self) -> Iterator[ServedModel]:
        return iter(self._by_seat.values())

    def __len__(self) -> int:
        return len(self._by_seat)

    def put(self, seat: int, model: ServedModel) -> None:
        """A model is loaded: it can be asked for as far as its route allows."""
        assert model.name in self._names, model.name
        model.seat = seat
        self._by_seat[seat] = model

    def remove(self, seat: int) -> None:
        del self._by_seat[seat]
        self._variants.pop(seat, None)

    def at(self, seat: int) -> ServedModel:
        """The model of a seat that has one."""
        return self._by_seat[seat]

    def variant(self, model: ServedModel) -> str:
        """A model's place in the traffic, as replies name it; its last one, where it has none any more."""
        role = ROLE_STABLE if self.role is None else self.role(model.seat)
        if role in VARIANTS:
            self._variants[model.seat] = VARIANTS[role]
        return self._variants.get(model.seat, VARIANTS[ROLE_STABLE])

    def find(self, name: str, version: str, *, name_field: str, version_field: str) -> ServedModel:
        """The model of a name and version, the stable without one; no traffic is split."""
        if name not in self._names:
            raise self._not_this_name(name, name_field)
        route = self._names.index(name)
        if version:
            return self._by_seat[self._seat_of(route, name, version, version_field)]
        stable = self._stable(route)
        if stable is None:
            raise _none_is_left(name)
        return stable

    def lookup(
        self, name: str, version: str, *, name_field: str, version_field: str, wish: Wish = ANYWHERE
    ) -> tuple[ServedModel, Routed]:
        """Who answers a call. version: "" for whom the weights choose. The fields' names are the request's own."""
        if name not in self._names:
            raise self._not_this_name(name, name_field)
        route = self._names.index(name)
        if wish.pin == PIN_UNKNOWN:
            raise BadInput("roost-variant", '"stable" or "canary"', "something else", "Leave it out for either.")
        wanted = self._seat_of(route, name, version, version_field) if version else NO_SEAT
        routed = self._decide(route, wish, wanted)
        if routed is None:
            raise self._refusal(route, name, version, version_field, wish)
        model = self._by_seat[routed.seat]
        self.variant(model)  # it may lose its traffic before it answers
        return model, routed

    def _decide(self, route: int, wish: Wish, wanted: int) -> Routed | None:
        if self.decide is not None:
            return self.decide(route, wish, wanted)
        seat = next((seat for seat, model in self._by_seat.items() if model.name == self._names[route]), NO_SEAT)
        if seat == NO_SEAT or wish.pin != PIN_NONE or wanted not in (NO_SEAT, seat):
            return None
        return Routed(seat, route, 0, 0, wish.keyed, wish.hashed)

    def _seat_of(self, route: int, name: str, version: str, version_field: str) -> int:
        """The seat of a version; one that answers now, where several have it."""
        seats = [seat for seat, model in self._by_seat.items() if model.name == name and model.version == version]
        if not seats:
            raise self._not_this_version(route, name, version, version_field)
        return next((seat for seat in seats if self._decide(route, ANYWHERE, seat) is not None), seats[0])

    def _stable(self, route: int) -> ServedModel | None:
        """Whom a call without wishes may count on, without drawing lots."""
        for seat, model in self._by_seat.items():
            if model.name == self._names[route] and self._decide(route, ANYWHERE, seat) is not None:
                return model
        return None

    def _not_this_name(self, name: str, name_field: str) -> StatusError:
        expected = f"one of {listed(self._names)}" if self._names else "nothing, since no model is served"
        return NotFound(name_field, expected, quoted(name), "Ask for a model that is served here.")

    def _not_this_version(self, route: int, name: str, version: str, version_field: str) -> StatusError:
        stable = self._stable(route)
        if stable is None:
            return _none_is_left(name)
        hint = "Leave it empty for the version that is served."
        return NotFound(version_field, quoted(stable.version), quoted(version), hint)

    def _refusal(self, route: int, name: str, version: str, version_field: str, wish: Wish) -> StatusError:
        if self._stable(route) is None:
            return _none_is_left(name)
        if wish.pin == PIN_NONE:
            return self._not_this_version(route, name, version, version_field)
        return StatusError(
            Code.FAILED_PRECONDITION,
            "roost-variant: expected a variant that callers may choose, and that is there, got one that is not. "
            "The operator allows it with lifecycle.pin_allowed; leave it out for whom the weights choose.",
        )


def _none_is_left(name: str) -> StatusError:
    return StatusError(
        Code.UNAVAILABLE,
        f"model: no safe version of {quoted(name)} is left to serve. `roost status` says why; deploy one.",
    )
