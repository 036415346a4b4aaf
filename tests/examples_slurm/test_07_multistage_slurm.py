"""Lesson 07 against plain Python: the manifest, Jaccard similarity, and MinHash by its definition.

The last part shows in plain DataTrove what the lesson guards against and its spec says.
"""

from __future__ import annotations

import gzip
import json
import os
import re
import runpy
import struct
import subprocess
import unicodedata
from collections import Counter, defaultdict
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
import spacy
import xxhash
from conftest import Finished, lesson, read_documents, run_script, with_constants
from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline import dedup
from datatrove.pipeline.readers import JsonlReader
from datatrove.pipeline.writers import JsonlWriter

from examples_common import LessonError, Run
from datatrove_kit.guard.jobs import jobs_of
from examples_common.samples.builder import jaccard, manifest, sample
from datatrove_kit.readers.sources import find_input

BUCKETS, HASHES, TASKS = 14, 8, 4
PRIME = 2**61 - 1
SCRIPT = lesson("07")


@pytest.fixture(scope="module")
def local(tmp_path_factory) -> Finished:
    done = run_script(SCRIPT, "--local", cwd=tmp_path_factory.mktemp("local"))
    assert done.code == 0, done.stderr[-3000:]
    return done


@pytest.fixture(scope="module")
def on_slurm(bare) -> Finished:
    return bare("07")


def queue(cluster) -> str:
    words = ["squeue", "--noheader"]
    env = {**os.environ, **cluster}
    return subprocess.run(words, env=env, capture_output=True, text=True, check=True).stdout


@lru_cache
def documents() -> dict[str, dict]:
    """Every document of the sample by its id, in reading order, with its line of the manifest."""
    truth = iter(manifest(sample("near")))
    found = {}
    for path in sorted(sample("near").iterdir()):
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            for number, line in enumerate(lines):
                found[f"{path.name}/{number}"] = json.loads(line) | {"truth": next(truth)}
    return found


def in_task(task: int) -> list[str]:
    """Ids of the documents that a task of four reads, in order."""
    files = sorted(path.name for path in sample("near").iterdir())[task::TASKS]
    return [id for file in files for id in documents() if id.startswith(file)]


def section(stdout: str, title: str) -> list[list[str]]:
    """Cells of the table under a title, without its head."""
    block = stdout.split(f"{title}\n\n")[1].split("\n\n")[0]
    return [re.split(r"\s{2,}", line.strip()) for line in block.splitlines()[2:]]


@dataclass
class Oracle:
    matches: int
    clusters: dict[str, int]  # of the documents that are in one
    keeper: dict[int, str]


def oracle_of(finished: Finished) -> Oracle:
    """Matches and clusters by union over equal signatures, read from the files of stage 1."""
    parent = {id: id for id in documents()}

    def root(id: str) -> str:
        while parent[id] != id:
            id = parent[id]
        return id

    matches = 0
    for bucket in range(BUCKETS):
        groups = defaultdict(list)
        for task in range(TASKS):
            ids = in_task(task)
            path = finished.folder / f"signatures/bucket_{bucket:03d}/{task:05d}.minhash.sig"
            for *signature, place in struct.iter_unpack(f"<{HASHES}QI", path.read_bytes()):
                groups[tuple(signature)].append(ids[place])
        for first, *others in groups.values():
            matches += len(others)
            for other in others:
                parent[root(other)] = root(first)
    sizes = Counter(map(root, parent))
    clusters = {id: root(id) for id in parent if sizes[root(id)] > 1}
    kept = {doc["id"] for doc in finished.documents("kept")}
    keeper = {cluster: id for id, cluster in clusters.items() if id in kept}
    return Oracle(matches, clusters, keeper)


@pytest.fixture(scope="module")
def oracle(local) -> Oracle:
    return oracle_of(local)


@lru_cache
def words():
    return spacy.blank("en")


