"""The two models of `learnt_models.py`, one at a time and in turn, and the documents that their cards are made of."""

from __future__ import annotations

from typing import Any

import pytest

from pipelines.artifact.pictures import pictures
from tests.pipelines.artifact.learnt_models import Model, documents_of, learnt


@pytest.fixture(scope="session")
def trees(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return learnt(tmp_path_factory.mktemp("artifact") / "employment", "employment")


@pytest.fixture(scope="session")
def network(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return learnt(tmp_path_factory.mktemp("artifact") / "flights", "flights")


@pytest.fixture(scope="session", params=["trees", "network"])
def model(request: pytest.FixtureRequest) -> Model:
    found: Model = request.getfixturevalue(request.param)
    return found


@pytest.fixture(scope="session")
def documents(model: Model) -> dict[str, Any]:
    return documents_of(model)


@pytest.fixture(scope="session")
def drawn(documents: dict[str, Any]) -> dict[str, bytes]:
    return pictures(documents["evaluation.json"], documents["explanations.json"])
