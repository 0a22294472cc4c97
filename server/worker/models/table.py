"""The models of a worker, by name and version: where a request's model is found or refused."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from server.worker.models.served import ServedModel
from server.worker.status import NotFound, listed, quoted


class ModelTable:
    """Served models by name. Always: the refusal of a name or version says which are served."""

    def __init__(self, models: Iterable[ServedModel]) -> None:
        self._by_name: dict[str, ServedModel] = {}
        for model in models:
            assert model.name not in self._by_name, model.name
            self._by_name[model.name] = model

    def __iter__(self) -> Iterator[ServedModel]:
        return iter(self._by_name.values())

    def __len__(self) -> int:
        return len(self._by_name)

    def lookup(self, name: str, version: str, *, name_field: str, version_field: str) -> ServedModel:
        """version: "" for whichever is served. The fields' names are the request's own, for the refusal."""
        model = self._by_name.get(name)
        if model is None:
            expected = f"one of {listed(self._by_name)}" if self._by_name else "nothing, since no model is served"
            raise NotFound(name_field, expected, quoted(name), "Ask for a model that is served here.")
        if version not in ("", model.version):
            hint = "Leave it empty for the version that is served."
            raise NotFound(version_field, quoted(model.version), quoted(version), hint)
        return model
