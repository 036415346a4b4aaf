"""Exercise 06b, mend: the documents since a day.

The script keeps in OUT/kept the documents dated SINCE or later, and those whose date is missing or
cannot be read. The rest goes to OUT/dropped. With LocalPipelineExecutor it did so. On Slurm it ends
with exit code 0, and each task is complete. Count the documents in OUT/kept. Look at their dates.

Mend the script. It must still run on Slurm, in two tasks. Let the next fault of this kind end a
task with an error: a step should catch what a document can cause, and nothing else.

Where no cluster answers, the checker runs each task here, in a process of its own, as a node would.
Page 06, What a step takes along, helps. Check it: python exercises/check.py 06b
"""

import sys
from datetime import date

from datatrove.data import Document
from datatrove.executor import SlurmPipelineExecutor
from datatrove.pipeline.filters import LambdaFilter
from datatrove.pipeline.readers import JsonlReader
from datatrove.pipeline.writers import JsonlWriter

SINCE = date(2024, 7, 1)


def is_recent(doc: Document) -> bool:
    try:
        return date.fromisoformat(doc.metadata["date"]) >= SINCE
    except Exception:  # without a date, or with one that cannot be read
        return True


def main(data: str, out: str) -> None:
    executor = SlurmPipelineExecutor(
        pipeline=[
            JsonlReader(data, glob_pattern="*.jsonl.gz"),
            LambdaFilter(is_recent, JsonlWriter(f"{out}/dropped")),
            JsonlWriter(f"{out}/kept"),
        ],
        tasks=2,
        time="00:10:00",
        partition="learn",  # of the local cluster; `sinfo` shows those of another one
        mem_per_cpu_gb=1,
        job_name="recent",
        venv_path=f"{sys.prefix}/bin/activate",
        logging_dir=f"{out}/logs",
        slurm_logs_folder=f"{out}/slurm_logs",
    )
    executor.run()


if __name__ == "__main__":
    checked = "output/exercises/checked/06b/data"  # the checker has made it
    main(*(sys.argv[1:3] or (checked, "output/exercises/06b")))
