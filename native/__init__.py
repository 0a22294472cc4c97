"""Compiled kernels: the wire, the batch and the plane. No policy, no files, no sockets.

Importing this package names the folder of compiled kernels, before any kernel module can be imported, because Numba
decides where a kernel is cached while it decorates it.
"""

from native.cache import use_kernel_cache

use_kernel_cache()
