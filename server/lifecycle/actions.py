"""What is to be done about an event, in the order of the tuple.

The route is stored first: it is the decision. Journal and registry tell of it, may fail, and are made up for later.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from server.lifecycle.state import Artifact, ModelState


@dataclass(frozen=True)
class StoreRoute:
    """Publish the model's route, with the decision beside it. urgent: going home does not wait for slow workers."""

    model: ModelState
    entry: Mapping[str, Any]
    urgent: bool = False


@dataclass(frozen=True)
class Journal:
    """Append an entry: a decision's, keyed by its revision, or a note, which has the revision that stood."""

    entry: Mapping[str, Any]


@dataclass(frozen=True)
class ProjectRegistry:
    """Make the registry's aliases and rollout document say what the model's state says."""

    model: ModelState


@dataclass(frozen=True)
class Load:
    """Fetch, verify, try and load at every worker; `Loaded` or `LoadFailed` follows."""

    artifact: Artifact


@dataclass(frozen=True)
class Unload:
    """Nobody needs it any more."""

    artifact: Artifact


Action = StoreRoute | Journal | ProjectRegistry | Load | Unload
