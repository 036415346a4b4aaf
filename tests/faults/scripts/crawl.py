"""The text of web pages, which Trafilatura extracts in a process of its own."""

import sys

from datatrove.data import Document
from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.extractors import Trafilatura
from datatrove.pipeline.filters import LambdaFilter
from datatrove.pipeline.readers import WarcReader
from datatrove.pipeline.writers import JsonlWriter
from going_wrong import fault

from datatrove_kit import guard

TIMEOUT_SECONDS = 60


def any_page(doc: Document) -> bool:
    fault(doc.metadata["url"])
    return True


def main(data: str, out: str, how: dict) -> None:
    executor = LocalPipelineExecutor(
        [
            WarcReader(data),
            Trafilatura(timeout=TIMEOUT_SECONDS, deduplicate=False),
            LambdaFilter(any_page),
            JsonlWriter(f"{out}/kept"),
        ],
        tasks=2,
        workers=2,
        logging_dir=f"{out}/logs",
    )
    print([dict(count) for count in guard.run(executor, out, **how)[0]])


if __name__ == "__main__":
    main(*sys.argv[1:3], {flag.lstrip("-"): True for flag in sys.argv[3:]})
