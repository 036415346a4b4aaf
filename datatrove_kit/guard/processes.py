"""Processes of a local run: one that is killed ends the run, and none outlives it."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from unittest.mock import patch

import multiprocess
from multiprocess.pool import Pool

#: How often is looked, and how long the end of a run may take.
POLL_SECONDS, GRACE_SECONDS = 0.2, 10


class Stopped(BaseException):
    """SIGTERM reached this process, or, with a message, one of its workers died."""


def _end_with_parent() -> None:
    """End this process when the one that started it is gone, whoever ended that."""
    parent = os.getppid()
    # A pool's worker is the child of a server process, which lives as long as its workers.
    started_by = multiprocess.parent_process()

    def watch():
        while os.getppid() == parent and (started_by is None or started_by.is_alive()):
            time.sleep(POLL_SECONDS)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def belong_to_parent() -> None:
    """Called in a process that runs a task: it and its children do not outlive their parents.

    Ctrl-C goes to all processes of a terminal; workers leave it to the parent to end them.
    """
    if getattr(belong_to_parent, "called_in", None) == os.getpid():
        return
    belong_to_parent.called_in = os.getpid()
    # Trafilatura's process, which would wait for its next page for ever.
    os.register_at_fork(after_in_child=_end_with_parent)
    if multiprocess.parent_process():
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        _end_with_parent()


@contextmanager
def supervised(clean_up: Callable[[], None] | None = None) -> Iterator[None]:
    """Watch over the LocalPipelineExecutors that are run inside, one after another.

    A pool that loses a worker starts another one and waits for the lost task for ever. Here this
    raises Stopped with a message, and so does SIGTERM, without one. A pool may also wait for ever
    when it is interrupted; should it not let go within GRACE_SECONDS, its processes are killed,
    ``clean_up`` is called, and this process exits.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # signals reach the main thread alone
        return
    belong_to_parent()  # for the server of the pool's queues, which is forked from here
    done, here, main = threading.Event(), os.getpid(), threading.main_thread().ident
    message, stopped, replaced = [], [], Pool._join_exited_workers

    def stop(signum, frame):
        if os.getpid() != here:  # a process that was forked from this one
            signal.signal(signum, signal.SIG_DFL)
            os.kill(os.getpid(), signum)
        stopped.append(signum)
        raise KeyboardInterrupt if signum == signal.SIGINT else Stopped(*message)

    def join_exited_workers(pool: list) -> bool:
        lost = os.getpid() == here and any(worker.exitcode for worker in pool)
        # After a while, in which this process hears of Ctrl-C as its workers do.
        if lost and not (done.wait(POLL_SECONDS) or stopped or message):
            message.append("a process of the run was killed, often for want of memory")
            signal.pthread_kill(main, signal.SIGTERM)
        return replaced(pool)

    def watch():
        while not (done.wait(POLL_SECONDS) or stopped):
            pass
        if not done.wait(GRACE_SECONDS):
            for process in multiprocess.active_children():
                process.kill()
            if clean_up:
                clean_up()
            print(f"error: {message[0]}" if message else "stopped", file=sys.stderr, flush=True)
            os._exit(1 if message else 128 + stopped[0])

    before = {s: signal.signal(s, stop) for s in (signal.SIGTERM, signal.SIGINT)}
    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        with patch.object(Pool, "_join_exited_workers", join_exited_workers):
            yield
    finally:
        done.set()
        watcher.join()
        for signum, handler in before.items():
            signal.signal(signum, handler)
