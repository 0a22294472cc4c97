"""Drills: the incidents of the runbooks, staged on a server of the drill's own and walked through as the runbook says.

Used by `roost drill`. `sudden_drift` and `bad_canary` are the incidents, `carrying_out` runs one; `stack` is the
server, `model` what it serves, `traffic` its callers, `walk` the operator at the terminal, `report` what is filed.
Always: a drill starts a server on free ports of loopback, in a folder of its own, and talks to no other one.
"""
