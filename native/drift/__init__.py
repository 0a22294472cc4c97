"""Counting rows by bin: what a model is given and answers, against the distribution that it was trained on."""
