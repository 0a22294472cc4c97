"""From a registered version to one that serves, or was sent home: the last stage, on a server that runs.

`deploying.py` is the way from beginning to end; `watch.py` decides what events mean, `rollout.py` asks, listens and
waits, `traffic.py` plays recorded rows, `server.py` finds a server or starts one. Always: who is promoted is the
server's decision; a rollout that ends here, however it ends, leaves its evidence beside the version.
"""
