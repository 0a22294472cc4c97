"""Training: what learns, its graph, the proof that both answer alike, and what MLflow is told of it.

Used by `stages/train.py`; `tracking.py` by later stages too. Always: the same examples, parameters and libraries give
the same bytes, whatever the number of threads or the time.
"""
