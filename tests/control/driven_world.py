"""A registry of three versions and a plane, for tests that drive a server over them."""

from pathlib import Path

from native.plane.layout import Plane
from protos.roost.v1 import admin_pb2
from registry_client.folder import FolderRegistry
from server.control.journal_file import JournalFile
from server.settings import Settings
from tests.control.driven_server import (
    NAME,
    DrivenServer,
    new_plane,
    operation,
    push,
    settings_of,
)


class World:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.settings: Settings = settings_of(folder)
        self.root = folder / "registry"
        self.digests = [push(self.root, 1, aliases=("stable",)), push(self.root, 2), push(self.root, 3)]
        self.plane: Plane = new_plane()

    @property
    def registry(self) -> FolderRegistry:
        return FolderRegistry(self.root)

    def aliases(self) -> dict[str, int]:
        return {alias: one.version for one in self.registry.versions(NAME) for alias in one.aliases}

    def registry_leaves(self) -> None:
        self.root.rename(self.folder / "registry-gone")
        self.root.touch()  # no folder can be made there

    def registry_comes_back(self) -> None:
        self.root.unlink()
        (self.folder / "registry-gone").rename(self.root)

    def kinds(self) -> list[str]:
        return [line.entry["kind"] for line in JournalFile(self.folder / "state").lines()]


async def deploy(server: DrivenServer, version: str = "2", ppm: int = 100_000) -> admin_pb2.ModelState:
    reply = await server.stub.DeployCanary(
        admin_pb2.DeployCanaryRequest(operation=operation(), model=NAME, version=version, weight_ppm=ppm)
    )
    return reply.models[0]


async def written(server: DrivenServer) -> None:
    for box in server.driver.boxes.values():
        assert await box.drained(60)
