"""Exercise 05a, write: keep the newest copy.

Some texts are in the data more than once, with different dates in the metadata field `timestamp`,
for example "2024-05-11T05:08:00Z". All dates are of May 2024, to the minute. Of each text keep the
document with the newest timestamp, in OUT/kept, and no other.

The three stages are there. So far the first copy of a text stays. A priority is a whole number from
1 to 65535. You may also put a step of your own in place of the stages.

Page 05 shows a priority. Check it: python exercises/check.py 05a
"""

import sys
from datetime import datetime, timedelta

from datatrove.data import Document
from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.dedup import (
    ExactDedupConfig,
    ExactDedupFilter,
    ExactDedupSignature,
    ExactFindDedups,
)
from datatrove.pipeline.readers import JsonlReader
from datatrove.pipeline.writers import JsonlWriter


def content(doc: Document) -> str:
    return doc.text


def newest_first(doc: Document) -> int:
    time = datetime.strptime(doc.metadata["timestamp"], "%Y-%m-%dT%H:%M:%SZ")
    return (time - datetime(2024, 5, 1)) // timedelta(minutes=1) + 1  # at most 44,640


def main(data: str, out: str) -> None:
    config = ExactDedupConfig(content_getter=content, document_priority=newest_first)
    read = JsonlReader(data, glob_pattern="*.jsonl.gz")
    sign = [read, ExactDedupSignature(f"{out}/signatures", config)]
    find = [ExactFindDedups(f"{out}/signatures", f"{out}/duplicates", config)]
    drop = [read, ExactDedupFilter(f"{out}/duplicates", config), JsonlWriter(f"{out}/kept")]
    LocalPipelineExecutor(sign, tasks=2, workers=1, logging_dir=f"{out}/logs/1").run()
    LocalPipelineExecutor(find, tasks=1, workers=1, logging_dir=f"{out}/logs/2").run()
    LocalPipelineExecutor(drop, tasks=2, workers=1, logging_dir=f"{out}/logs/3").run()


if __name__ == "__main__":
    main(*(sys.argv[1:3] or ("data/samples/exact", "output/exercises/05a")))
