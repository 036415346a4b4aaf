"""Copies are removed by three executors, each of which depends on the one before."""

import sys

from datatrove.data import Document
from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.dedup import ExactDedupFilter, ExactDedupSignature, ExactFindDedups
from datatrove.pipeline.dedup.exact_dedup import ExactDedupConfig
from datatrove.pipeline.filters import LambdaFilter
from datatrove.pipeline.readers import JsonlReader
from datatrove.pipeline.writers import JsonlWriter
from going_wrong import fault

from datatrove_kit import guard

TASKS = 4


def any_document(doc: Document) -> bool:
    fault(doc.id)
    return True


def text_of(doc: Document) -> str:
    return doc.text


def main(data: str, out: str, how: dict) -> None:
    config = ExactDedupConfig(content_getter=text_of)

    def stage(name: str, pipeline: list, tasks: int, workers: int, depends=None):
        return LocalPipelineExecutor(
            pipeline, tasks, workers, logging_dir=f"{out}/logs/{name}", depends=depends
        )

    signatures = stage(
        "signatures",
        [JsonlReader(data), ExactDedupSignature(f"{out}/signatures", config)],
        TASKS,
        2,
    )
    finder = ExactFindDedups(f"{out}/signatures", f"{out}/found", config)
    found = stage("found", [finder], 1, 1, signatures)
    kept = stage(
        "kept",
        [
            JsonlReader(data),
            ExactDedupFilter(f"{out}/found", config, JsonlWriter(f"{out}/dropped")),
            LambdaFilter(any_document),
            JsonlWriter(f"{out}/kept"),
        ],
        TASKS,
        1,
        found,
    )
    print([dict(count) for count in guard.run(kept, out, **how)[-1]])


if __name__ == "__main__":
    main(*sys.argv[1:3], {flag.lstrip("-"): True for flag in sys.argv[3:]})