def shingles(text: str) -> set[str]:
    """Word 5-grams as DataTrove makes them: no case, punctuation or accents, each number a 0."""
    text = re.sub(r"\d+([.,]\d+)?", "0", text.lower())
    text = re.sub(r"[^\w\s]|_", " ", text)
    text = unicodedata.normalize("NFD", " ".join(text.split()))
    text = "".join(c for c in text if unicodedata.category(c) != "Mn")
    tokens = [t.text.strip() for t in words()(text) if t.text.strip()]
    return {" ".join(tokens[i : i + 5]) for i in range(len(tokens) - 4)}


def signature(found: set[str]) -> list[tuple[int, ...]]:
    """MinHash by its definition, in plain numbers: for each bucket its smallest hashes."""
    random = np.random.RandomState(1)
    draw = {"dtype": np.uint64, "size": (1, BUCKETS * HASHES)}
    a = random.randint(1, PRIME, **draw)[0].tolist()
    b = random.randint(0, PRIME, **draw)[0].tolist()
    values = [xxhash.xxh64_intdigest(shingle) for shingle in found]
    lowest = [min((v * m + c) % 2**64 % PRIME for v in values) for m, c in zip(a, b, strict=True)]
    return [tuple(lowest[i : i + HASHES]) for i in range(0, len(lowest), HASHES)]


def expected(similarity: float) -> float:
    return 1 - (1 - similarity**HASHES) ** BUCKETS


def test_signatures_are_minhash(local):
    ids = in_task(1)
    wanted = {
        place: signature(shingles(documents()[ids[place]]["text"])) for place in range(0, 300, 23)
    }
    for bucket in range(BUCKETS):
        path = local.folder / f"signatures/bucket_{bucket:03d}/00001.minhash.sig"
        found = {place: s for *s, place in struct.iter_unpack(f"<{HASHES}QI", path.read_bytes())}
        assert {p: tuple(found[p]) for p in wanted} == {p: s[bucket] for p, s in wanted.items()}


def test_the_stages(local, oracle):
    kept, removed = local.documents("kept"), local.documents("removed")
    assert {d["id"] for d in kept} | {d["id"] for d in removed} == set(documents())
    assert len(kept) + len(removed) == len(documents())
    count = len(set(oracle.clusters.values()))
    assert section(local.stdout, "The four stages") == [
        ["signatures", "4", f"{len(documents())} documents signed"],
        ["buckets", "14", f"{oracle.matches} matches"],
        ["clusters", "1", f"{len(oracle.clusters)} documents in {count} clusters"],
        ["filter", "4", f"{len(removed)} documents removed, {len(kept)} kept"],
    ]
    # One of each cluster stays.
    assert len(removed) == len(oracle.clusters) - count
    assert Counter(oracle.clusters[d["id"]] for d in removed) == {
        cluster: size - 1 for cluster, size in Counter(oracle.clusters.values()).items()
    }
    for doc in kept + removed:
        assert doc["text"] == documents()[doc["id"]]["text"]


def test_the_largest_cluster(local, oracle):
    (first, fate), *others = section(local.stdout, "The largest cluster")
    size = max(Counter(oracle.clusters.values()).values())
    assert fate == "kept" and len(others) == min(size - 1, 5)
    assert oracle.keeper[oracle.clusters[first]] == first
    for other, similarity, fate in others:
        assert oracle.clusters[other] == oracle.clusters[first]
        true = jaccard(documents()[first]["text"], documents()[other]["text"])
        assert float(similarity) == pytest.approx(true, abs=0.0051)
        assert fate == "removed"


