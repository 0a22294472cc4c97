"""`roost serve` with the stand-in worker: takes the settings as JSON on standard input and runs the real parent.

STAND_IN_WARM is a Python program to run in place of the kernels' compilation; STAND_IN_STANDBY_S says how long after
the server is ready, or a worker was replaced, a standby begins, and STAND_IN_READY_WITHIN_S by when it must be ready;
STAND_IN_REAPED_AFTER_S how long a child that has ended stays a zombie.
"""

import os
import signal
import sys
from pathlib import Path

from server.cli import children, standby
from server.cli.children import PYTHON
from server.cli.configuration import ConfigurationError
from server.cli.doors import open_doors
from server.cli.parent import Commands, Parent
from server.logs import start_logging
from server.settings import Settings

STAND_IN = Path(__file__).with_name("stand_in_worker.py")


def main() -> int:
    if "STAND_IN_IGNORES" in os.environ:  # as whoever starts it may have
        signal.signal(signal.Signals[os.environ["STAND_IN_IGNORES"]], signal.SIG_IGN)
    settings = Settings.model_validate_json(sys.stdin.buffer.read())
    start_logging(settings.logs, "parent")
    try:
        doors = open_doors(settings.server)
    except ConfigurationError as error:
        print(error, file=sys.stderr)
        return 2
    warm = os.environ.get("STAND_IN_WARM")
    commands = Commands(worker=(*PYTHON, str(STAND_IN)), warm=(*PYTHON, "-c", warm) if warm else None)
    for variable, module, name in (
        ("STAND_IN_STANDBY_S", standby, "BEGINS_AFTER_NS"),
        ("STAND_IN_READY_WITHIN_S", standby, "READY_WITHIN_NS"),
        ("STAND_IN_REAPED_AFTER_S", children, "REAPED_AFTER_NS"),
    ):
        if variable in os.environ:
            setattr(module, name, int(float(os.environ[variable]) * 1e9))
    return Parent(settings, (), doors, commands).run()


if __name__ == "__main__":
    sys.exit(main())
