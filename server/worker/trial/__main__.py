"""The loader: `python -m server.worker.trial`, a `server.trials.TrialSpec` as JSON on standard input, a TrialVerdict on
the output.

Always: the limits are set before the artifact is opened; nothing that the artifact does outlives this process.
"""

from __future__ import annotations

import sys

from native.compiler import import_numba_without_scipy
from server.importing import without_collections


def main() -> int:
    with without_collections():
        import_numba_without_scipy()
        from server.trials import TrialSpec
        from server.worker.trial.tried import set_limits, tried

    spec = TrialSpec.model_validate_json(sys.stdin.buffer.read())
    set_limits(spec.settings.trial)
    print(tried(spec).model_dump_json(), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
