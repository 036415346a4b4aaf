"""Near-duplicates are removed by four executors; with --slurm as arrays of jobs."""

import argparse
import json
import os

from datatrove.executor import LocalPipelineExecutor, SlurmPipelineExecutor
from datatrove.pipeline import dedup
from datatrove.pipeline.dedup.minhash import MinhashConfig
from datatrove.pipeline.readers import JsonlReader
from datatrove.pipeline.writers import JsonlWriter
from going_wrong import fault

from datatrove_kit import guard

CONFIG = MinhashConfig(num_buckets=4, hashes_per_bucket=6)
TASKS = {"signatures": 4, "buckets": 4, "clusters": 1, "filter": 4}


class FaultySignature(dedup.MinhashDedupSignature):
    def run(self, data, rank: int = 0, world_size: int = 1):
        fault(f"signatures-{rank}")
        return super().run(data, rank, world_size)


class FaultyBuckets(dedup.MinhashDedupBuckets):
    def run(self, data=None, rank: int = 0, world_size: int = 1):
        fault(f"buckets-{rank}")
        return super().run(data, rank, world_size)


def main(data: str, out: str, slurm: bool, how: dict) -> None:
    signatures, buckets, remove = (f"{out}/{name}" for name in ("signatures", "buckets", "remove"))
    steps = {
        "signatures": [JsonlReader(data), FaultySignature(signatures, CONFIG)],
        "buckets": [FaultyBuckets(signatures, buckets, config=CONFIG)],
        "clusters": [dedup.MinhashDedupCluster(buckets, remove, CONFIG)],
        "filter": [
            JsonlReader(data),
            dedup.MinhashDedupFilter(remove, JsonlWriter(f"{out}/dropped")),
            JsonlWriter(f"{out}/kept"),
        ],
    }
    cluster = {"time": "00:10:00", "partition": "learn", "qos": None, "mem_per_cpu_gb": 1}
    cluster |= json.loads(os.environ.get("CLUSTER", "{}"))
    executor = None
    for name, pipeline in steps.items():
        where = {"logging_dir": f"{out}/logs/{name}", "depends": executor}
        if slurm:
            executor = SlurmPipelineExecutor(
                pipeline, TASKS[name], job_name=name, **where, **cluster
            )
        else:
            executor = LocalPipelineExecutor(pipeline, TASKS[name], 2, **where)
    print([dict(count) for count in guard.run(executor, out, **how)[-1]])


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("data")
    parser.add_argument("out")
    for flag in ("--slurm", "--resume", "--overwrite"):
        parser.add_argument(flag, action="store_true")
    given = parser.parse_args()
    how = {"resume": given.resume, "overwrite": given.overwrite}
    main(given.data, given.out, given.slurm, how)
