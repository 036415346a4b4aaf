"""Exercise 08a, write: pages that their hosts have withdrawn.

The script is a small part of lesson 08: a quality filter, then MinHash. Add a step that drops the
pages of the hosts in WITHDRAWN, and of hosts below them: example.net withdraws www.example.net as
well, and does not withdraw myexample.net. What it drops goes to OUT/removed/withdrawn.

- Many pages have a copy on another host. A page must stay in OUT/dataset, once, if a host that has
  not withdrawn it still has it. Put the step where no such page is lost.
- Put it where it saves the most work: what is withdrawn needs no other step.
- Write what it costs to OUT/cost.json: {"dropped": documents, "seconds": of all tasks together}, as
  the statistics in OUT/logs say.

Page 08 says where a step belongs that needs no text. Check it: python exercises/check.py 08a
"""

import json
import sys
from pathlib import Path
from urllib.parse import urlsplit

from datatrove.data import Document
from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline import dedup
from datatrove.pipeline.filters import GopherQualityFilter, LambdaFilter
from datatrove.pipeline.readers import JsonlReader
from datatrove.pipeline.writers import JsonlWriter

WITHDRAWN = ("archive.example.net", "letters.example.com")
TASKS, BUCKETS = 2, 5
MINHASH = dedup.minhash.MinhashConfig(num_buckets=BUCKETS, hashes_per_bucket=8)


def is_offered(doc: Document) -> bool:
    host = urlsplit(doc.metadata["url"]).hostname
    return not any(host == one or host.endswith(f".{one}") for one in WITHDRAWN)


def main(data: str, out: str) -> None:
    def stage(name: str, tasks: int, *pipeline, depends=None) -> LocalPipelineExecutor:
        logs = f"{out}/logs/{name}"
        return LocalPipelineExecutor(pipeline, tasks, 1, logging_dir=logs, depends=depends)

    crawl, filtered = (JsonlReader(f, glob_pattern="*.jsonl.gz") for f in (data, f"{out}/filtered"))
    signatures, matches, clusters = (f"{out}/{n}" for n in ("signatures", "matches", "clusters"))
    offered = LambdaFilter(is_offered, JsonlWriter(f"{out}/removed/withdrawn"))
    good = GopherQualityFilter(exclusion_writer=JsonlWriter(f"{out}/removed/quality"))
    sign = dedup.MinhashDedupSignature(signatures, MINHASH)
    match = dedup.MinhashDedupBuckets(signatures, matches, config=MINHASH)
    unite = dedup.MinhashDedupCluster(matches, clusters, MINHASH)
    unique = dedup.MinhashDedupFilter(clusters, JsonlWriter(f"{out}/removed/minhash"))

    base = stage("base", TASKS, crawl, offered, good, JsonlWriter(f"{out}/filtered"))
    first = stage("signatures", TASKS, filtered, sign, depends=base)
    second = stage("buckets", BUCKETS, match, depends=first)
    third = stage("clusters", 1, unite, depends=second)
    last = stage("final", TASKS, filtered, unique, JsonlWriter(f"{out}/dataset"), depends=third)
    last.run()

    step = json.loads(Path(f"{out}/logs/base/stats.json").read_text())[1]
    cost = {"dropped": step["stats"]["dropped"], "seconds": step["time_stats"]["total"]}
    Path(f"{out}/cost.json").write_text(json.dumps(cost))


if __name__ == "__main__":
    checked = "output/exercises/checked/08a/data"  # the checker has made it
    main(*(sys.argv[1:3] or (checked, "output/exercises/08a")))
