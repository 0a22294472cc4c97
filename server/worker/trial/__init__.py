"""The transient loader: an artifact is tried in a process of its own before any worker sees it."""
