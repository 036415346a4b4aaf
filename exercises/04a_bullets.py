"""Exercise 04a, write: the domain with the most bullet lines.

Which domain writes in lists? For each domain take the mean, over its documents, of the share of
bullet lines in a document. LineStats measures this share: bullet_point_lines_ratio. Measure in two
tasks, merge, and find the domain with the highest mean in the merged statistics.

- The merged statistics go to OUT/merged.
- The answer goes to OUT/answer.json: {"domain": "www.example.com", "share": 0.123}

The executor that measures is there. Page 04 shows the merge, how to read a merged file, and, in
*What goes wrong*, which mean not to trust. Check it: python exercises/check.py 04a
"""

import sys

from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.readers import JsonlReader
from datatrove.pipeline.stats import LineStats


def main(data: str, out: str) -> None:
    measure = LocalPipelineExecutor(
        pipeline=[
            JsonlReader(data, glob_pattern="*.jsonl.gz"),
            LineStats(f"{out}/parts", groups_to_compute=["fqdn"]),
        ],
        tasks=2,
        workers=1,
        logging_dir=f"{out}/logs/measure",
    )
    measure.run()
    # Your part: merge OUT/parts into OUT/merged, find the domain, write OUT/answer.json.


if __name__ == "__main__":
    checked = "output/exercises/checked/04a/data"  # the checker has made it
    main(*(sys.argv[1:3] or (checked, "output/exercises/04a")))
