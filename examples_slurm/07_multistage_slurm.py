"""Lesson 07: many stages on Slurm. Which documents are nearly the same, and which will you miss?

Removes near duplicates with MinHash, in four stages that are four Slurm jobs, each waiting for the
one before. Prints what each stage did, how many of the planted near duplicates were found and how
many theory expects, and draws both.

    python examples_slurm/07_multistage_slurm.py --wait

From a login node, or on a cluster of one's own (examples_slurm/local_cluster.py up). Takes about
30 seconds there, no network, and 3 MB in output/07_multistage_slurm. With --local the same stages
run here; with --compare FILE FILE it compares two texts of your own, and submits nothing.
"""

from datatrove.executor import LocalPipelineExecutor, SlurmPipelineExecutor
from datatrove.executor.base import PipelineExecutor
from datatrove.pipeline import dedup
from datatrove.pipeline.dedup.minhash import MinhashConfig
from datatrove.pipeline.writers import JsonlWriter

from examples_common import LessonError, Run, command_line, counters, open_run, options, table
from examples_common.near_duplicates import compare_texts, draw_recall, judge, largest_cluster
from datatrove_kit.readers.readers import READERS
from datatrove_kit.guard.slurm import Cluster, cluster_settings

TASKS = 4
BUCKETS = 14
HASHES = 8
TASKS_PER_BUCKET = 1
MINHASH = MinhashConfig(n_grams=5, num_buckets=BUCKETS, hashes_per_bucket=HASHES)
# Signatures read at a time from each file; with the default of 5, remote storage is slow.
LINES = 1000
LIMITS = {  # GB of memory and time for each task
    "signatures": (1, "00:20:00"),
    "buckets": (1, "00:10:00"),
    "clusters": (2, "00:20:00"),
    "filter": (1, "00:10:00"),
}


def stages(run: Run) -> dict[str, tuple[int, list]]:
    signatures, matches = f"{run.folder}/signatures", f"{run.folder}/matches"
    clusters, removed = f"{run.folder}/clusters", JsonlWriter(f"{run.folder}/removed")
    # A document is known by its task and its place there. The first and the last stage therefore
    # share their reader and the number of tasks, or other documents than the duplicates would go.
    read = READERS[run.data.format](run.data.folder, **run.reading)
    sign = dedup.MinhashDedupSignature(signatures, MINHASH)
    match = dedup.MinhashDedupBuckets(signatures, matches, config=MINHASH, lines_to_buffer=LINES)
    unite = dedup.MinhashDedupCluster(matches, clusters, MINHASH, True, lines_to_buffer=LINES)
    drop = dedup.MinhashDedupFilter(clusters, removed, True, lines_to_buffer=LINES)
    return {
        "signatures": (run.tasks, [read, sign]),
        "buckets": (BUCKETS * TASKS_PER_BUCKET, [match]),
        # One task, which sees the matches of all: A is like B, B like C, so the three are one.
        "clusters": (1, [unite]),
        "filter": (run.tasks, [read, drop, JsonlWriter(f"{run.folder}/kept")]),
    }


def build(run: Run, cluster: Cluster | None) -> list[PipelineExecutor]:
    chain: list[PipelineExecutor] = []
    for name, (tasks, pipeline) in stages(run).items():
        same = {"logging_dir": run.logs(f"logs/{name}"), "depends": chain[-1] if chain else None}
        if not cluster:
            chain.append(LocalPipelineExecutor(pipeline, tasks, workers=2, **same))
            continue
        memory, time = LIMITS[name]
        chosen = cluster.model_fields_set  # --set holds for all four stages
        executor = SlurmPipelineExecutor(
            pipeline,
            tasks,
            time=cluster.time if "time" in chosen else time,
            mem_per_cpu_gb=cluster.memory if "memory" in chosen else memory,
            job_name=name,
            slurm_logs_folder=run.logs(f"slurm_logs/{name}"),
            **same,
            **cluster.arguments(),
        )
        chain.append(executor)
    return chain


def check(chain: list[PipelineExecutor]) -> None:
    """DataTrove would find out after hours of stage 1, or never and remove other documents."""
    sign, match, unite, drop = chain
    if drop.tasks != sign.tasks or drop.pipeline[0] is not sign.pipeline[0]:
        raise LessonError("the stages signatures and filter must share their reader and tasks.")
    if match.tasks % BUCKETS or unite.tasks != 1:
        raise LessonError(f"buckets takes a multiple of {BUCKETS} tasks, clusters takes one.")
    if any(e.pipeline[-1].config is not MINHASH for e in (sign, match, unite)):
        raise LessonError("the stages before filter must share MINHASH.")


def probability(similarity: float) -> float:
    """Chance that two documents of this Jaccard similarity have a bucket in common."""
    return 1 - (1 - similarity**HASHES) ** BUCKETS


def show(run: Run, chain: list[PipelineExecutor]) -> None:
    (_, signed), (matched,), (united,), (_, dropped, kept) = map(counters, chain)
    did = [
        f"{signed['total']} documents signed",
        f"{matched['total_matches']} matches",
        f"{united['duplicates']} documents in {united['clusters']} clusters",
        f"{dropped['dropped']} documents removed, {kept['total']} kept",
    ]
    rows = [[n, e.tasks, d] for n, e, d in zip(LIMITS, chain, did, strict=True)]
    table("The four stages", ["stage", "tasks", "what it did"], rows)
    table("The largest cluster", ["document", "similarity", "fate"], largest_cluster(run))
    if run.on_sample:
        recall, kinds = judge(run, probability)
        headers = ["planted similarity", "pairs", "mean", "found %", "expected %", "give or take"]
        table("Planted pairs in the same cluster", headers, recall)
        table("What was removed", ["kind", "read", "kept", "removed", "wrongly removed"], kinds)
        draw_recall(run.folder / "recall.png", recall, probability)


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
    compare: options.Compare = None,
) -> list | None:
    """Remove near duplicates in four stages, on Slurm."""
    if compare:
        rows = compare_texts(compare, MINHASH, probability)
        return table("Two texts", ["what", "value"], rows)
    # Recorded, since the stages of a resumed run would not fit together if these had changed.
    fixed = {"minhash": repr(MINHASH), "tasks_per_bucket": TASKS_PER_BUCKET}
    with open_run(__file__, locals() | fixed, sample="near") as run:
        cluster = None if local else cluster_settings(settings)
        check(chain := build(run, cluster))
        if local:
            stats = [run.execute(executor) for executor in chain][-1]
        else:
            stats = run.submit(chain[-1], cluster, wait, dry_run)
        if stats:
            show(run, chain)
    return stats


if __name__ == "__main__":
    command_line(main)
