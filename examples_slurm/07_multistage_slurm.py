"""Lesson 07: many stages on Slurm. Which documents are nearly the same, and which will you miss?

    python examples_slurm/07_multistage_slurm.py --wait

On a login node, or on a cluster of your own (examples_slurm/local_cluster.py up): about 30 seconds
there, no network, 3 MB in output/07_multistage_slurm. The page: spec/07_multistage_slurm.md
"""

import environment  # noqa: F401  (says what to activate, where DataTrove is missing)

import json
from pathlib import Path

import numpy as np
from datatrove.executor import LocalPipelineExecutor, SlurmPipelineExecutor
from datatrove.pipeline import dedup
from datatrove.pipeline.readers import JsonlReader
from datatrove.pipeline.writers import JsonlWriter

from examples_common import chart, check, counts, lesson, slurm_toml, wait_for

TASKS = 4
BUCKETS = 14
HASHES = 8
FOLDERS = ""  # where all but the logs goes instead of the output folder, such as "s3://bucket/out"
MINHASH = dedup.minhash.MinhashConfig(n_grams=5, num_buckets=BUCKETS, hashes_per_bucket=HASHES)
LIMITS = {  # of one task of each stage
    "signatures": {"mem_per_cpu_gb": 1, "time": "00:20:00"},
    "buckets": {"mem_per_cpu_gb": 1, "time": "00:10:00"},
    "clusters": {"mem_per_cpu_gb": 2, "time": "00:20:00"},
    "filter": {"mem_per_cpu_gb": 1, "time": "00:10:00"},
}


def main(data: str, out: str, local: bool = False, wait: bool = False, compare=None) -> None:
    if compare:
        return show_two_texts(*compare)

    def stage(name: str, tasks: int, pipeline: list, depends=None):
        shared = {"logging_dir": f"{out}/logs/{name}", "depends": depends}
        if local:
            return LocalPipelineExecutor(pipeline, tasks, workers=2, **shared)
        shared |= {"job_name": name, "slurm_logs_folder": f"{out}/slurm_logs/{name}"}
        return SlurmPipelineExecutor(pipeline, tasks, **shared, **(slurm_toml() | LIMITS[name]))

    at = FOLDERS or out
    # The first and the last stage share reader and tasks: a document is known by its place there.
    reader = JsonlReader(data, glob_pattern="*.jsonl*")
    sigs, matches, clusters = f"{at}/signatures", f"{at}/matches", f"{at}/clusters"
    match = dedup.MinhashDedupBuckets(sigs, matches, config=MINHASH)
    unite = dedup.MinhashDedupCluster(matches, clusters, MINHASH, save_cluster_id=True)
    drop = dedup.MinhashDedupFilter(clusters, JsonlWriter(f"{at}/removed"), load_cluster_ids=True)
    first = stage("signatures", TASKS, [reader, dedup.MinhashDedupSignature(sigs, MINHASH)])
    second = stage("buckets", BUCKETS, [match], depends=first)
    third = stage("clusters", 1, [unite], depends=second)  # one task, which sees all matches
    last = stage("filter", TASKS, [reader, drop, JsonlWriter(f"{at}/kept")], depends=third)
    last.run()  # and the stages before, which it depends on
    stages = [first, second, third, last]
    if not (local or wait or last.job_id == -1):  # -1: all tasks were complete before
        jobs = ", ".join(str(each.job_id) for each in stages if each.job_id != -1)
        print(f"submitted: jobs {jobs}. Once they have ended: --resume --wait")
        return
    if not local:
        wait_for(*stages)
    (_, signed), (matched,), (united,), (_, dropped, kept) = map(counts, stages)
    print(f"signatures  {signed['total']} documents signed")
    print(f"buckets     {matched['total_matches']} matches")
    print(f"clusters    {united['duplicates']} documents in {united['clusters']} clusters")
    print(f"filter      {dropped['dropped']} documents removed, {kept['total']} kept")
    if (manifest := Path(f"{data}.manifest.jsonl")).exists() and "variant" in manifest.read_text():
        show_recall(manifest, at, out)
    check(*stages)


def probability(similarity: float) -> float:
    """Chance that two documents of this Jaccard similarity have a bucket in common."""
    return 1 - (1 - similarity**HASHES) ** BUCKETS


def show_recall(manifest: Path, at: str, out: str) -> None:
    docs = JsonlReader(at, glob_pattern="*/*.jsonl.gz")()  # of kept/ and removed/
    cluster = {doc.metadata["url"]: doc.metadata.get("minhash_cluster_id", -1) for doc in docs}
    planted = [json.loads(line) for line in manifest.read_text("utf-8").splitlines()]
    base = {text["cluster"]: cluster[text["url"]] for text in planted if text["kind"] == "base"}
    pairs, recall = {}, {"expected": {}, "found": {}}
    for text in planted:
        if text["kind"] == "variant":
            hit = cluster[text["url"]] == base[text["cluster"]] != -1
            pairs.setdefault(text["target"], []).append((hit, probability(text["jaccard"])))
    print("\nPlanted pairs in the same cluster\n\nsimilarity  pairs   found         expected")
    for target, group in sorted(pairs.items()):
        n, (found, p) = len(group), np.mean(group, axis=0)
        recall["expected"][target], recall["found"][target] = p, found
        print(f"{target:10.2f} {n:6} {found:7.1%} {p:7.1%} ± {2 * (p * (1 - p) / n) ** 0.5:5.1%}")
    one = [cluster[text["url"]] != -1 for text in planted if text["kind"] == "single"]
    print(f"\nTexts without a near duplicate: {len(one)}, in a cluster nevertheless: {sum(one)}")
    chart(f"{out}/recall.png", {"Recall by similarity": recall}, "line")


def show_two_texts(*files: str) -> None:
    step = dedup.MinhashDedupSignature("unused", MINHASH)  # never run: for its shingles alone
    a, b = (set(step.get_shingles(Path(file).read_text("utf-8")).flat) for file in files)
    similarity = len(a & b) / max(1, len(a | b))
    print(f"shingles: {len(a)} and {len(b)}, {len(a & b)} in common; similarity {similarity:.3f}")
    print(f"probability of a match: {probability(similarity):.3f}")


if __name__ == "__main__":
    lesson(main, sample="near")
