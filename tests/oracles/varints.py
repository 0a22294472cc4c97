"""protobuf's encoding, slowly: varints and fields as bytes and Python integers, from the encoding guide."""

from __future__ import annotations

from collections.abc import Iterator

VARINT, FIXED64, LENGTH_DELIMITED, FIXED32 = 0, 1, 2, 5


def varint(value: int, padding: int = 0) -> bytes:
    """The varint of a value (negative ones as 64 bits), made longer than need be by `padding` bytes."""
    value &= 2**64 - 1
    groups = [value & 0x7F]
    while value := value >> 7:
        groups.append(value & 0x7F)
    groups += [0] * padding
    return bytes([group | 0x80 for group in groups[:-1]] + groups[-1:])


def tag(number: int, wire_type: int) -> bytes:
    return varint(number << 3 | wire_type)


def length_delimited(number: int, content: bytes) -> bytes:
    return tag(number, LENGTH_DELIMITED) + varint(len(content)) + content


def read_varint(content: bytes) -> tuple[int, int] | None:
    """(unsigned value, bytes used) of the varint at the front; None where it is cut or has more than 64 bits."""
    value = 0
    for index, byte in enumerate(content[:10]):
        value |= (byte & 0x7F) << 7 * index
        if byte < 0x80:
            return (value, index + 1) if value < 2**64 else None
    return None


def varints_of(content: bytes) -> Iterator[int]:
    """The unsigned values of packed varints. ValueError where the bytes are something else."""
    while content:
        first = read_varint(content)
        if first is None:
            raise ValueError("not a varint")
        value, used = first
        yield value
        content = content[used:]


def signed(value: int, bits: int) -> int:
    """The two's complement reading of the low `bits` of a value."""
    value &= 2**bits - 1
    return value - 2**bits if value >> (bits - 1) else value
