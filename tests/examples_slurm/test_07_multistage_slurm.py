"""Lesson 07 against plain Python: the manifest, Jaccard similarity, and MinHash by its definition.

The last part shows in plain DataTrove what the page says goes wrong.
"""

from __future__ import annotations

import gzip
import json
import os
import re
import runpy
import shutil
import struct
import subprocess
import unicodedata
from collections import Counter, defaultdict
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import spacy
import xxhash
from conftest import REPO, Finished, lesson, read_documents, run_script, s3_filesystem
from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.dedup import MinhashDedupFilter
from datatrove.pipeline.readers import JsonlReader
from datatrove.pipeline.writers import JsonlWriter
from draw_07 import clusters, legible

from datatrove_kit.cluster.object_store import ObjectStore
from examples_common.samples import manifest, sample
from examples_common.samples.builder import jaccard

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
    assert local.stdout.strip().splitlines()[:4] == [
        f"signatures  {len(documents())} documents signed",
        f"buckets     {oracle.matches} matches",
        f"clusters    {len(oracle.clusters)} documents in {count} clusters",
        f"filter      {len(removed)} documents removed, {len(kept)} kept",
    ]
    # One of each cluster stays.
    assert len(removed) == len(oracle.clusters) - count
    assert Counter(oracle.clusters[d["id"]] for d in removed) == {
        cluster: size - 1 for cluster, size in Counter(oracle.clusters.values()).items()
    }
    for doc in kept + removed:
        assert doc["text"] == documents()[doc["id"]]["text"]


def test_the_picture_shows_the_similarities_of_its_texts(local):
    base, copies = max(clusters(local.folder), key=legible)
    picture = (REPO / "spec/images/07_cluster.svg").read_text(encoding="utf-8")
    texts = [" ".join(text.words) for text in (base, *copies)]
    shown = [f"{jaccard(text, texts[0]):.2f}" for text in texts[1:]]
    assert re.findall(r">similarity ([\d.]+)<", picture) == shown


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
    row = re.compile(r"^ +(0\.\d+) +(\d+) +([\d.]+)% +([\d.]+)% ± +([\d.]+)%$", re.M)
    rows = row.findall(local.stdout)
    assert [float(row[0]) for row in rows] == sorted(pairs)
    for target, count, found, theory, spread in (map(float, row) for row in rows):
        similarities, hits = zip(*pairs[target], strict=True)
        chances = [expected(s) for s in similarities]
        assert count == len(hits) == 60
        assert found == pytest.approx(100 * sum(hits) / 60, abs=0.051)
        assert theory == pytest.approx(100 * sum(chances) / 60, abs=0.051)
        deviation = sum(p * (1 - p) for p in chances) ** 0.5 / 60
        assert spread == pytest.approx(200 * deviation, abs=0.2)  # printed for the mean chance
        # Three standard deviations; below 1% the variants of a text find each other.
        assert abs(found - theory) <= 300 * deviation + 0.1


def test_texts_that_stand_alone(local, oracle):
    alone = [id for id, doc in documents().items() if doc["truth"]["kind"] == "single"]
    taken = sum(id in oracle.clusters for id in alone)
    line = f"Texts without a near duplicate: {len(alone)}, in a cluster nevertheless: {taken}\n"
    assert line in local.stdout
    assert taken / len(alone) < 0.01


def test_the_chart(local):
    assert "chart: output/07_multistage_slurm/recall.png" in local.stdout
    assert (local.folder / "recall.png").read_bytes()[:4] == b"\x89PNG"


def test_fineweb_appendix_e1(monkeypatch):
    monkeypatch.syspath_prepend(SCRIPT.parent)
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


def ranks(finished: Finished, stage: str) -> list[int]:
    """What the last array of a stage was submitted for."""
    return json.loads((finished.folder / f"logs/{stage}/ranks_to_run.json").read_text())


