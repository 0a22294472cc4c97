"""What a worker knows of seats and routes: its own copy, which kernels look at for every request.

Written by `follow` from the plane's current table, and by the worker's loop where an artifact became ready here.
Always: a seat that a route names here is ready in this worker, or stands for nobody (NO_SEAT); a role is stored once,
as what it is from then on, since the runners' threads look at it, too.
"""

from __future__ import annotations

from typing import Final

import numpy as np

# What a seat's rows run as. A canary's run on the side for trials, apart from the rest, so that they can't hold it up.
ROLE_NONE: Final = 0  # no route names it: warm at most
ROLE_STABLE: Final = 1
ROLE_CANARY: Final = 2
ROLE_SHADOW: Final = 3
ROLE_LAST_SAFE: Final = 4  # was the stable: what still waits for it may run

MAIN: Final = 0
TRIAL: Final = 1

SEAT = np.dtype(
    [
        ("generation", np.int64),  # of the artifact that is ready here, or 0
        ("role", np.int64),
        # The seat that runs what this one has gathered: itself, or where its traffic went; NO_SEAT: nobody may.
        ("runs_as", np.int64),
    ],
    align=True,
)

ROUTE = np.dtype(
    [
        ("stable", np.int64),
        ("canary", np.int64),
        ("shadow", np.int64),
        ("last_safe", np.int64),
        ("stable_generation", np.int64),
        ("canary_generation", np.int64),
        ("shadow_generation", np.int64),
        ("canary_ppm", np.int64),
        ("salt", np.int64),
        ("weight_epoch", np.int64),
        ("pin_allowed", np.int64),
        ("whole", np.int64),  # 1: every seat that the table names is ready here, so that shares are what they should be
        # Keyless split: a block of `block_length` requests has exactly `block_canaries` of the canary's.
        ("block_length", np.int64),  # 0: the share has no short block, and is drawn for each request by itself
        ("block_canaries", np.int64),
        ("block_left", np.int64),
        ("block_canaries_left", np.int64),
        ("random_state", np.int64),
    ],
    align=True,
)

# How a caller chose: by `roost-variant`.
PIN_NONE: Final = 0
PIN_STABLE: Final = 1
PIN_CANARY: Final = 2
PIN_UNKNOWN: Final = 3
