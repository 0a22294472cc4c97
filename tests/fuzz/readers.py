"""Fuzzes the readers, `copy_rows` and the writers against google.protobuf, with everything flush to a guard page.

Used by the tests and by hand: `python -m tests.fuzz.readers --seconds 600 --seed 1`.
Each round makes a message, mostly mutates it, and demands: where a kernel says OK, google.protobuf reads the same
meaning and its rows arrive in the arena; where google.protobuf refuses, the kernel hands over; where a message is a
plain one, the kernel must not. A round is known by its seed alone.
"""

from __future__ import annotations

import argparse
import faulthandler
import sys
import time
from collections import Counter
from random import Random

import numpy as np

from native.wire import infer_reader, predict_reader, reply_writer, rows
from native.wire import parsed as layout
from native.wire.codes import HAND_OVER, OK
from native.wire.directory import ModelDirectory
from tests.fuzz.guard_page import GuardedMemory
from tests.oracles import messages as slow
from tests.wire import traffic
from tests.wire.message_rows import decoded, meaning_of
from tests.wire.row import KNOWN, parsed_vector

MESSAGE_BYTES_MAX = 1 << 20
SERVED_SEED = 20260101

PROTOCOLS = {
    "predict": (predict_reader.read_predict, traffic.predict_message, slow.predict_meaning),
    "infer": (infer_reader.read_infer, traffic.infer_message, slow.infer_meaning),
}


class Fuzzer:
    """One directory of models and the guarded memory of everything that kernels touch."""

    def __init__(self) -> None:
        self.directory = KNOWN.remember(ModelDirectory(traffic.models(Random(SERVED_SEED), 12)))
        self.message = GuardedMemory(MESSAGE_BYTES_MAX)
        self.block = GuardedMemory(1 << 22)
        self.out = GuardedMemory(1 << 22)
        table, blob = self.directory.table, self.directory.blob
        self._tables = (GuardedMemory(table.nbytes), GuardedMemory(blob.nbytes))
        self.table = self._tables[0].flush_with(table.tobytes()).view(np.int64)
        self.blob = self._tables[1].flush_with(blob.tobytes())
        self.seen: Counter[str] = Counter()

    def round(self, protocol: str, seed: int) -> None:
        """One message through one reader, and its rows and reply if it is taken."""
        random = Random(seed)
        read, make, meaning_by_protobuf = PROTOCOLS[protocol]
        content = make(random, random.choice(self.directory.models))
        if random.random() < 0.7:
            content = traffic.mutated(random, content, make(random, random.choice(self.directory.models)))
        if random.random() < 0.02:
            content = random.randbytes(random.randrange(64))
        message = self.message.flush_with(content)
        parsed = parsed_vector()
        arguments = (message, 0, len(message), self.table, self.blob, parsed)
        result = read(*arguments)
        verdict = meaning_by_protobuf(content, self.directory.models)
        where = f"{protocol}, seed {seed}"
        assert result in (OK, HAND_OVER), f"{where}: {result}"
        self.seen[f"{protocol} {'taken' if result == OK else 'handed over'}"] += 1
        if result == HAND_OVER:
            assert not verdict.certain, f"{where}: a plain message was handed over"
            return
        assert meaning_of(result, arguments) == verdict.meaning, f"{where}: {content!r}"
        self._rows_and_reply(protocol, message, parsed, where)

    def _rows_and_reply(self, protocol: str, message: slow.Any, parsed: slow.Any, where: str) -> None:
        """The rows to the end of the arena, and a reply to the end of its buffer."""
        model, count = int(parsed[layout.PARSED_MODEL]), int(parsed[layout.PARSED_ROWS])
        served = self.directory.models[model]
        row = served.max_rows - count
        block = self.block.last(self.directory.input_block_bytes(model))
        assert rows.copy_rows(message, parsed, self.table, block, row) == OK, where
        columns = self.directory.input_columns(model, block)
        for column, expected in zip(columns, decoded(message, parsed, served.inputs), strict=True):
            assert column[row:].tobytes() == expected, where
        block = self.block.last(self.directory.output_block_bytes(model))
        mask, contents = int(parsed[layout.PARSED_OUTPUT_MASK]), int(parsed[layout.PARSED_CONTENTS])
        model_rows_mask = (model, count, mask)
        if protocol == "predict":
            out = self.out.last(reply_writer.predict_reply_bytes(self.table, *model_rows_mask))
            end = reply_writer.write_predict_reply(
                out, 0, len(out), self.table, self.blob, *model_rows_mask, block, row
            )
        else:
            id_offset, id_bytes = parsed[layout.PARSED_ID_OFFSET], parsed[layout.PARSED_ID_BYTES]
            out = self.out.last(
                reply_writer.infer_reply_bytes(self.table, *model_rows_mask, id_bytes, contents, block, row)
            )
            end = reply_writer.write_infer_reply(
                out, 0, len(out), self.table, self.blob, *model_rows_mask,
                message, id_offset, id_bytes, contents, block, row,
            )  # fmt: skip
        assert end == len(out), where


def fuzz(seconds: float, first_seed: int) -> Counter[str]:
    """Rounds of both protocols for so many seconds; what became of the messages."""
    fuzzer, seed = Fuzzer(), first_seed
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for protocol in PROTOCOLS:
            fuzzer.round(protocol, seed)
        seed += 1
    fuzzer.seen["seeds"] = seed - first_seed
    return fuzzer.seen


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--seed", type=int, default=time.time_ns() % 2**32)
    options = parser.parse_args()
    faulthandler.enable()
    print(f"fuzzing for {options.seconds:g} s from seed {options.seed}", flush=True)
    print(dict(fuzz(options.seconds, options.seed)))
    sys.exit(0)


if __name__ == "__main__":
    main()