def test_resume_runs_only_what_is_missing(on_slurm, cluster, tmp_path):
    shutil.copytree(on_slurm.folder.parent, tmp_path / "output")
    folder = tmp_path / "output" / on_slurm.folder.name
    lost = folder / "kept" / "00002.jsonl.gz"
    whole = lost.read_bytes()
    lost.write_bytes(whole[:1000])
    (folder / "logs/filter/completions/00002").unlink()
    done = run_script(SCRIPT, "--wait", "--resume", cwd=tmp_path, env=cluster)
    assert done.code == 0, done.stderr[-3000:]
    assert done.stdout == on_slurm.stdout
    assert gzip.decompress(lost.read_bytes()) == gzip.decompress(whole)
    assert ranks(done, "filter") == [2] and ranks(done, "buckets") == list(range(14))
    assert queue(cluster) == ""


def test_each_stage_waits_for_the_one_before(cluster, tmp_path):
    """And asks for its own memory and time; what waits is named, and not submitted again."""
    env = {**os.environ, **cluster}
    subprocess.run(["scontrol", "update", "partition=learn", "state=down"], env=env, check=True)
    try:
        done = run_script(SCRIPT, cwd=tmp_path, env=cluster)
        assert done.code == 0, done.stderr
        jobs = re.fullmatch(r"submitted: jobs (.*)\. Once .*--resume --wait\n", done.stdout)[1]
        jobs = jobs.split(", ")
        words = ["squeue", "--noheader", "--format=%F|%j|%E|%m|%l|%K"]
        out = subprocess.run(words, env=env, capture_output=True, text=True, check=True).stdout
        rows = [line.split("|") for line in out.splitlines()]
        stages = {row[0]: row[1:] for row in rows if row[0] in jobs}
        assert len(rows) == 8  # and a job for each that merges its statistics
        assert [stages[job][0] for job in jobs] == ["signatures", "buckets", "clusters", "filter"]
        assert [stages[job][2:] for job in jobs] == [
            ["1G", "20:00", "0-3"],
            ["1G", "10:00", "0-13"],
            ["2G", "20:00", "0"],
            ["1G", "10:00", "0-3"],
        ]
        assert "afterok" not in stages[jobs[0]][1]
        for before, job in pairwise(jobs):
            assert stages[job][1].startswith(f"afterok:{before}_*")
        again = run_script(SCRIPT, "--resume", "--wait", cwd=tmp_path, env=cluster)
        assert again.code == 1 and again.stdout == ""
        assert all(job in again.error for job in jobs)
    finally:
        subprocess.run(["scancel", "--me"], env=env, check=True)
        subprocess.run(["scontrol", "update", "partition=learn", "state=up"], env=env, check=True)


def test_a_stage_that_fails_is_mended_and_the_chain_goes_on(local, cluster, tmp_path):
    """Tasks that are no multiple of the buckets: stage 2 fails after all of stage 1."""
    wrong = {'"buckets", BUCKETS': '"buckets", BUCKETS + 1'}
    first = run_script(SCRIPT, "--wait", cwd=tmp_path, env=cluster, changes=wrong)
    assert first.code == 1
    assert re.search(r"\d+ of 15 tasks of buckets did not complete", first.error)
    assert "AssertionError" in first.error
    assert queue(cluster) == ""
    signed = (first.folder / "signatures/bucket_000/00000.minhash.sig").stat().st_mtime_ns
    done = run_script(SCRIPT, "--wait", "--resume", cwd=tmp_path, env=cluster)
    assert done.code == 0, done.stderr[-3000:]
    assert done.stdout == local.stdout
    assert (done.folder / "signatures/bucket_000/00000.minhash.sig").stat().st_mtime_ns == signed


