"""Lesson 06: local to Slurm. What changes when the same pipeline runs on a cluster?

Lesson 01, unchanged in what it does to a document, as an array of Slurm jobs, one for each task.
Its twin differs from this script in no more than this:

- the executor, and the cluster's settings that it takes (`build`, `--set`, `--dry-run`, `--wait`);
- `--local` runs the pipeline here, as lesson 01 does, in place of `--workers`;
- documents may be read from and written to an object store (`--source`, `--output s3://...`).

    python examples_slurm/06_local_to_slurm.py --wait

From a login node, or on a cluster of one's own (examples_slurm/local_cluster.py up). Takes about
20 seconds there, no network, and 2 MB in output/06_local_to_slurm.
"""

from datatrove.data import Document
from datatrove.executor import LocalPipelineExecutor, SlurmPipelineExecutor
from datatrove.executor.base import PipelineExecutor
from datatrove.pipeline.filters import LambdaFilter, SamplerFilter
from datatrove.pipeline.filters.base_filter import BaseFilter
from datatrove.pipeline.readers import JsonlReader
from datatrove.pipeline.writers import JsonlWriter

from examples_common import Run, command_line, counters, open_run, options, table
from datatrove_kit.readers.readers import READERS
from datatrove_kit.guard.slurm import Cluster, cluster_settings

MIN_CHARS = 600
KEYWORDS = ("buy now", "click here", "free shipping")
SAMPLE_RATE = 0.5
SEED = 42
TASKS = 4


def is_long_enough(doc: Document) -> bool:
    return len(doc.text) >= MIN_CHARS


def sells_nothing(doc: Document) -> bool:
    text = doc.text.lower()
    return not any(keyword in text for keyword in KEYWORDS)


class ListFilter(BaseFilter):
    """A filter of your own: return True to keep, or False and a reason, which ends up in the
    statistics and in the excluded document's metadata."""

    name = "📋 Lists"

    def filter(self, doc: Document) -> bool | tuple[bool, str]:
        lines = doc.text.split("\n")
        if sum(line.startswith("- ") for line in lines) > len(lines) / 2:
            return False, "bullets"
        if not any(line.rstrip().endswith((".", "!", "?", '"')) for line in lines):
            return False, "no_sentence"
        return True


def pipeline(run: Run) -> list:
    def excluded(step: str) -> JsonlWriter:
        return JsonlWriter(f"{run.documents}/excluded/{step}")

    return [
        # The files are listed by name, so that nothing else in the folder is read by accident.
        READERS[run.data.format](run.data.folder, **run.reading),
        LambdaFilter(is_long_enough, exclusion_writer=excluded("1_short")),
        LambdaFilter(sells_nothing, exclusion_writer=excluded("2_keywords")),
        ListFilter(exclusion_writer=excluded("3_lists")),
        # Last, so that chance picks among good documents only. Every task starts from SEED.
        SamplerFilter(SAMPLE_RATE, seed=SEED, exclusion_writer=excluded("4_sampled")),
        JsonlWriter(f"{run.documents}/kept"),
    ]


def build(run: Run, cluster: Cluster) -> SlurmPipelineExecutor:
    return SlurmPipelineExecutor(
        pipeline(run),
        tasks=run.tasks,
        time=cluster.time,
        mem_per_cpu_gb=cluster.memory,
        job_name="filter",
        # On the shared disk even if documents go elsewhere: nodes write the completions here.
        logging_dir=run.logs(),
        slurm_logs_folder=run.logs("slurm_logs"),
        # Partition, qos, account, array size, and the command that activates Python on a node.
        **cluster.arguments(),
    )


def show(run: Run, executor: PipelineExecutor, stats: list) -> None:
    read, short, keywords, lists, sampled, _ = stats
    table(
        "What each step kept",
        ["step", "documents in", "dropped", "kept"],
        [
            ["read", "", "", read["documents"]],
            [f"at least {MIN_CHARS} characters", *flow(short)],
            ["sells nothing", *flow(keywords)],
            ["is no list", *flow(lists)],
            [f"sampled at {SAMPLE_RATE}, seed {SEED}", *flow(sampled)],
        ],
    )
    reasons = [[r[8:], n] for r, n in sorted(lists.items()) if r.startswith("dropped_")]
    table("Why the filter of our own dropped", ["reason", "documents"], reasons)
    files = list(run.data.files)
    tasks = [counters(executor, rank) for rank in range(run.tasks)]
    table(
        "What each task did",
        ["task", "files", "read", "kept"],
        [
            [rank, "  ".join(files[rank :: run.tasks]), steps[0]["documents"], steps[-1]["total"]]
            for rank, steps in enumerate(tasks)
        ],
    )
    print("\nOne document on its way\n")
    doc = next(JsonlReader(f"{run.documents}/kept")())
    print(f"id        {doc.id}")
    print(f"text      {doc.text[:70]}...")
    doc.metadata["file_path"] = "(where it was read)"
    for key, value in doc.metadata.items():
        print(f"metadata  {key}: {str(value)[:60]}")


def flow(count: dict) -> list[int]:
    return [count["total"], count["dropped"], count["forwarded"]]


def main(
    source: options.Source = "sample",
    limit: options.Limit = None,
    tasks: options.Tasks = TASKS,
    output: options.Output = None,
    resume: options.Resume = False,
    text_key: options.TextKey = "text",
    settings: options.Settings = None,
    dry_run: options.DryRun = False,
    wait: options.Wait = False,
    local: options.Local = False,
) -> list | None:
    """Filter documents by length, keywords, form and chance, on Slurm."""
    with open_run(__file__, locals(), sample="c4", remote_output=True) as run:
        if local:
            executor = LocalPipelineExecutor(pipeline(run), run.tasks, logging_dir=run.logs())
            stats = run.execute(executor)
        else:
            cluster = cluster_settings(settings)
            executor = build(run, cluster)
            stats = run.submit(executor, cluster, wait, dry_run)
        if stats:
            show(run, executor, stats)
    return stats


if __name__ == "__main__":
    command_line(main)
