"""Lesson 06: local to Slurm. What changes when the same pipeline runs on a cluster?

    python examples_slurm/06_local_to_slurm.py --wait

On a login node, or on a cluster of your own (examples_slurm/local_cluster.py up): about 20 seconds
there, no network, 2 MB in output/06_local_to_slurm. The page: spec/06_local_to_slurm.md
"""

import environment  # noqa: F401  (says what to activate, where DataTrove is missing)

import dill
from datatrove.data import Document
from datatrove.executor import LocalPipelineExecutor, SlurmPipelineExecutor
from datatrove.executor.base import PipelineExecutor
from datatrove.pipeline.filters import LambdaFilter, SamplerFilter
from datatrove.pipeline.filters.base_filter import BaseFilter
from datatrove.pipeline.readers import JsonlReader
from datatrove.pipeline.writers import JsonlWriter

from examples_common import check, counts, funnel, lesson, slurm_toml, wait_for

# A step takes along the constants, functions and imports of this script that it uses. Without this
# line each task ends with "NameError: name 'MIN_CHARS' is not defined" on its node.
dill.settings["recurse"] = True

MIN_CHARS = 600
KEYWORDS = ("buy now", "click here", "free shipping")
SAMPLE_RATE = 0.5
SEED = 42
TASKS = 4
WORKERS = 2
DOCUMENTS = ""  # where documents go instead of the output folder, such as "s3://bucket/out"


def sells_nothing(doc: Document) -> bool:
    text = doc.text.lower()
    return not any(keyword in text for keyword in KEYWORDS)


class ListFilter(BaseFilter):
    """A filter of your own: True keeps a document, False and a reason drop it."""

    name = "📋 Lists"

    def filter(self, doc: Document) -> bool | tuple[bool, str]:
        lines = doc.text.split("\n")
        if sum(line.startswith("- ") for line in lines) > len(lines) / 2:
            return False, "bullets"
        if not any(line.rstrip().endswith((".", "!", "?", '"')) for line in lines):
            return False, "no_sentence"
        return True


def steps(data: str, out: str) -> list:
    """The pipeline of lesson 01, to the letter."""
    dropped = f"{out}/dropped"
    return [
        # Without a pattern the reader would take a README in the folder for documents.
        JsonlReader(data, glob_pattern="*.jsonl*"),
        LambdaFilter(
            lambda doc: len(doc.text) >= MIN_CHARS,
            exclusion_writer=JsonlWriter(f"{dropped}/1_short"),
        ),
        LambdaFilter(sells_nothing, exclusion_writer=JsonlWriter(f"{dropped}/2_keywords")),
        ListFilter(exclusion_writer=JsonlWriter(f"{dropped}/3_lists")),
        # Last, so that chance picks among good documents only.
        SamplerFilter(SAMPLE_RATE, SEED, exclusion_writer=JsonlWriter(f"{dropped}/4_sampled")),
        JsonlWriter(f"{out}/kept"),
    ]


def main(data: str, out: str, local: bool = False, wait: bool = False) -> None:
    # Logs stay in the output folder, on the disk that all nodes share, wherever documents go.
    logs, pipeline = f"{out}/logs", steps(data, DOCUMENTS or out)
    if local:
        executor = LocalPipelineExecutor(pipeline, tasks=TASKS, workers=WORKERS, logging_dir=logs)
    else:
        executor = SlurmPipelineExecutor(
            pipeline=pipeline,
            tasks=TASKS,
            job_name="filter",
            logging_dir=logs,
            slurm_logs_folder=f"{out}/slurm_logs",
            **slurm_toml(),  # partition, time and what else your cluster asks for
        )
    executor.run()  # on Slurm this submits the tasks and comes back at once
    if not (local or wait or executor.job_id == -1):  # -1: all tasks were complete before
        print(f"submitted: job {executor.job_id}. Once it has ended: --resume --wait")
        return
    if not local:
        wait_for(executor)
    funnel(executor)
    show(executor)
    check(executor)


def show(executor: PipelineExecutor) -> None:
    print("\nWhat each task did, on whichever node\n")
    reader = executor.pipeline[0]
    for rank in range(TASKS):
        files = reader.data_folder.get_shard(rank, TASKS, glob_pattern=reader.glob_pattern)
        read, *_, kept = counts(executor, rank)  # from logs/stats/00000.json and its neighbours
        print(f"task {rank}  {' '.join(files)}  {read['documents']} read, {kept['total']} kept")


if __name__ == "__main__":
    lesson(main, sample="c4")
