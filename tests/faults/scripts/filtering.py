"""Texts are filtered, on this machine or with --slurm as an array of jobs."""

import argparse
import json
import os

from datatrove.data import Document
from datatrove.executor import LocalPipelineExecutor, SlurmPipelineExecutor
from datatrove.pipeline.filters import LambdaFilter, SamplerFilter
from datatrove.pipeline.filters.base_filter import BaseFilter
from datatrove.pipeline.readers import JsonlReader
from datatrove.pipeline.writers import JsonlWriter
from going_wrong import fault

from datatrove_kit import guard

MIN_CHARS = 1800
TASKS, WORKERS = 4, 2


class RainFilter(BaseFilter):
    """Keeps texts that speak of rain often enough."""

    def filter(self, doc: Document) -> bool | tuple[bool, str]:
        return doc.text.count("rain") > 45 or (False, "dry")


def is_long_enough(doc: Document) -> bool:
    fault(doc.id)
    return len(doc.text) >= MIN_CHARS


def main(data: str, out: str, documents: str, slurm: bool, how: dict) -> None:
    pipeline = [
        JsonlReader(data, glob_pattern="*.jsonl*"),
        LambdaFilter(is_long_enough, JsonlWriter(f"{documents}/dropped/1_short")),
        RainFilter(JsonlWriter(f"{documents}/dropped/2_dry")),
        SamplerFilter(0.9, seed=1),
        JsonlWriter(f"{documents}/kept"),
    ]
    if slurm:
        cluster = {"time": "00:10:00", "partition": "learn", "qos": None, "mem_per_cpu_gb": 1}
        cluster |= json.loads(os.environ["CLUSTER"])
        executor = SlurmPipelineExecutor(
            pipeline, TASKS, logging_dir=f"{out}/logs", job_name="filter", **cluster
        )
    else:
        executor = LocalPipelineExecutor(pipeline, TASKS, WORKERS, logging_dir=f"{out}/logs")
    counts = guard.run(executor, out, **how)
    print(counts and [dict(count) for count in counts[0]])


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("data")
    parser.add_argument("out")
    parser.add_argument("--documents")
    for flag in ("--slurm", "--resume", "--overwrite", "--no-wait"):
        parser.add_argument(flag, action="store_true")
    given = parser.parse_args()
    how = {"resume": given.resume, "overwrite": given.overwrite, "wait": not given.no_wait}
    main(given.data, given.out, given.documents or given.out, given.slurm, how)
