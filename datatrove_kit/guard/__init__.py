"""A run to be trusted: ``guard.run(executors, folder)`` in place of ``executor.run()``."""

__all__ = ["counters", "run"]


def __getattr__(name: str):
    # Late, so that guard.processes can be had without what a run needs besides.
    if name in __all__:
        from datatrove_kit.guard import runs

        return getattr(runs, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