def test_recall(local, oracle):
    bases = {
        d["truth"]["cluster"]: i for i, d in documents().items() if d["truth"]["kind"] == "base"
    }
    pairs = defaultdict(list)
    for id, doc in documents().items():
        if doc["truth"]["kind"] == "variant":
            base = bases[doc["truth"]["cluster"]]
            similarity = jaccard(doc["text"], documents()[base]["text"])
            together = id in oracle.clusters and oracle.clusters[id] == oracle.clusters.get(base)
            pairs[doc["truth"]["target"]].append((similarity, together))
    rows = section(local.stdout, "Planted pairs in the same cluster")
    assert [float(row[0]) for row in rows] == sorted(pairs)
    for target, count, mean, found, theory, spread in (map(float, row) for row in rows):
        similarities, hits = zip(*pairs[target], strict=True)
        chances = [expected(s) for s in similarities]
        assert count == len(hits) == 60
        assert mean == pytest.approx(sum(similarities) / 60, abs=0.0051)
        assert found == pytest.approx(100 * sum(hits) / 60, abs=0.051)
        assert theory == pytest.approx(100 * sum(chances) / 60, abs=0.051)
        deviation = sum(p * (1 - p) for p in chances) ** 0.5 / 60
        assert spread == pytest.approx(200 * deviation, abs=0.051)
        # Three standard deviations; below 1% the variants of a text find each other.
        assert abs(found - theory) <= 300 * deviation + 0.1


def test_what_was_removed(local, oracle):
    removed = {doc["id"] for doc in local.documents("removed")}

    def text_of(id: str) -> int | str:
        return documents()[id]["truth"].get("cluster", id)

    counts = defaultdict(lambda: [0, 0, 0, 0])
    for id, doc in documents().items():
        gone = id in removed
        wrong = gone and text_of(oracle.keeper[oracle.clusters[id]]) != text_of(id)
        for kind in (doc["truth"]["kind"], "all"):
            for column, more in enumerate((1, not gone, gone, wrong)):
                counts[kind][column] += more
    rows = section(local.stdout, "What was removed")
    assert [row[0] for row in rows] == ["single", "base", "variant", "all"]
    assert {kind: list(map(int, cells)) for kind, *cells in rows} == counts
    total = counts["all"]
    assert total[3] / total[2] < 0.02


def test_the_chart(local):
    assert "chart: output/07_multistage_slurm/recall.png" in local.stdout
    assert (local.folder / "recall.png").read_bytes()[:4] == b"\x89PNG"
    assert (local.folder / "_SUCCESS").exists()


def test_fineweb_appendix_e1():
    probability = runpy.run_path(str(SCRIPT))["probability"]
    for similarity, percent in ((0.7, 56), (0.75, 77), (0.8, 92), (0.85, 98.8)):
        assert 100 * probability(similarity) == pytest.approx(percent, abs=0.5)


def test_slurm_gives_what_local_gives(local, on_slurm):
    assert on_slurm.stdout == local.stdout
    for folder in ("kept", "removed"):
        for file in sorted((local.folder / folder).iterdir()):
            theirs = gzip.decompress((on_slurm.folder / folder / file.name).read_bytes())
            assert theirs == gzip.decompress(file.read_bytes())
        assert len(read_documents(on_slurm.folder / folder)) == len(local.documents(folder))


def test_resume_runs_only_what_is_missing(on_slurm, cluster, tmp_path):
    lost = on_slurm.folder / "kept" / "00002.jsonl.gz"
    whole = lost.read_bytes()
    lost.write_bytes(whole[:1000])
    (on_slurm.folder / "logs/filter/completions/00002").unlink()
    done = run_script(SCRIPT, "--wait", "--resume", cwd=on_slurm.folder.parents[1], env=cluster)
    assert done.code == 0, done.stderr[-3000:]
    assert done.stdout == on_slurm.stdout
    assert gzip.decompress(lost.read_bytes()) == gzip.decompress(whole)
    assert len(jobs_of(on_slurm.folder)) == 2  # one array, its merge
    assert queue(cluster) == ""


