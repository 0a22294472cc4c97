"""How a version is deployed, besides what its parameters say: on which server, with whose traffic, and what then.

Used by the stage and the command. Always: it changes where and how a rollout happens, never what is deployed.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Play = Literal["auto", "always", "never"]
"""Whether recorded traffic is played. auto: where the model has less than one call a second of its own."""


@dataclass(frozen=True)
class Options:
    """admin, target: HOST:PORT of a running server's admin port and predictions; None: the usual ports.

    own_server: one of its own, even where a server answers at the usual ports. state: its journal's folder; None:
    beside the stages' results. config: its settings as TOML. leave_canary: one that is held or not watched to its end
    stays on trial, else it is taken back. digest: what has to be deployed, where it was asked for by name; another
    deployment from the same folder may have put its own there meanwhile.
    """

    admin: str | None = None
    target: str | None = None
    own_server: bool = False
    state: Path | None = None
    config: Path | None = None
    traffic: Play = "auto"
    leave_canary: bool = False
    digest: str | None = None
