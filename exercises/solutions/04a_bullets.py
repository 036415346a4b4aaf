"""Exercise 04a, write: the domain with the most bullet lines.

Which domain writes in lists? For each domain take the mean, over its documents, of the share of
bullet lines in a document. LineStats measures this share: bullet_point_lines_ratio. Measure in two
tasks, merge, and find the domain with the highest mean in the merged statistics.

- The merged statistics go to OUT/merged.
- The answer goes to OUT/answer.json: {"domain": "www.example.com", "share": 0.123}

The executor that measures is there. Page 04 shows the merge, how to read a merged file, and, in
*What goes wrong*, which mean not to trust. Check it: python exercises/check.py 04a
"""

import json
import sys
from pathlib import Path

from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.readers import JsonlReader
from datatrove.pipeline.stats import LineStats, StatsMerger
from datatrove.utils.stats import MetricStatsDict


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
    merger = StatsMerger(f"{out}/parts", f"{out}/merged")
    merge = LocalPipelineExecutor([merger], logging_dir=f"{out}/logs/merge", depends=measure)
    merge.run()
    share, lines = (
        MetricStatsDict.from_dict(
            json.loads(Path(out, "merged/fqdn", name, "metric.json").read_text())
        )
        for name in ("bullet_point_lines_ratio", "n_lines")
    )
    # A part in which no line was a bullet says 0, and not of how many documents: n of n_lines does.
    means = {domain: share[domain].total / lines[domain].n for domain in lines}
    domain = max(means, key=means.get)
    answer = {"domain": domain, "share": means[domain]}
    Path(out, "answer.json").write_text(json.dumps(answer))


if __name__ == "__main__":
    checked = "output/exercises/checked/04a/data"  # the checker has made it
    main(*(sys.argv[1:3] or (checked, "output/exercises/04a")))