def test_dry_run(cluster, tmp_path):
    done = run_script(SCRIPT, "--dry-run", cwd=tmp_path, env=cluster)
    assert done.code == 0, done.stderr
    scripts = done.stdout.split("# sbatch")[1:]
    arrays = [s for s in scripts if "launch_pickled_pipeline" in s]
    assert len(scripts) == 2 * len(arrays) == 8
    assert re.findall(r"--job-name=(\w+)", "".join(arrays)) == [
        "signatures", "buckets", "clusters", "filter",
    ]  # fmt: skip
    waits = [re.search(r"--dependency=(\S+)", s.partition("\n")[0]) for s in arrays]
    assert [w and w[1] for w in waits] == [None, "afterok:JOB1", "afterok:JOB3", "afterok:JOB5"]
    assert re.findall(r"--array=(\S+)", "".join(arrays)) == ["0-3", "0-13", "0-0", "0-3"]
    assert re.findall(r"--mem-per-cpu=(\S+)", "".join(arrays)) == ["1G", "1G", "2G", "1G"]
    assert queue(cluster) == ""
    assert not (tmp_path / "output").exists()


def test_settings_hold_for_all_stages(cluster, tmp_path):
    options = ("--set", "memory=3", "--set", "time=01:00:00")
    done = run_script(SCRIPT, "--dry-run", *options, cwd=tmp_path, env=cluster)
    arrays = [s for s in done.stdout.split("# sbatch")[1:] if "launch_pickled_pipeline" in s]
    assert re.findall(r"--mem-per-cpu=(\S+)", "".join(arrays)) == ["3G"] * 4
    assert re.findall(r"--time=(\S+)", "".join(arrays)) == ["01:00:00"] * 4


def write_jsonl(path: Path, texts: list[str]) -> None:
    path.parent.mkdir(exist_ok=True)
    lines = (json.dumps({"text": text}) + "\n" for text in texts)
    path.write_bytes(gzip.compress("".join(lines).encode(), mtime=0))


def test_an_environment_that_is_not_there(cluster, tmp_path):
    options = ("--wait", "--set", "environment=/usr")
    done = run_script(SCRIPT, *options, cwd=tmp_path, env=cluster)
    assert done.code == 1
    assert "--set environment=" in done.stderr
    assert queue(cluster) == ""


def own_run(folder: Path) -> Run:
    data = find_input("sample", "near", ("jsonl",), None, None)
    return Run(folder, str(folder), data, TASKS, 1, "text")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda chain: setattr(chain[3], "tasks", 8), "share their reader and tasks"),
        (lambda chain: chain[3].pipeline.__setitem__(0, JsonlReader("x")), "share their reader"),
        (lambda chain: setattr(chain[1], "tasks", 15), "a multiple of 14"),
        (lambda chain: setattr(chain[2], "tasks", 2), "clusters takes one"),
        (lambda chain: setattr(chain[1].pipeline[0], "config", None), "share MINHASH"),
    ],
)
def test_checked_before_submission(tmp_path, change, says):
    script = runpy.run_path(str(SCRIPT))
    chain = script["build"](own_run(tmp_path), None)
    script["check"](chain)
    change(chain)
    with pytest.raises(LessonError, match=says):
        script["check"](chain)


def test_other_parameters_do_not_resume(tmp_path):
    first = run_script(SCRIPT, "--local", "--limit", 60, cwd=tmp_path)
    assert first.code == 0, first.stderr[-2000:]
    changed = with_constants(SCRIPT, {"HASHES": "4"}, tmp_path)
    done = run_script(changed, "--local", "--limit", 60, "--resume", cwd=tmp_path)
    assert done.code == 1
    assert "cannot be resumed" in done.stderr and "hashes_per_bucket=4" in done.stderr


