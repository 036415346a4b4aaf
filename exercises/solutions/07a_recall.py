"""Exercise 07a, write: choose buckets and hashes, and predict what they find.

The input holds pairs of texts: 150 pairs have a similarity of 0.8, 150 of 0.5. The first are to be
found, the second not. Choose BUCKETS and HASHES so that MinHash finds, by its formula,

- at least 95% of the pairs at 0.8,
- at most 10% of the pairs at 0.5,
- with at most 200 numbers for a text, since each takes 8 bytes.

Write `probability`: the share of the pairs of a similarity that are found, from 0 to 1. The script
writes what it predicts to OUT/prediction.json, and then runs. The checker compares the prediction,
the formula, and what was found.

Page 07, How MinHash finds them, helps. Check it: python exercises/check.py 07a
"""

import json
import sys
from pathlib import Path

from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline import dedup
from datatrove.pipeline.readers import JsonlReader
from datatrove.pipeline.writers import JsonlWriter

BUCKETS = 20
HASHES = 8
TASKS = 2


def probability(similarity: float) -> float:
    same_bucket = similarity**HASHES
    return 1 - (1 - same_bucket) ** BUCKETS


def main(data: str, out: str) -> None:
    Path(out).mkdir(parents=True, exist_ok=True)
    prediction = {"0.5": probability(0.5), "0.8": probability(0.8)}
    Path(f"{out}/prediction.json").write_text(json.dumps(prediction))

    def stage(name: str, tasks: int, *pipeline, depends=None) -> LocalPipelineExecutor:
        logs = f"{out}/logs/{name}"
        return LocalPipelineExecutor(pipeline, tasks, 1, logging_dir=logs, depends=depends)

    config = dedup.minhash.MinhashConfig(num_buckets=BUCKETS, hashes_per_bucket=HASHES)
    reader = JsonlReader(data, glob_pattern="*.jsonl.gz")
    signatures, matches, clusters = (f"{out}/{n}" for n in ("signatures", "matches", "clusters"))
    sign = dedup.MinhashDedupSignature(signatures, config)
    match = dedup.MinhashDedupBuckets(signatures, matches, config=config)
    unite = dedup.MinhashDedupCluster(matches, clusters, config)
    drop = dedup.MinhashDedupFilter(clusters, JsonlWriter(f"{out}/removed"))
    first = stage("signatures", TASKS, reader, sign)
    second = stage("buckets", BUCKETS, match, depends=first)
    third = stage("clusters", 1, unite, depends=second)
    stage("filter", TASKS, reader, drop, JsonlWriter(f"{out}/kept"), depends=third).run()


if __name__ == "__main__":
    checked = "output/exercises/checked/07a/data"  # the checker has made it
    main(*(sys.argv[1:3] or (checked, "output/exercises/07a")))
