"""Exercise 02a, write: keep the good German pages.

The input holds the texts of pages in several languages. Keep the good German pages in OUT/kept, and
drop the rest. A German page is good here when

- it is prose: it has some of the words that every German text has, and
- it has at least 40 words. German says in 40 words what takes 50 in English, the limit of Gopher.

Pages in other languages, shorter pages, and pages that are a heap of search words must go. The
language model is in DATA. Page 02 shows both filters, and *Try it* says what German needs.

Check it: python exercises/check.py 02a
"""

import sys

from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.filters import GopherQualityFilter, LanguageFilter
from datatrove.pipeline.readers import JsonlReader
from datatrove.pipeline.writers import JsonlWriter


def main(data: str, out: str) -> None:
    # Your part: the language, the thresholds, and the stop words.
    language = LanguageFilter(["en"])
    quality = GopherQualityFilter()
    language.model.MODEL_URL = f"{data}/lid.176.ftz"
    executor = LocalPipelineExecutor(
        pipeline=[
            JsonlReader(data, glob_pattern="*.jsonl.gz"),
            language,
            quality,
            JsonlWriter(f"{out}/kept"),
        ],
        tasks=2,
        workers=1,
        logging_dir=f"{out}/logs",
    )
    executor.run()


if __name__ == "__main__":
    checked = "output/exercises/checked/02a/data"  # the checker has made it
    main(*(sys.argv[1:3] or (checked, "output/exercises/02a")))
