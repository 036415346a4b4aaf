"""Exercise 04b, mend: statistics of what is written.

The script takes the bullet lines out of all documents, keeps in the metadata of each what its lines
were, measures the lines, and writes the documents to OUT/kept. It ends with exit code 0. Open
OUT/merged/summary/bullet_point_lines_ratio/metric.json: how many bullet lines should be left?

Mend the script. The texts in OUT/kept are right: leave them so, and leave the old lines in the
metadata, under a name of your choice. The merged statistics in OUT/merged must be those of the
texts in OUT/kept.

Page 04, What goes wrong, helps. Check it: python exercises/check.py 04b
"""

import sys

from datatrove.data import Document
from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.filters import LambdaFilter
from datatrove.pipeline.readers import JsonlReader
from datatrove.pipeline.stats import LineStats, StatsMerger
from datatrove.pipeline.writers import JsonlWriter


def take_out_bullets(doc: Document) -> bool:
    doc.metadata["lines"] = doc.text.split("\n")
    doc.text = "\n".join(line for line in doc.metadata["lines"] if not line.startswith("- "))
    return doc.text != ""


def main(data: str, out: str) -> None:
    measure = LocalPipelineExecutor(
        pipeline=[
            JsonlReader(data, glob_pattern="*.jsonl.gz"),
            LambdaFilter(take_out_bullets),
            LineStats(f"{out}/parts", groups_to_compute=["summary"]),
            JsonlWriter(f"{out}/kept"),
        ],
        tasks=2,
        workers=1,
        logging_dir=f"{out}/logs/measure",
    )
    merger = StatsMerger(f"{out}/parts", f"{out}/merged")
    merge = LocalPipelineExecutor([merger], logging_dir=f"{out}/logs/merge", depends=measure)
    merge.run()


if __name__ == "__main__":
    main(*(sys.argv[1:3] or ("data/samples/c4", "output/exercises/04b")))
