"""The artifact source: what hangs holds up nothing that need not wait for it."""

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from registry_client.cache import BundleCache
from registry_client.folder import FolderRegistry
from server.control import artifact_source
from server.control.artifact_source import ArtifactSource, SourceTimeout
from tests.control.driven_server import NAME, push, settings_of


@pytest.fixture
def hang() -> Iterator[threading.Event]:
    """Set at the end, so that the threads which wait for it do."""
    over = threading.Event()
    yield over
    over.set()


async def test_what_the_cache_holds_waits_for_no_download(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hang: threading.Event
) -> None:
    held, other = push(tmp_path / "registry", 1), push(tmp_path / "registry", 2)
    source = ArtifactSource(settings_of(tmp_path).registry)
    await source.fetch(await source.find(NAME, "1"))
    begun = threading.Event()

    def fetch(*_: object) -> None:
        begun.set()
        hang.wait()

    monkeypatch.setattr(FolderRegistry, "fetch", fetch)
    download = asyncio.create_task(source.held(NAME, "2", other))
    assert await asyncio.to_thread(begun.wait, 10)
    async with asyncio.timeout(30):
        assert (await source.held(NAME, "1", held)).digest == held
    assert not download.done()
    download.cancel()


async def test_a_cache_that_does_not_answer_is_given_up_in_time_and_asked_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hang: threading.Event
) -> None:
    held = push(tmp_path / "registry", 1)
    source = ArtifactSource(settings_of(tmp_path).registry)
    await source.fetch(await source.find(NAME, "1"))
    with monkeypatch.context() as patched:
        patched.setattr(artifact_source, "CACHE_TIMEOUT_S", 0.1)
        patched.setattr(BundleCache, "get", lambda *_: hang.wait())
        with pytest.raises(SourceTimeout, match=r"registry\.cache: expected it to give a bundle within 0\.1 s"):
            await source.held(NAME, "1", held)
    async with asyncio.timeout(30):
        assert (await source.held(NAME, "1", held)).digest == held
