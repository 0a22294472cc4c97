"""Each gRPC status has its class, each class its line in the README."""

from __future__ import annotations

import inspect
import pickle

import grpc
import pytest

from benchmarks.servers import REPOSITORY
from roost import errors

README = (REPOSITORY / "clients" / "python" / "README.md").read_text()
FAILURES = [code for code in grpc.StatusCode if code is not grpc.StatusCode.OK]
CLASSES = [found for _, found in inspect.getmembers(errors, inspect.isclass) if issubclass(found, errors.RoostError)]


@pytest.mark.parametrize("code", FAILURES, ids=lambda code: code.name)
def test_an_error_carries_the_servers_message_and_status(code: grpc.StatusCode):
    error = errors.of_status(code, "inputs[0]: expected FP32, got FP64.")
    assert isinstance(error, errors.RoostError)
    assert str(error) == error.message == "inputs[0]: expected FP32, got FP64."
    assert error.code is code


@pytest.mark.parametrize("message", ["", None])
def test_a_status_without_message_still_says_its_name(message: str | None):
    assert str(errors.of_status(grpc.StatusCode.NOT_FOUND, message)) == "NOT_FOUND"


@pytest.mark.parametrize(
    ("code", "builtin"),
    [
        (grpc.StatusCode.INVALID_ARGUMENT, ValueError),
        (grpc.StatusCode.NOT_FOUND, LookupError),
        (grpc.StatusCode.DEADLINE_EXCEEDED, TimeoutError),
        (grpc.StatusCode.UNAVAILABLE, ConnectionError),
        (grpc.StatusCode.UNAUTHENTICATED, PermissionError),
    ],
)
def test_an_error_is_caught_as_the_builtin_people_would_expect(code: grpc.StatusCode, builtin: type[Exception]):
    assert isinstance(errors.of_status(code, "m"), builtin)


@pytest.mark.parametrize("code", FAILURES, ids=lambda code: code.name)
def test_an_error_survives_the_way_between_processes(code: grpc.StatusCode):
    error = pickle.loads(pickle.dumps(errors.of_status(code, "m")))
    assert (type(error), str(error), error.code) == (type(errors.of_status(code, "m")), "m", code)


@pytest.mark.parametrize("found", CLASSES, ids=lambda found: found.__name__)
def test_the_readme_and_a_docstring_say_what_an_error_means(found: type[errors.RoostError]):
    assert found.__doc__
    assert f"`{found.__name__}`" in README or f"`roost.{found.__name__}`" in README
