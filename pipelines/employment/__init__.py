"""The employment model: who is at work, from US Census records of Massachusetts. One file a stage.

snapshot -> features -> train -> convert -> evaluate -> baseline -> bundle -> register. Each stage is a function of what
the one before it returned and can be run alone: `python -m pipelines.employment --through STAGE`.
Always: the same wheel, code and parameters give the same bundle, byte for byte.
"""

from typing import Final

MODEL_NAME: Final = "employment"
