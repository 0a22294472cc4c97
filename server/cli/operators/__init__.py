"""The operators' commands: what is served, with which weights, why, and how to change it. Clients of `roost.v1.Admin`.

A command's function is in `looking`, `changing` or `journal`; its shared options in `options`; what it says is made in
`sentences`, `tables` and `documents`. Always: exit code 0 where it was done, 1 where the server refused, 2 where the
command line is wrong, 3 where the admin port gave no answer; results on standard output, all else on standard error.
"""
