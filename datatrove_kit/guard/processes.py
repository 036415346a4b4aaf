"""Processes of a local run: one that is killed ends the run, and none outlives it."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

import multiprocess
from datatrove.executor.local import LocalPipelineExecutor
from multiprocess.pool import IMapIterator

#: How long a pool must have lacked a worker before the run is ended, and how long that may take.
POLL_SECONDS, SURE_SECONDS, GRACE_SECONDS = 0.2, 1.0, 10


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
    message, stopped = [], []

    def stop(signum, frame):
        if os.getpid() != here:  # a process that was forked from this one
            signal.signal(signum, signal.SIG_DFL)
            os.kill(os.getpid(), signum)
        stopped.append(signum)
        raise KeyboardInterrupt if signum == signal.SIGINT else Stopped(*message)

    def watch():
        run, workers, well = None, set(), 0.0
        while not (done.wait(POLL_SECONDS) or stopped):
            waiting = _waiting_run(main)
            now = {p.pid for p in multiprocess.active_children() if "PoolWorker" in p.name}
            # At the end of a run its workers go, and others come with the next run.
            if waiting is None or waiting is not _waiting_run(main):
                continue
            if waiting is not run or now == workers:
                run, workers, well = waiting, now, time.monotonic()
            elif time.monotonic() - well > SURE_SECONDS:  # by then it has heard of Ctrl-C
                message.append("a process of the run was killed, often for want of memory")
                signal.pthread_kill(main, signal.SIGTERM)
                break
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
        yield
    finally:
        done.set()
        watcher.join()
        for signum, handler in before.items():
            signal.signal(signum, handler)


def _waiting_run(thread: int) -> FrameType | None:
    """The call of ``LocalPipelineExecutor.run`` in which a thread waits for the pool's results."""
    frame = sys._current_frames().get(thread)
    while frame and frame.f_back:
        if frame.f_code is IMapIterator.next.__code__:
            caller = frame.f_back
            if caller.f_code is LocalPipelineExecutor.run.__code__:
                return caller
        frame = frame.f_back
    return None
