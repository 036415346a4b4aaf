"""Exercise 06a, write: a part of lesson 02, on Slurm.

The script keeps the English texts of at least MIN_CHARS characters. So far its two tasks run on
this machine. Make it submit the same pipeline to Slurm, as an array with two elements.

- The partition of the local cluster is called "learn"; `sinfo` shows those of another one. Ten
  minutes and 1 GB are enough for a task.
- The Python of the nodes is the one that runs this script, in the environment sys.prefix.
- DataTrove's logs stay in OUT/logs. What Slurm says goes to OUT/slurm_logs.
- The documents stay the same. A node gets the pipeline, and never sees this script.

Where no cluster answers, the checker runs each task here, in a process of its own, as a node would.
06b has such a call; page 06 explains its arguments. Check it: python exercises/check.py 06a
"""

import sys

from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.filters import LambdaFilter, LanguageFilter
from datatrove.pipeline.readers import JsonlReader
from datatrove.pipeline.writers import JsonlWriter

MIN_CHARS = 300


def main(data: str, out: str) -> None:
    language = LanguageFilter(["en"], exclusion_writer=JsonlWriter(f"{out}/dropped/language"))
    language.model.MODEL_URL = f"{data}/lid.176.ftz"
    pipeline = [
        JsonlReader(data, glob_pattern="*.jsonl.gz"),
        language,
        LambdaFilter(lambda doc: len(doc.text) >= MIN_CHARS, JsonlWriter(f"{out}/dropped/short")),
        JsonlWriter(f"{out}/kept"),
    ]
    # Your part: the executor for Slurm.
    executor = LocalPipelineExecutor(pipeline, tasks=2, workers=1, logging_dir=f"{out}/logs")
    executor.run()


if __name__ == "__main__":
    checked = "output/exercises/checked/06a/data"  # the checker has made it
    main(*(sys.argv[1:3] or (checked, "output/exercises/06a")))
