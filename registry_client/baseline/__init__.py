"""The baseline of a model: the distribution that it was trained on, as counts by bin. A file of the bundle."""
