"""On PYTHONPATH, makes every process start by spawn, as on macOS, whatever a program asks for."""

import multiprocessing

multiprocessing.set_start_method("spawn", force=True)

try:
    import multiprocess
except ImportError:
    pass  # the system's own Python, started by some tool
else:
    multiprocess.set_start_method("spawn", force=True)
    get_context = multiprocess.get_context
    multiprocess.get_context = lambda method=None: get_context("spawn")
