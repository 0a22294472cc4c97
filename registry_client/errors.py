"""Refusals: why an artifact cannot be bundled, trusted or found.

Raised by everything in this room; the command line prints one as a single line, the server refuses to load the model.
Always: the message names the field or file, what was expected, what came and what to do next, on one line.
"""

from __future__ import annotations


class ArtifactError(Exception):
    """A refusal, by field. `str()` of it is one line, whatever control characters came in."""

    def __init__(self, field: str, *, expected: str, got: str, hint: str) -> None:
        self.field, self.expected, self.got, self.hint = field, expected, got, hint
        message = f"{field}: expected {expected}, got {got}. {hint}"
        super().__init__("".join(char if char.isprintable() else ascii(char)[1:-1] for char in message))


class UnservableModel(ArtifactError):
    """An ONNX file that cannot be served as tensors in, tensors out."""


class BadDocument(ArtifactError):
    """A manifest, golden file, lineage file or registry index that does not say what it must."""


class GoldenMismatch(ArtifactError):
    """A model that does not answer its golden examples as recorded."""


class VerificationFailed(ArtifactError):
    """Bytes that are not the ones the manifest, or the registry, vouches for."""


class NotInRegistry(ArtifactError):
    """A name, version or alias that the registry does not hold."""


class NotOurs(NotInRegistry):
    """A version that is there, and that Roost did not make: nothing vouches for it."""


class RegistryUnavailable(ArtifactError):
    """A registry that does not answer, or not in time: what it holds may be found later."""


class RegistryRefused(ArtifactError):
    """A registry that cannot be opened, or a change that it does not allow."""


class MissingLibrary(ArtifactError):
    """A library that only some commands need, and that is not installed."""


class BadKey(ArtifactError):
    """A key file that cannot sign, or cannot say who signed."""


class SignatureRefused(ArtifactError):
    """A bundle that none of those who should have has signed."""


class Unsigned(SignatureRefused):
    """A bundle beside which no signature lies."""


class WronglySigned(SignatureRefused):
    """A signature that is damaged, or that was made for other bytes."""


class SignedByAnother(SignatureRefused):
    """A signature by a key that is not among those that count."""
