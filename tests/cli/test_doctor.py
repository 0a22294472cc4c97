"""`roost doctor`: every lack has a remedy, and something that serving needs makes exit code 1."""

import json
import resource
from pathlib import Path

import pytest
from typer.testing import CliRunner

from server.cli import doctor
from server.cli.application import app
from server.cli.doctor import Finding, Verdict
from server.cli.sockets import listening_socket, port_of
from server.settings import LimitSettings, ServerSettings, Settings

FREE_PORTS = dict.fromkeys(("ROOST_SERVER__LISTEN", "ROOST_SERVER__HTTP", "ROOST_SERVER__ADMIN"), "127.0.0.1:0")


@pytest.fixture(autouse=True)
def own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ROOST_KERNEL_CACHE", str(tmp_path / "kernels"))


def test_on_this_machine_nothing_is_missing() -> None:
    result = CliRunner().invoke(app, ["doctor"], env=FREE_PORTS)
    assert result.exit_code == 0, result.stdout
    assert "missing" not in result.stdout


def test_json_says_the_same_and_names_every_finding() -> None:
    result = CliRunner().invoke(app, ["doctor", "--json"], env=FREE_PORTS)
    document = json.loads(result.stdout)
    assert document["ok"] is True
    names = [finding["name"] for finding in document["findings"]]
    assert {"Python", "libnghttp2", "onnxruntime", "kernel cache", "open files", "server.listen"} <= set(names)
    assert len(names) == len(set(names))


def test_a_port_that_is_taken_is_exit_code_1_with_the_key_and_a_remedy() -> None:
    with listening_socket("x", "127.0.0.1:0") as other:
        address = f"127.0.0.1:{port_of(other)}"
        result = CliRunner().invoke(app, ["doctor"], env=FREE_PORTS | {"ROOST_SERVER__HTTP": address})
    assert result.exit_code == 1
    assert f"missing  server.http        {address}" in result.stdout
    assert "Choose another, or 0 for any that is free." in result.stdout


def test_a_wrong_setting_is_exit_code_2() -> None:
    result = CliRunner().invoke(app, ["doctor"], env={"ROOST_SERVER__WORKERS": "0"})
    assert result.exit_code == 2
    assert "server.workers: expected 1 to 64" in result.stderr


def test_without_libnghttp2_it_warns_and_with_the_fast_listener_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "find_library", lambda: None)
    assert doctor.libnghttp2(Settings()).verdict is Verdict.WARNING
    assert doctor.libnghttp2(Settings(server=ServerSettings(listener="fast"))).verdict is Verdict.MISSING


def test_a_kernel_cache_that_cannot_be_written_is_named_with_the_variable(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    finding = doctor.kernel_cache(tmp_path / "file" / "kernels")
    assert finding.verdict is Verdict.MISSING
    assert "Not a directory" in finding.found
    assert "ROOST_KERNEL_CACHE" in finding.remedy


def test_a_probed_kernel_cache_is_left_empty(tmp_path: Path) -> None:
    assert doctor.kernel_cache(tmp_path / "kernels").verdict is Verdict.OK
    assert list((tmp_path / "kernels").iterdir()) == []


def test_too_few_descriptors_are_a_warning_with_both_ways_out() -> None:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    finding = doctor.descriptors(Settings(limits=LimitSettings(connections_max=min(soft + 1, 65_536))))
    if soft < 65_536:
        assert finding.verdict is Verdict.WARNING
        assert "ulimit -n" in finding.remedy
        assert "limits.connections_max" in finding.remedy


def test_a_library_that_does_not_load_is_missing_with_its_error() -> None:
    def load(name: str) -> object:
        raise ImportError(f"{name}: wrong architecture")

    finding = doctor.library("onnxruntime", load)
    assert finding == Finding("onnxruntime", Verdict.MISSING, "onnxruntime: wrong architecture", finding.remedy)
    assert "pip install" in finding.remedy
