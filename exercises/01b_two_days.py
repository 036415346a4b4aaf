"""Exercise 01b, mend: the documents of two days.

The files of a data set come in two parts, on Monday and on Tuesday. The script keeps the documents
of at least MIN_CHARS characters, of both days, in OUT/kept. It ends with exit code 0, and its log
has no error. Count the documents that it should keep, and those that it has kept.

Mend the script. All documents of both days must be in OUT/kept, or in folders below it, each once.
Two runs must stay two runs: on Monday nobody has Tuesday's files.

Page 01, What goes wrong, helps. Check it: python exercises/check.py 01b
"""

import sys

from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.filters import LambdaFilter
from datatrove.pipeline.readers import JsonlReader
from datatrove.pipeline.writers import JsonlWriter

MIN_CHARS = 600
DAYS = {"monday": "c4-0000[0-3].jsonl.gz", "tuesday": "c4-0000[4-7].jsonl.gz"}


def main(data: str, out: str) -> None:
    for day, files in DAYS.items():
        executor = LocalPipelineExecutor(
            pipeline=[
                JsonlReader(data, glob_pattern=files),
                LambdaFilter(lambda doc: len(doc.text) >= MIN_CHARS),
                JsonlWriter(f"{out}/kept"),
            ],
            tasks=2,
            workers=1,
            logging_dir=f"{out}/logs",
        )
        executor.run()
        print(day, "is done")


if __name__ == "__main__":
    main(*(sys.argv[1:3] or ("data/samples/c4", "output/exercises/01b")))