def test_own_documents(tmp_path):
    """No url, too short for a signature, and texts that differ in numbers or case alone."""
    base = "on day 12 the train left the yard at dawn and came back late with two empty cars"
    texts = [
        base,
        base.replace("12", "77").upper() + "!",
        "four words are short",
        "four words are short",
    ]
    texts += [doc["text"] for doc in documents().values() if doc["truth"]["kind"] == "single"][:20]
    write_jsonl(tmp_path / "own/0.jsonl.gz", texts[:2])
    write_jsonl(tmp_path / "own/1.jsonl.gz", texts[2:])
    done = run_script(SCRIPT, "--source", "own", "--local", cwd=tmp_path)
    assert done.code == 0, done.stderr[-2000:]
    assert len(done.documents("kept")) == 23
    assert done.documents("removed")[0]["text"].lower().startswith("on day")
    assert section(done.stdout, "The four stages")[3][2] == "1 documents removed, 23 kept"
    assert "Planted" not in done.stdout


def test_two_tasks_for_each_bucket(local, tmp_path):
    """Ranges of hashes, read by a task each, give what whole buckets give."""
    signatures, matches = str(local.folder / "signatures"), str(tmp_path / "matches")
    config = runpy.run_path(str(SCRIPT))["MINHASH"]
    for rank in range(2 * BUCKETS):
        step = dedup.MinhashDedupBuckets(signatures, matches, config=config, lines_to_buffer=1000)
        step.run(None, rank, 2 * BUCKETS)
    dedup.MinhashDedupCluster(matches, str(tmp_path / "clusters"), config, True).run(None, 0, 1)
    for file in (local.folder / "clusters").iterdir():
        assert (tmp_path / "clusters" / file.name).read_bytes() == file.read_bytes()


def test_compare(tmp_path):
    pair = [d["text"] for d in documents().values() if d["truth"].get("cluster") == 5][:2]
    for name, text in zip("ab", pair, strict=True):
        (tmp_path / name).write_text(text, encoding="utf-8")
    done = run_script(SCRIPT, "--compare", "a", "b", cwd=tmp_path, env={"PATH": "/nowhere"})
    assert done.code == 0, done.stderr
    first, second = map(shingles, pair)
    a, b = signature(first), signature(second)
    true = len(first & second) / len(first | second)
    equal = sum(x == y for s, t in zip(a, b, strict=True) for x, y in zip(s, t, strict=True))
    common = " ".join(str(i) for i in range(BUCKETS) if a[i] == b[i]) or "none"
    assert section(done.stdout, "Two texts") == [
        ["shingles of the first", str(len(first))],
        ["shingles of the second", str(len(second))],
        ["shared", str(len(first & second))],
        ["true similarity", f"{true:.3f}"],
        ["estimated by 112 hashes", f"{equal / 112:.3f}"],
        ["probability of a match", f"{expected(true):.3f}"],
        ["buckets in common", common],
    ]
    assert not (tmp_path / "output").exists()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"only four words here", "fewer than 5 words"),
        (b"\xff\xfe", "as text"),
        (None, "No such file"),
    ],
)
def test_compare_says_what_is_wrong(tmp_path, content, says):
    (tmp_path / "a").write_text("a text of at least five words")
    if content is not None:
        (tmp_path / "b").write_bytes(content)
    done = run_script(SCRIPT, "--compare", "a", "b", cwd=tmp_path)
    assert done.code == 1
    assert says in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize(("tasks", "wrong", "missed"), [(2, 16, 183), (8, 0, 163)])
def test_trap_the_last_stage_with_other_tasks(local, tmp_path, tasks, wrong, missed):
    read, clusters = JsonlReader(str(sample("near"))), str(local.folder / "clusters")
    drop = dedup.MinhashDedupFilter(clusters, JsonlWriter(str(tmp_path / "removed")))
    LocalPipelineExecutor([read, drop], tasks, logging_dir=str(tmp_path / "logs"), workers=1).run()
    removed = {doc["id"] for doc in read_documents(tmp_path / "removed")}
    right = {doc["id"] for doc in local.documents("removed")}
    assert len(removed - right) == wrong
    assert len(right - removed) == missed
