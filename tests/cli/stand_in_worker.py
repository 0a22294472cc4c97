"""A worker that serves nothing, to try the parent with: reads its specification, reports through the plane, obeys.

Its manners come from the environment: STAND_IN_EXIT (exit at once with this code), STAND_IN_DEAF (ignores SIGTERM),
STAND_IN_HANGS_IN (at SIGUSR1 it says that this seat hangs, and gives up), STAND_IN_UNREADY (as a standby it never is),
STAND_IN_CLOSES (the listening socket, as it drains).
It runs until SIGTERM, then drains for STAND_IN_DRAIN_S.
"""

import os
import signal
import sys
import time

if "STAND_IN_EXIT" in os.environ:  # before it reads anything: the parent must bear that
    print("stand-in: the model was refused", file=sys.stderr)
    sys.exit(int(os.environ["STAND_IN_EXIT"]))

from native.plane.counters import CONNECTIONS, REQUESTS
from native.plane.layout import HEADER_HEARTBEAT_NS, HEADER_SEQUENCE, Plane, WorkerState
from native.plane.routing import HUNG_GENERATION, HUNG_SEAT
from server.processes import EXIT_HUNG, WorkerSpec


def main() -> int:
    if sys.argv[1:] and "STAND_IN_UNREADY" not in os.environ:  # --standby DESCRIPTOR LISTENER
        os.write(int(sys.argv[2]), b"\n")
        print("stand-in: stands by", file=sys.stderr, flush=True)
    spec = WorkerSpec.model_validate_json(sys.stdin.buffer.read())
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGUSR1})
    block = Plane.attach(spec.plane_fd).block(spec.index)
    private = block.begin(os.getpid(), spec.generation)
    block.enter(WorkerState.READY)
    while True:
        private[REQUESTS] += 1
        private[CONNECTIONS] = 3
        block.counters[:] = private  # without the compiler, which would take most of a test's time
        block.header[HEADER_SEQUENCE] += 2
        block.header[HEADER_HEARTBEAT_NS] = time.monotonic_ns()
        stopped = signal.sigtimedwait({signal.SIGTERM, signal.SIGUSR1}, 0.01)
        if stopped is not None and stopped.si_signo == signal.SIGUSR1:
            block.routing[HUNG_SEAT] = int(os.environ["STAND_IN_HANGS_IN"])
            block.routing[HUNG_GENERATION] = 1
            return EXIT_HUNG
        if stopped is not None and "STAND_IN_DEAF" not in os.environ:
            break
    if "STAND_IN_CLOSES" in os.environ and spec.listen_fd is not None:
        os.close(spec.listen_fd)
    block.enter(WorkerState.DRAINING)
    time.sleep(float(os.environ.get("STAND_IN_DRAIN_S", "0")))
    return 0


if __name__ == "__main__":
    sys.exit(main())
