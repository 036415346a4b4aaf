"""Exercise 05b, mend: copies that stay.

The script removes exact duplicates in three stages. It ends with exit code 0. Count the different
texts of the input, and the documents in OUT/kept.

Mend the script. In OUT/kept there must be each text of the input once. (Which of its copies stays
does not matter here.) The finders must share the work: data that is larger needs more than one.

Page 05, What goes wrong, helps. Check it: python exercises/check.py 05b
"""

import sys

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

TASKS = 4
FINDERS = 3


def content(doc: Document) -> str:
    return doc.text


def main(data: str, out: str) -> None:
    config = ExactDedupConfig(content_getter=content)
    read = JsonlReader(data, glob_pattern="*.jsonl.gz")
    sign = [read, ExactDedupSignature(f"{out}/signatures", config, FINDERS)]
    find = [ExactFindDedups(f"{out}/signatures", f"{out}/duplicates", config)]
    drop = [read, ExactDedupFilter(f"{out}/duplicates", config), JsonlWriter(f"{out}/kept")]
    LocalPipelineExecutor(sign, tasks=TASKS, workers=1, logging_dir=f"{out}/logs/1").run()
    LocalPipelineExecutor(find, tasks=FINDERS, workers=1, logging_dir=f"{out}/logs/2").run()
    LocalPipelineExecutor(drop, tasks=TASKS, workers=1, logging_dir=f"{out}/logs/3").run()


if __name__ == "__main__":
    main(*(sys.argv[1:3] or ("data/samples/exact", "output/exercises/05b")))
