"""A run to be trusted: ``guard.run(executors, folder)`` in place of ``executor.run()``."""

import importlib

__all__ = ["counters", "run"]


def __getattr__(name: str):
    # Late, so that guard.processes can be had without what a run needs besides.
    return getattr(importlib.import_module("datatrove_kit.guard.runs"), name)
