"""What is said of a model that ONNX Runtime refuses, and of a run that fails, whichever of its APIs was asked.

Used by the two kinds of sessions and whoever loads models. Always: one line, in ONNX Runtime's own words, without the
place in its source.
"""

from __future__ import annotations

from server.worker.status import Code, StatusError, quoted

OUT_OF_MEMORY_MARKS = ("Failed to allocate memory", "bad_alloc")


class SessionRefused(Exception):
    """ONNX Runtime does not take the model. One line that says why."""


def what_failed(error: Exception) -> str:
    """ONNX Runtime's own words, without the place in its source."""
    text = str(error)
    for mark in ("Error in execution: ", "Status Message: ", "INVALID_ARGUMENT : ", "FAIL : ", "RUNTIME_EXCEPTION : "):
        _, found, rest = text.partition(mark)
        text = rest if found else text
    return " ".join(text.split())


def run_failure(error: Exception) -> StatusError:
    """A Run that failed, as the caller sees it.

    The model ran at load, so that it is this call's values or shapes that it cannot compute; whether ONNX Runtime
    calls that an invalid argument or a failure differs by operator (Gather says the one, MatMul the other).
    """
    words = what_failed(error).rstrip(".")
    if any(mark in words for mark in OUT_OF_MEMORY_MARKS):
        return StatusError(
            Code.RESOURCE_EXHAUSTED,
            f"inputs: expected a size that fits into memory, got an error of ONNX Runtime: {words}. Send fewer rows.",
        )
    return StatusError(
        Code.INVALID_ARGUMENT,
        f"inputs: expected values that the model can compute, got an error of ONNX Runtime: {words}. "
        "Check shapes that depend on each other, and values that index or divide.",
    )


def not_utf_8(element: bytes) -> StatusError:
    """ONNX has text where the protocol has bytes."""
    return StatusError(
        Code.INVALID_ARGUMENT,
        f"inputs: expected UTF-8 for a string tensor, got {quoted(repr(element))}. Send text.",
    )
