"""`python -m pipelines.stages STAGE NAME`: one stage alone, as DVC calls it.

What every stage of a run shares comes from the environment, so that `dvc.yaml` needs none of it and `dvc repro` works
by hand: ROOST_PIPELINE_REGISTRY, ROOST_PIPELINE_FOLDER.
"""

from __future__ import annotations

import argparse
import os
import sys

from pipelines import STAGES
from pipelines.definition import EXAMPLES
from pipelines.running import DEFAULT_FOLDER, DEFAULT_REGISTRY, alone, begun, in_one_line, run_stage, work_of


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m pipelines.stages", description="Run one stage of a pipeline.")
    parser.add_argument("stage", choices=STAGES)
    parser.add_argument("name", choices=EXAMPLES)
    arguments = parser.parse_args()
    with in_one_line(arguments.name):
        work = work_of(
            arguments.name,
            registry=os.environ.get("ROOST_PIPELINE_REGISTRY", DEFAULT_REGISTRY),
            folder=os.environ.get("ROOST_PIPELINE_FOLDER", DEFAULT_FOLDER),
        )
        with alone(work), begun(arguments.stage, work):
            run_stage(arguments.stage, work)
    sys.stdout.flush()


if __name__ == "__main__":
    main()
