"""Notes when a script's run began and how long its executors took, for the benchmarks.

With BENCH_GUARDED empty the run is unguarded.
"""

import json
import os
import sys
import time

if "BENCH_TIMES" in os.environ and sys.argv[0].endswith(".py"):
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    from datatrove.executor import LocalPipelineExecutor
    from harness import timed

    from examples_common import runs

    execute, begin = LocalPipelineExecutor.run, runs.Run.__init__

    def note(what):
        with open(os.environ["BENCH_TIMES"], "a") as stream:
            stream.write(json.dumps(what) + "\n")

    def run(executor):
        with timed() as spent:
            result = execute(executor)
        note(spent)
        return result

    def prepare(run, *args):
        note({"ready": time.time()})
        begin(run, *args)

    LocalPipelineExecutor.run, runs.Run.__init__ = run, prepare
    if not os.environ["BENCH_GUARDED"]:
        runs.guard = lambda executor: None
        runs.Run.check = lambda self, executor: runs.counters(executor)
        runs.Run.conclude = lambda self: None
