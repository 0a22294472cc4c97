"""64 concurrent callers, at random cancelled, through five client libraries on two HTTP/2 stacks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.servers import REPOSITORY, Served

PEERS = ("roost_peer", "roost_threads_peer", "stubs_peer", "triton_peer", "grpclib_peer")
CALLERS, CALLS = 64, 1280
PEER_S_MAX = 90


def _run_peer(peer: str, target: str, mlp_file: Path, *more: str) -> tuple[int, dict, str]:
    """Exit code, summary and standard error of one peer in a process of its own."""
    path = os.pathsep.join([str(REPOSITORY), str(REPOSITORY / "clients" / "python")])
    arguments = ["--target", target, "--model", "mlp", "--onnx", str(mlp_file), "--callers", str(CALLERS)]
    ended = subprocess.run(
        [sys.executable, str(Path(__file__).with_name(f"{peer}.py")), *arguments, "--calls", str(CALLS), *more],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=PEER_S_MAX,
        check=False,
    )
    assert ended.stdout, ended.stderr
    return ended.returncode, json.loads(ended.stdout), ended.stderr


@pytest.mark.parametrize("peer", PEERS)
def test_every_answer_is_bare_onnx_runtimes_while_neighbours_cancel(peer: str, mlp_server: Served, mlp_file: Path):
    code, summary, errors = _run_peer(peer, mlp_server.target, mlp_file)
    print(errors, summary)
    assert (summary["wrong"], summary["swapped"], summary["failed"]) == (0, 0, 0), summary
    assert code == 0
    assert summary["calls"] == CALLS
    assert summary["answered"] + summary["cancelled"] == CALLS
    assert summary["answered"] > CALLS // 2
    assert summary["cancelled"] > 0, "a run without cancelled calls proves nothing about them"
    assert mlp_server.process.poll() is None
