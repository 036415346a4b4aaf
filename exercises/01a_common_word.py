"""Exercise 01a, write: a filter on the share of the most frequent word.

Some pages say one word again and again, so that a search engine finds them. Write a filter that
drops a document when its most frequent word makes up more than MAX_SHARE of all its words.

- Words are what stands between blanks and line ends, in lower case: "Kettle" and "kettle" are one
  word, "kettle" and "kettle," are two.
- A document that is dropped for its most frequent word gets the reason "common_word".
- A document without any word (its text is blanks alone) is dropped with the reason "no_words".
- What is dropped goes to OUT/dropped, the rest to OUT/kept.

Page 01 shows a filter with reasons. Check it: python exercises/check.py 01a
"""

import sys

from datatrove.data import Document
from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.filters.base_filter import BaseFilter
from datatrove.pipeline.readers import JsonlReader
from datatrove.pipeline.writers import JsonlWriter

MAX_SHARE = 0.15


class CommonWordFilter(BaseFilter):
    name = "🔁 Common word"

    def filter(self, doc: Document) -> bool | tuple[bool, str]:
        # Your part: True keeps the document, False and a reason drop it.
        return True


def main(data: str, out: str) -> None:
    executor = LocalPipelineExecutor(
        pipeline=[
            JsonlReader(data, glob_pattern="*.jsonl.gz"),
            CommonWordFilter(JsonlWriter(f"{out}/dropped")),
            JsonlWriter(f"{out}/kept"),
        ],
        tasks=2,
        workers=1,
        logging_dir=f"{out}/logs",
    )
    executor.run()


if __name__ == "__main__":
    checked = "output/exercises/checked/01a/data"  # the checker has made it
    main(*(sys.argv[1:3] or (checked, "output/exercises/01a")))
