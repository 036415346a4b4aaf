"""Exercise 07b, mend: near duplicates in fewer files.

The input holds 200 stories in 8 files. Some stories are there twice or three times: in capitals,
with other blanks, or with other marks. To MinHash such copies are one text. The script keeps one
text of each story in OUT/kept, and writes the copies to OUT/removed. It ends with exit code 0.
Count the stories in OUT/kept: the id of a text, such as story-017-b, is its story and a letter.

Mend the script. Each story must be in OUT/kept exactly once, in whichever of its copies.

Page 07, What goes wrong, helps. Check it: python exercises/check.py 07b
"""

import sys

from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline import dedup
from datatrove.pipeline.readers import JsonlReader
from datatrove.pipeline.writers import JsonlWriter

TASKS = 4
MINHASH = dedup.minhash.MinhashConfig(num_buckets=14, hashes_per_bucket=8)


def main(data: str, out: str) -> None:
    def stage(name: str, tasks: int, *pipeline, depends=None) -> LocalPipelineExecutor:
        logs = f"{out}/logs/{name}"
        return LocalPipelineExecutor(pipeline, tasks, 1, logging_dir=logs, depends=depends)

    reader = JsonlReader(data, glob_pattern="*.jsonl.gz")
    signatures, matches, clusters = (f"{out}/{n}" for n in ("signatures", "matches", "clusters"))
    sign = dedup.MinhashDedupSignature(signatures, MINHASH)
    match = dedup.MinhashDedupBuckets(signatures, matches, config=MINHASH)
    unite = dedup.MinhashDedupCluster(matches, clusters, MINHASH)
    drop = dedup.MinhashDedupFilter(clusters, JsonlWriter(f"{out}/removed"))
    first = stage("signatures", TASKS, reader, sign)
    second = stage("buckets", 14, match, depends=first)
    third = stage("clusters", 1, unite, depends=second)
    # Two files are enough for what is left.
    last = stage("filter", 2, reader, drop, JsonlWriter(f"{out}/kept"), depends=third)
    last.run()


if __name__ == "__main__":
    checked = "output/exercises/checked/07b/data"  # the checker has made it
    main(*(sys.argv[1:3] or (checked, "output/exercises/07b")))
