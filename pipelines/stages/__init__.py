"""The stages, a file each: snapshot, features, train, evaluate, bundle, register; deploy comes after them.

Each has `run(work) -> str`, which does the stage and gives one line of what came of it, and runs alone as
`python -m pipelines.stages STAGE NAME`, which is how DVC calls it.
"""
