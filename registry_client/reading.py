"""Reading a whole file without holding other threads up.

Used where artifacts are verified and loaded, perhaps beside traffic. A system call that copies 100 MB can keep its
processor from others for 30 ms, and to free as much at once holds all threads for 6. Always: in small pieces, and where
the interpreter may change threads between them.
"""

from __future__ import annotations

import os
from typing import Final

PIECE_BYTES: Final = 1 << 20


def read_at_most(descriptor: int, bytes_max: int) -> bytes:
    """From where the descriptor stands to the end, or `bytes_max` if that comes first."""
    pieces: list[bytes] = []
    left = bytes_max
    while left > 0:
        piece = os.read(descriptor, min(left, PIECE_BYTES))
        if not piece:
            break
        pieces.append(piece)
        left -= len(piece)
    content = b"".join(pieces)
    while pieces:
        pieces.pop()  # one by one: the list would free them all in one go
    return content
