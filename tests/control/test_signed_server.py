"""A real `roost serve` that asks for signatures: what is unsigned, wrongly or by a stranger signed does not serve."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import grpc
import psutil
import pytest

import roost
from benchmarks.servers import REPOSITORY, roost_registry_command, served
from protos.roost.v1 import admin_pb2, admin_pb2_grpc
from registry_client.opening import open_registry
from registry_client.signing.keys import read_signing_key
from registry_client.signing.signatures import sign, signature_name
from registry_client.verify import read_verified
from tests.cli.served_versions import MODEL, push_versions, row, scaled
from tests.control.driven_server import operation
from tests.registry_client.signing_keys import Pair, make_pair

pytestmark = pytest.mark.timeout(240)  # the first start after a change compiles all kernels
EXIT_REFUSED = 78
LIMIT_S = 60.0


def attach(registry: str, version: int, pair: Pair, bundle: Path) -> None:
    key = read_signing_key(pair.private)
    signature = sign(read_verified(bundle), key)
    open_registry(registry).attach(MODEL, version, signature_name(key.owner), signature)


def test_a_server_that_asks_for_signatures_serves_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    release, stranger = make_pair(tmp_path, "release"), make_pair(tmp_path, "stranger")
    registry, _ = push_versions(tmp_path, [scaled(factor) for factor in (1, 2, 3, 4, 5)])
    bundles = [tmp_path / f"bundle-{index}" for index in range(5)]
    monkeypatch.setenv("ROOST_REGISTRY__SIGNERS", release.option)
    monkeypatch.setenv("ROOST_REGISTRY__CACHE", str(tmp_path / "cache"))
    command = roost_registry_command(registry, f"{MODEL}@stable", "--state", str(tmp_path / "state"))
    unsigned = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    assert unsigned.returncode == EXIT_REFUSED
    assert f"{MODEL}:1 (digest " in unsigned.stderr
    assert "got none: it is unsigned" in unsigned.stderr
    attach(registry, 1, release, bundles[0])
    attach(registry, 3, release, bundles[0])
    attach(registry, 4, stranger, bundles[3])
    attach(registry, 5, release, bundles[4])
    with (
        served(command, tmp_path) as server,
        grpc.insecure_channel(server.ready["admin"]) as channel,
        roost.Client(server.ready["listen"]) as client,
    ):
        stub = admin_pb2_grpc.AdminStub(channel)  # type: ignore[no-untyped-call]

        def deploy(version: int) -> None:
            request = admin_pb2.DeployCanaryRequest(
                operation=operation(), model=MODEL, version=str(version), weight_ppm=1_000_000
            )
            stub.DeployCanary(request, timeout=LIMIT_S)

        for version, words in ((2, "it is unsigned"), (3, "made for other bytes"), (4, "by an unknown key")):
            with pytest.raises(grpc.RpcError, match=words) as refused:
                deploy(version)
            assert refused.value.code() is grpc.StatusCode.FAILED_PRECONDITION
            assert client.predict(MODEL, {"x": row(1)}).version == "1"
        deploy(5)
        assert client.predict(MODEL, {"x": row(1)})["y"][0, 0] == 5.0
        maps = {process.pid: maps_of(process.pid) for process in psutil.Process(server.ready["pid"]).children()}
        assert [pid for pid, text in maps.items() if "cryptography" in text] == [server.ready["control"]]
    log = (tmp_path / "server.log").read_text()
    assert log.count(" is refused") == 3
    assert f"{MODEL} is signed" in log


def maps_of(pid: int) -> str:
    """The files that a process has mapped: the library comes with one of its own."""
    return Path(f"/proc/{pid}/maps").read_text() if os.path.exists(f"/proc/{pid}") else ""
