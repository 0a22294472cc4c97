"""Errors: one bounded line each, that names the field and what to do."""

from __future__ import annotations

import pytest

from server.worker.status import (
    MESSAGE_CHARS_MAX,
    BadInput,
    Code,
    NotFound,
    StatusError,
    deadline_exceeded,
    listed,
    quoted,
    unknown_method,
)


def test_bad_input_names_field_expectation_and_next_step() -> None:
    error = BadInput("inputs[0].shape", expected="[rows, 32]", got="[4, 31]", hint="ModelMetadata lists the shapes.")
    assert error.code is Code.INVALID_ARGUMENT
    assert error.message == "inputs[0].shape: expected [rows, 32], got [4, 31]. ModelMetadata lists the shapes."
    assert str(error) == f"INVALID_ARGUMENT: {error.message}"


def test_each_error_carries_its_own_status() -> None:
    assert NotFound("model", "a", "b", "c").code is Code.NOT_FOUND
    assert deadline_exceeded("before it was run").code is Code.DEADLINE_EXCEEDED
    assert unknown_method("/x/y", ["/a/b"]).code is Code.UNIMPLEMENTED


@pytest.mark.parametrize("text", ["a\nb", "a\r\nb", "a\0b", "a\x1b[31mb", "a\u2028b"])
def test_a_message_is_one_printable_line_whatever_came(text: str) -> None:
    message = StatusError(Code.INTERNAL, text).message
    assert message.isprintable()
    assert message.startswith("a")
    assert quoted(text).isprintable()


def test_a_message_is_bounded_whatever_came() -> None:
    assert len(StatusError(Code.INTERNAL, "x" * 1_000_000).message) == MESSAGE_CHARS_MAX
    assert len(quoted("x" * 1_000_000)) < 100
    assert len(listed(f"name{number}" for number in range(10_000))) < 300
    assert listed(f"n{number}" for number in range(20)).endswith('"n15" and 4 more')


def test_codes_have_the_numbers_of_grpc() -> None:
    import grpc

    assert {code.name: code.value[0] for code in grpc.StatusCode} == {code.name: int(code) for code in Code}
