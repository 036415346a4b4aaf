"""Exercise 02b, mend: the pages of a newsletter.

DATA has a WARC file with 60 pages of a newsletter. Eight stories stand at five addresses each.
Twenty other stories stand at one address, and these pages end with a note of the editors ("This
letter is written by its readers ..."). The script extracts the texts and ends with exit code 0.
Count the pages that it reads, and the documents in OUT/kept. Then look for the note in them.

Mend the script. Each of the 60 pages must be a document in OUT/kept, with every paragraph of its
page. Which of the five copies of a story to keep is decided later, in a step of its own.

Page 02, What goes wrong, helps. Check it: python exercises/check.py 02b
"""

import sys

import pylibmagic  # noqa: F401  (brings libmagic, which WarcReader needs, where there is none)
from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.extractors import Trafilatura
from datatrove.pipeline.readers import WarcReader
from datatrove.pipeline.writers import JsonlWriter


def main(data: str, out: str) -> None:
    executor = LocalPipelineExecutor(
        pipeline=[
            WarcReader(data, glob_pattern="*.warc.gz"),
            Trafilatura(favour_precision=True, timeout=30),
            JsonlWriter(f"{out}/kept"),
        ],
        tasks=1,
        logging_dir=f"{out}/logs",
    )
    executor.run()


if __name__ == "__main__":
    checked = "output/exercises/checked/02b/data"  # the checker has made it
    main(*(sys.argv[1:3] or (checked, "output/exercises/02b")))
