"""Every wire kernel beside its slow oracle and a generator of arguments. Tests and benchmarks both walk it.

Names with an underscore are parts of one kernel each, held by that kernel's row.
"""

from __future__ import annotations

from tests.wire.leaf_rows import LEAF_ROWS
from tests.wire.message_rows import MESSAGE_ROWS
from tests.wire.reply_rows import REPLY_ROWS

TABLE = (*LEAF_ROWS, *MESSAGE_ROWS, *REPLY_ROWS)