def write_jsonl(path: Path, texts: list[str]) -> None:
    path.parent.mkdir(exist_ok=True)
    lines = (json.dumps({"text": text}) + "\n" for text in texts)
    path.write_bytes(gzip.compress("".join(lines).encode(), mtime=0))


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
    done = run_script(SCRIPT, "--input", "own", "--local", cwd=tmp_path)
    assert done.code == 0, done.stderr[-2000:]
    assert len(done.documents("kept")) == 23
    assert done.documents("removed")[0]["text"].lower().startswith("on day")
    assert "filter      1 documents removed, 23 kept\n" in done.stdout
    assert "Planted" not in done.stdout


def test_a_manifest_without_planted_pairs(tmp_path):
    done = run_script(SCRIPT, "--input", sample("c4"), "--local", cwd=tmp_path)
    assert done.code == 0, done.stderr[-2000:]
    assert "Planted" not in done.stdout and "chart:" not in done.stdout


def test_two_tasks_for_each_bucket(local, tmp_path):
    """Ranges of hashes, read by a task each, give what whole buckets give."""
    twice = {'"buckets", BUCKETS': '"buckets", 2 * BUCKETS'}
    done = run_script(SCRIPT, "--local", cwd=tmp_path, changes=twice)
    assert done.code == 0, done.stderr[-2000:]
    for folder in ("kept", "removed"):
        assert done.documents(folder) == local.documents(folder)


def test_compare(tmp_path):
    pair = [d["text"] for d in documents().values() if d["truth"].get("cluster") == 5][:2]
    for name, text in zip("ab", pair, strict=True):
        (tmp_path / name).write_text(text, encoding="utf-8")
    done = run_script(SCRIPT, "--compare", "a", "b", cwd=tmp_path, env={"PATH": "/nowhere"})
    assert done.code == 0, done.stderr
    first, second = map(shingles, pair)
    both = first & second
    true = len(both) / len(first | second)
    assert done.stdout.splitlines() == [
        f"shingles: {len(first)} and {len(second)}, {len(both)} in common; similarity {true:.3f}",
        f"probability of a match: {expected(true):.3f}",
    ]
    assert not (tmp_path / "output").exists()


@pytest.mark.parametrize(
    ("content", "says"),
    [
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
    drop = MinhashDedupFilter(clusters, JsonlWriter(str(tmp_path / "removed")))
    LocalPipelineExecutor([read, drop], tasks, logging_dir=str(tmp_path / "logs"), workers=1).run()
    removed = {doc["id"] for doc in read_documents(tmp_path / "removed")}
    right = {doc["id"] for doc in local.documents("removed")}
    assert len(removed - right) == wrong
    assert len(right - removed) == missed


@pytest.mark.slow
def test_all_stages_on_an_object_store(bare, tmp_path, cluster):
    """Signatures, matches, clusters and documents are on the store, equal to those on the disk."""
    store = ObjectStore(tmp_path / "store")
    store.start()
    try:
        env = {**cluster, **store.environment()}
        files = s3_filesystem(env)
        files.mkdir("lesson")
        files.put(str(sample("near")), "lesson/near", recursive=True)
        done = run_script(
            lesson("07"), "--wait", "--input", "s3://lesson/near",
            cwd=tmp_path, env=env, changes={"FOLDERS": '"s3://lesson/out"'},
        )  # fmt: skip
        assert done.code == 0, done.stderr[-2000:]
        assert {path.name for path in done.folder.iterdir()} == {"logs", "slurm_logs"}
        files.get("lesson/out", str(tmp_path / "out"), recursive=True)
        here, there = bare("07").folder, tmp_path / "out"
        for name in ("signatures", "matches", "clusters"):
            assert contents(there / name) == contents(here / name) != {}
        for name in ("kept", "removed"):
            pairs = zip(read_documents(there / name), read_documents(here / name), strict=True)
            for stored, written in pairs:
                assert stored["text"] == written["text"] and stored["id"] == written["id"]
    finally:
        store.stop()


def contents(folder: Path) -> dict[str, bytes]:
    """What the files of a folder hold, by name."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
