"""Retraining on drift: a server's signed alert becomes a dispatch of GitHub's, which starts a workflow.

`python -m pipelines.retraining` is the small program between the two, as `docs/guides/models-in-ci.md` sets it up.
`delivery.py` says whether a delivery is the server's, `admission.py` what is done about it, `github.py` asks GitHub,
`receiver.py` is the way in. Always: what was not signed with the secret reaches nothing but an error.
"""
