"""The clocks of this process, out of reach of whoever stops or mocks them.

A test may freeze time (``freezegun`` looks for the functions of ``time`` in all modules, and each look at the
clock may move it on) or put a mock there that counts its calls. So ours are functions of a module of our
own, made of the same C code. What sleeps is the project's: gevent's lets others run meanwhile.
"""

from __future__ import annotations

import time as shared
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import time
else:
    _spec: Any = shared.__spec__
    time = _spec.loader.create_module(_spec)
    _spec.loader.exec_module(time)
    time.sleep = shared.sleep

perf_counter = time.perf_counter
perf_counter_ns = time.perf_counter_ns
time_ns = time.time_ns

__all__ = ["perf_counter", "perf_counter_ns", "time", "time_ns"]
