"""The operators' commands: what each asks for, what it prints, and the exit codes that scripts rely on."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import grpc
import pytest

from protos.roost.v1 import admin_pb2
from tests.cli.scripted_admin import ScriptedAdmin, churn, run

PLAN = {"promotion": "approved", "steps": [{"weight": 0.05, "bake_s": 60.0, "minimum_requests": 500}]}

ASKED: dict[str, tuple[list[str], str, dict[str, Any]]] = {
    "canary of a weight": (
        ["canary", "churn", "--version", "4", "--weight", "5%"],
        "DeployCanary",
        {"model": "churn", "version": "4", "weight_ppm": 50_000, "plan_json": "", "no_wait": False},
    ),
    "canary of a weight of nothing": (
        ["canary", "churn", "--version", "4", "--weight", "0"],
        "DeployCanary",
        {"weight_ppm": 0},
    ),
    "canary by the default plan": (
        ["canary", "churn", "--version", "@candidate", "--no-wait"],
        "DeployCanary",
        {"version": "@candidate", "weight_ppm": None, "plan_json": "", "no_wait": True},
    ),
    "weights": (
        ["weights", "churn", "--canary", "0.1"],
        "SetTrafficWeights",
        {"model": "churn", "canary_ppm": 100_000},
    ),
    "shadow": (
        ["shadow", "churn", "--version", "4"],
        "SetShadow",
        {"model": "churn", "version": "4", "no_wait": False},
    ),
    "no shadow": (["shadow", "churn", "--off"], "SetShadow", {"model": "churn", "version": ""}),
    "promote": (["promote", "churn"], "Promote", {"model": "churn"}),
    "rollback": (["rollback", "churn"], "Rollback", {"model": "churn", "quarantine": False}),
    "rollback for good": (["rollback", "churn", "--quarantine"], "Rollback", {"model": "churn", "quarantine": True}),
    "quarantine": (["quarantine", "b" * 8], "Quarantine", {"digest": "b" * 8, "model": ""}),
    "quarantine for one": (
        ["quarantine", "b" * 64, "--model", "churn"],
        "Quarantine",
        {"digest": "b" * 64, "model": "churn"},
    ),
    "release": (["release", "b" * 8], "Release", {"digest": "b" * 8, "model": ""}),
    "freeze": (["freeze"], "Freeze", {"model": ""}),
    "freeze one": (["freeze", "churn"], "Freeze", {"model": "churn"}),
    "unfreeze": (["unfreeze"], "Unfreeze", {"model": ""}),
    "pause": (["pause", "churn"], "Pause", {"model": "churn"}),
    "resume": (["resume", "churn"], "Resume", {"model": "churn"}),
}


@pytest.mark.parametrize(("arguments", "method", "fields"), ASKED.values(), ids=ASKED)
def test_a_command_asks_for_what_it_says(
    admin: ScriptedAdmin, arguments: list[str], method: str, fields: dict[str, Any]
) -> None:
    result = run(admin.address, *arguments, "--reason", "because", "--if-revision", "7", "--request-id", "id-1")
    assert result.exit_code == 0, result.stderr
    [(asked, request)] = admin.asked
    assert asked == method
    operation = request.operation
    assert (operation.operator, operation.reason, operation.request_id) == ("ada", "because", "id-1")
    assert operation.if_revision == 7
    for name, value in fields.items():
        if value is None:
            assert not request.HasField(name)
        else:
            assert getattr(request, name) == value
            assert name != "weight_ppm" or request.HasField(name)


def test_every_method_that_changes_something_has_its_command() -> None:
    service = admin_pb2.DESCRIPTOR.services_by_name["Admin"]
    changing = {method.name for method in service.methods if "operation" in method.input_type.fields_by_name}
    assert {method for _, method, _ in ASKED.values()} == changing


def test_without_more_the_user_asks_for_no_reason_under_a_new_id_each_time(admin: ScriptedAdmin) -> None:
    for _ in range(2):
        assert run(admin.address, "promote", "churn").exit_code == 0
    first, second = (request.operation for _, request in admin.asked)
    assert (first.operator, first.reason) == ("ada", "none given")
    assert not first.HasField("if_revision")
    assert first.request_id != second.request_id
    assert len(first.request_id) >= 32


def test_the_operator_is_named_by_option_before_environment_before_user(admin: ScriptedAdmin) -> None:
    run(admin.address, "promote", "churn", environment={"ROOST_OPERATOR": "bea"})
    run(admin.address, "promote", "churn", "--operator", "cleo", environment={"ROOST_OPERATOR": "bea"})
    assert [request.operation.operator for _, request in admin.asked] == ["bea", "cleo"]


@pytest.mark.parametrize("suffix", [".json", ".toml"])
def test_a_plan_goes_from_its_file_to_the_server(admin: ScriptedAdmin, tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"plan{suffix}"
    toml = 'promotion = "approved"\n[[steps]]\nweight = 0.05\nbake_s = 60.0\nminimum_requests = 500\n'
    file.write_text(toml if suffix == ".toml" else json.dumps(PLAN))
    result = run(admin.address, "canary", "churn", "--version", "4", "--plan", str(file))
    assert result.exit_code == 0, result.stderr
    request = admin.asked[0][1]
    assert json.loads(request.plan_json) == PLAN
    assert not request.HasField("weight_ppm")


@pytest.mark.parametrize(
    ("arguments", "lesson"),
    [
        (["weights", "churn", "--canary", "5"], "Did you mean 5%?"),
        (["weights", "churn", "--canary", "101%"], "at most 100%"),
        (["weights", "churn"], "--canary"),
        (["canary", "churn", "--weight", "5%"], "--version"),
        (["canary", "churn", "--version", "4", "--weight", "5%", "--plan", "x.json"], "got both"),
        (["canary", "churn", "--version", "4", "--plan", "nothing.json"], "expected a readable file, got nothing.json"),
        (["shadow", "churn"], "expected --version or --off, got none"),
        (["shadow", "churn", "--version", "4", "--off"], "expected --version or --off, got both"),
        (["promote", "churn", "--if-revision", "-1"], "--if-revision"),
        (["rollback", "churn", "--pid", "1"], "expected --local beside it"),
        (["rollback", "churn", "--local"], "expected --ready-file or --pid beside --local, got none"),
        (["rollback", "churn", "--local", "--pid", "1", "--ready-file", "x"], "beside --local, got both"),
        (["rollback", "churn", "--local", "--ready-file", "nothing"], "got nothing: No such file or directory"),
        (["rollback", "churn", "--local", "--ready-file", "pyproject.toml"], "which names no pid"),
        (["rollback", "churn", "--local", "--pid", "1", "--quarantine"], "neither --quarantine nor --if-revision"),
        (["journal", "verify", "--head", "7"], "a line's number, a colon and 64 digits"),
        (["events", "--after", "-1"], "--after"),
    ],
)
def test_a_slip_on_the_command_line_is_exit_code_2_and_nothing_is_asked(
    admin: ScriptedAdmin, arguments: list[str], lesson: str
) -> None:
    result = run(admin.address, *arguments)
    assert result.exit_code == 2, result.output
    assert lesson in result.stderr
    assert admin.asked == []


@pytest.mark.parametrize(
    ("content", "lesson"),
    [
        ("{", "expected JSON, or TOML in a file that ends in .toml"),
        ("[" * 100_000, "expected JSON"),
        ("[]", "expected an object with promotion, steps"),
        ('{"steps": [{"weight": 2}]}', "steps[0].weight: expected a share from 0 to 1, got 2"),
        ('{"steps": [{"weight": 0.5}, {"weight": 0.1}]}', "A plan only raises the weight"),
    ],
)
def test_a_plan_that_is_none_is_exit_code_2(admin: ScriptedAdmin, tmp_path: Path, content: str, lesson: str) -> None:
    (tmp_path / "plan.json").write_text(content)
    result = run(admin.address, "canary", "churn", "--version", "4", "--plan", str(tmp_path / "plan.json"))
    assert result.exit_code == 2, result.output
    assert lesson in result.stderr
    assert admin.asked == []


def test_a_process_that_is_no_server_is_left_alone(admin: ScriptedAdmin) -> None:
    # Not this process, which may hold planes of other tests.
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as stranger:
        result = run(admin.address, "rollback", "churn", "--local", "--pid", str(stranger.pid))
        stranger.kill()
    assert result.exit_code == 1
    assert f"process {stranger.pid}: expected the server's parent, got another process" in result.stderr
    assert admin.asked == []


# --- Endings ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "code",
    [
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.NOT_FOUND,
        grpc.StatusCode.FAILED_PRECONDITION,
        grpc.StatusCode.ABORTED,
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.INTERNAL,
    ],
)
def test_a_refusal_is_the_servers_one_line_and_exit_code_1(admin: ScriptedAdmin, code: grpc.StatusCode) -> None:
    text = "operation.if_revision: expected 8, the current one of churn, got 7. Look at what has changed."
    admin.answers["Promote"] = (code, text)
    result = run(admin.address, "promote", "churn")
    assert result.exit_code == 1
    assert result.stderr == f"roost: {text}\n"
    assert result.stdout == ""


def free_address() -> str:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{held.getsockname()[1]}"


@pytest.mark.parametrize("command", [["status"], ["promote", "churn"], ["events", "--follow"], ["journal", "verify"]])
def test_where_nobody_listens_it_is_exit_code_3_and_says_where(command: list[str]) -> None:
    address = free_address()
    result = run(address, *command)
    assert result.exit_code == 3
    assert result.stderr.startswith(f"roost: {address}: expected the admin port, got none (connection refused).")
    assert result.stderr.count("\n") == 1


def test_a_port_of_something_else_is_exit_code_3() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"

        def answer_in_another_tongue() -> None:
            while True:
                try:
                    connection, _ = other.accept()
                except OSError:
                    return
                with connection:
                    connection.sendall(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")

        threading.Thread(target=answer_in_another_tongue, daemon=True).start()
        result = run(address, "promote", "churn", "--timeout", "3")
        other.shutdown(socket.SHUT_RDWR)
    assert result.exit_code == 3, result.output
    assert result.stderr.startswith(f"roost: {address}: ")


def test_a_server_without_the_service_is_exit_code_3(admin: ScriptedAdmin) -> None:
    admin.answers["Promote"] = (grpc.StatusCode.UNIMPLEMENTED, "method: no such one")
    result = run(admin.address, "promote", "churn")
    assert result.exit_code == 3
    assert "expected a Roost's admin port, got another gRPC server's. The admin port is 8003" in result.stderr


def test_no_answer_in_time_is_exit_code_3_and_tells_how_to_ask_again(admin: ScriptedAdmin) -> None:
    admin.hold.clear()
    result = run(admin.address, "promote", "churn", "--timeout", "0.3")
    assert result.exit_code == 3
    request_id = admin.asked[0][1].operation.request_id
    assert f"no answer within 0.3 s. It may have been done; with --request-id {request_id}" in result.stderr


def test_a_look_that_gets_no_answer_has_nothing_to_warn_of(admin: ScriptedAdmin) -> None:
    admin.hold.clear()
    result = run(admin.address, "status", "--timeout", "0.3")
    assert result.exit_code == 3
    assert result.stderr == f"roost: {admin.address}: no answer within 0.3 s.\n"


def test_a_server_that_goes_away_meanwhile_is_exit_code_3(admin: ScriptedAdmin) -> None:
    admin.hold.clear()

    def leave() -> None:
        while not admin.asked:
            time.sleep(0.01)
        assert admin.server is not None
        admin.server.stop(None)

    leaving = threading.Thread(target=leave)
    leaving.start()
    result = run(admin.address, "promote", "churn", "--timeout", "10")
    leaving.join()
    assert result.exit_code == 3, result.output
    assert "the server went away before it had answered. It may have been done" in result.stderr


# --- What is said ----------------------------------------------------------------------------------------------------
def test_a_change_says_what_is_now(admin: ScriptedAdmin) -> None:
    admin.answers["Promote"] = admin_pb2.OperationReply(
        message="churn is at revision 8; version 4 is stable.", models=[churn(alerts=["journal: the disk is full"])]
    )
    result = run(admin.address, "promote", "churn")
    assert result.stdout == "churn is at revision 8; version 4 is stable.\n"
    assert result.stderr == "roost: journal: the disk is full\n"


def test_a_change_that_was_done_before_says_so(admin: ScriptedAdmin) -> None:
    admin.answers["Promote"] = admin_pb2.OperationReply(message="Done.", replayed=True)
    assert "It was done before" in run(admin.address, "promote", "churn").stdout


def test_json_has_every_field_under_its_name_and_numbers_as_numbers(admin: ScriptedAdmin) -> None:
    admin.answers["Promote"] = admin_pb2.OperationReply(models=[churn()])
    document = json.loads(run(admin.address, "promote", "churn", "--json").stdout)
    assert set(document) == {field.name for field in admin_pb2.OperationReply.DESCRIPTOR.fields}
    [model] = document["models"]
    assert set(model) == {field.name for field in admin_pb2.ModelState.DESCRIPTOR.fields}
    assert (model["revision"], model["weight_ppm"], model["frozen"]) == (7, 50_000, False)
    assert model["canary"] == {"version": "4", "digest": "b" * 64}
    assert model["shadow"] is None
    assert model["rollout"]["salt"] == str((1 << 62) + 1), "text: most readers of JSON have 53 bits"


def test_json_holds_what_is_beyond_numbers(admin: ScriptedAdmin) -> None:
    admin.answers["GetEvidence"] = admin_pb2.GetEvidenceReply(
        model="churn", signals=[admin_pb2.SignalEvidence(name="errors", e_worse=float("inf"), e_not_worse=0.5)]
    )
    document = json.loads(run(admin.address, "evidence", "churn", "--json").stdout)
    assert document["signals"][0]["e_worse"] == "Infinity"
    assert document["signals"][0]["e_not_worse"] == 0.5


@pytest.mark.parametrize(("text", "said"), [("100%", True), ("0", True), ("50%", False)])
def test_a_share_at_which_nothing_is_compared_is_set_and_said_to_be_one(
    admin: ScriptedAdmin, text: str, said: bool
) -> None:
    result = run(admin.address, "weights", "churn", "--canary", text)
    assert result.exit_code == 0, result.stderr
    assert ("nothing is compared" in result.stderr) is said
