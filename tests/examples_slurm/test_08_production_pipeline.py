"""Lesson 08 on a real Slurm and object store, against the manifest, by pyarrow and tokenizers."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections import Counter, defaultdict
from dataclasses import replace
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from conftest import REPO, copy_of, lesson, read_documents, run_script, s3_filesystem
from datatrove.pipeline.formatters import PIIFormatter
from huggingface_hub import DatasetCard
from tokenizers import Tokenizer

from datatrove_kit.cluster.object_store import ObjectStore
from examples_common.samples import build, manifest, sample

STEPS = {
    "1_url": "URLFilter",
    "3_language": "LanguageFilter",
    "4_repetition": "GopherRepetitionFilter",
    "5_quality": "GopherQualityFilter",
    "6_c4": "C4QualityFilter",
    "7_fineweb": "FineWebQualityFilter",
    "8_minhash": "MinhashDedupFilter",
}
TRUTH = {m["id"]: m for m in manifest(sample("web"))}
COLUMNS = {
    **dict.fromkeys(("text", "id", "dump", "url", "date", "language"), "string"),
    "language_score": "double",
    **dict.fromkeys(("token_count", "minhash_cluster_id", "minhash_cluster_size"), "int64"),
}
EMAIL = re.compile(r"[\w.!#$%&'*+/=?^`{|}~-]+@[\w-]+(?:\.[\w-]+)+")
ADDRESS = re.compile(r"\b\d{1,3}(?:\.\d{1,3}){3}\b")


def dump_of(done, name: str = "sample-1"):
    """The same run, with the folder of one dump."""
    return replace(done, folder=done.folder / "dumps" / name)


def removed(done) -> dict[str, str]:
    """Folder of what each document was removed by, by record id."""
    found = {}
    for step in STEPS:
        top = done.folder / "removed" / step
        for folder in [top, *(p for p in top.glob("*") if p.is_dir())]:
            found |= {d["id"]: step for d in read_documents(folder)}
    return found


def parquet(done) -> list[dict]:
    return [
        row
        for p in sorted(done.folder.glob("dataset/data/*"))
        for row in pq.read_table(p).to_pylist()
    ]


def decoded(done) -> list[tuple[str, int]]:
    """Text and number of tokens of each document in the token files, by tokenizers alone."""
    tokenizer = Tokenizer.from_file(str(done.folder / "dataset/tokenizer.json"))
    end = tokenizer.token_to_id("<|endoftext|>")
    texts = []
    for path in sorted(done.folder.glob("dataset/tokens/*.ds")):
        ids = np.fromfile(path, dtype="<u2")
        stops = np.fromfile(path.with_name(path.name + ".index"), dtype="<u8").tolist()
        assert (stops or [0])[-1] == len(ids)
        for start, stop in zip([0, *stops], stops, strict=False):
            assert ids[stop - 1] == end
            piece = ids[start : stop - 1].tolist()
            assert end not in piece
            texts.append((tokenizer.decode(piece, skip_special_tokens=False), len(piece)))
    return texts


def hashes(folder: Path) -> dict[str, str]:
    return {
        str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(folder.rglob("*"))
        if p.is_file() and p.name != "run.lock"  # says who came last
    }


def outputs(done) -> dict[str, list]:
    """Documents of every kind that a run wrote, whatever the bytes of the compressed files."""
    return {
        "filtered": read_documents(done.folder / "filtered"),
        "deduplicated": read_documents(done.folder / "deduplicated"),
        "parquet": parquet(done),
        "tokens": decoded(done),
        "removed": sorted(removed(done).items()),
    }


def settings(folder: Path, text: str) -> tuple[str, Path]:
    """The option for a file of settings."""
    (folder / "mine.yaml").write_text(text)
    return "--config", folder / "mine.yaml"


def small(folder: Path, copies: int = 1) -> Path:
    """The first pages of the sample, in one file or in several with the same pages."""
    crawl = build("web", folder, docs=100, shards=1)
    file = next(crawl.iterdir())
    for copy in range(1, copies):
        shutil.copy(file, crawl / f"copy-{copy}.warc.gz")
    return crawl


@pytest.fixture(scope="module")
def slurm(bare):
    """The bare run on Slurm."""
    return bare("08")


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    """The same without Slurm."""
    done = run_script(lesson("08"), "--local", cwd=tmp_path_factory.mktemp("local08"))
    assert done.code == 0, done.stderr[-3000:]
    return done


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """A running object store with a bucket: its variables, and a file system of s3fs."""
    store = ObjectStore(tmp_path_factory.mktemp("store"))
    store.start()
    fs = s3_filesystem(store.environment())
    fs.mkdir("crawls")
    yield store.environment(), fs
    store.stop()


def test_local_and_slurm_print_and_write_the_same(slurm, here):
    assert slurm.stdout == here.stdout
    on_slurm, locally = outputs(dump_of(slurm)), outputs(dump_of(here))
    for kind, documents in on_slurm.items():
        assert documents == locally[kind], kind
    assert len(on_slurm["parquet"]) > 200


def test_planted_pages_fall_to_their_step(here):
    done = dump_of(here)
    by = {i: STEPS[folder] for i, folder in removed(done).items()}
    kept = {row["id"] for row in parquet(done)}
    assert kept.isdisjoint(by)
    hits: dict[str, list[bool]] = defaultdict(list)
    for i, truth in TRUTH.items():
        expected = truth.get("dropped_by")
        if "cluster" in truth:  # see the next test
            continue
        if expected in ("WarcReader", "Trafilatura"):  # neither leaves the page anywhere
            hits[truth["kind"]].append(i not in kept and i not in by)
        else:
            hits[truth["kind"]].append(by.get(i) == expected and (i in kept) == (not expected))
    shares = {kind: sum(found) / len(found) for kind, found in hits.items()}
    assert len(shares) == 21
    assert min(shares.values()) >= 0.95, shares
    assert shares["blocklisted"] == 1


def test_of_each_cluster_one_page_is_kept_and_all_know_their_cluster(here):
    done = dump_of(here)
    planted, found = defaultdict(set), defaultdict(set)
    for i, truth in TRUTH.items():
        if "cluster" in truth:
            planted[truth["cluster"]].add(i)
    gone = [(d["id"], d["metadata"]) for d in read_documents(done.folder / "removed/8_minhash")]
    kept = [(row["id"], row) for row in parquet(done)]
    for i, row in gone + kept:
        if row["minhash_cluster_id"] >= 0:
            found[row["minhash_cluster_id"]].add(i)
    assert sorted(map(sorted, found.values())) == sorted(map(sorted, planted.values()))
    for i, row in gone + kept:
        alone = row["minhash_cluster_id"] == -1
        assert row["minhash_cluster_size"] == (
            1 if alone else len(found[row["minhash_cluster_id"]])
        )
        assert alone == ("cluster" not in TRUTH[i])
    assert len(gone) == 20
    for members in planted.values():
        assert len(members - {i for i, _ in gone}) == 1
    first = sum(TRUTH[i]["kind"] == "good" for i, _ in gone)
    page = " ".join((REPO / "spec/08_production_pipeline.md").read_text().split())
    assert f"for {first} of the {len(gone)} the page that went is the first one" in page


def test_the_funnel_is_that_of_the_files(here):
    done = dump_of(here)
    by = Counter(removed(done).values())
    left = len(TRUTH) - sum(t.get("dropped_by") == "WarcReader" for t in TRUTH.values())
    final = len(parquet(done))
    by["0_extraction"] = left - sum(by.values()) - final
    for step in ["1_url", "0_extraction", *list(STEPS)[1:]]:
        row = rf"^{step[2:]} +{left} +{by[step]} +{left - by[step]}$"
        assert re.search(row, done.stdout, re.M), step
        left -= by[step]
    assert left == final


def test_parquet_has_the_schema_and_the_documents_of_the_stage_before(here):
    done = dump_of(here)
    for path in done.folder.glob("dataset/data/*"):
        schema = pq.read_schema(path)
        assert {f.name: str(f.type) for f in schema} == COLUMNS
        assert all(pa.types.is_string(schema.field(n).type) for n in ("text", "url"))
    before = read_documents(done.folder / "deduplicated")
    after = parquet(done)
    assert [d["id"] for d in before] == [row["id"] for row in after]
    for old, row in zip(before, after, strict=True):
        for name in ("url", "date", "language", "minhash_cluster_id", "minhash_cluster_size"):
            assert row[name] == old["metadata"][name]
        assert row["dump"] == "sample-1"
        pieces = re.split(f"{EMAIL.pattern}|{ADDRESS.pattern}", old["text"])
        assert pieces == re.split(f"{EMAIL.pattern}|{ADDRESS.pattern}", row["text"])


def test_addresses_are_replaced_and_nothing_else(here):
    done = dump_of(here)
    before = {d["id"]: d["text"] for d in read_documents(done.folder / "deduplicated")}
    stand_ins = {"email@example.com", "firstname.lastname@example.org"}
    planted = 0
    for row in parquet(done):
        emails, old = set(EMAIL.findall(row["text"])), before[row["id"]]
        if TRUTH[row["id"]]["kind"] == "pii":
            planted += 1
            assert EMAIL.search(old)
            assert "203.0.113." in old
            assert emails
            # PIIFormatter leaves what stands before two dots in a row: "r..", then the stand-in.
            assert {e.rpartition("..")[2] for e in emails} <= stand_ins
            assert len(emails - stand_ins) <= (".." in EMAIL.search(old)[0])
            assert "203.0.113." not in row["text"]
            assert len(ADDRESS.findall(row["text"])) == len(ADDRESS.findall(old))
        elif not EMAIL.search(old) and not ADDRESS.search(old):
            assert row["text"] == old
    assert planted == 20


@pytest.fixture(scope="module")
def script(tmp_path_factory):
    """A copy of the script as a module, which writes to a folder of its own."""
    path = copy_of(lesson("08"), tmp_path_factory.mktemp("module"))
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(path.parent)
        spec = importlib.util.spec_from_file_location("lesson08", path)
        script = sys.modules["lesson08"] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(script)
    return script


def test_a_name_in_the_fediverse_is_no_address(script):
    ours, stock = script.AddressFormatter(), PIIFormatter()
    for text in (
        "Find @anna@example.social, (@an-na.b@chaos.example.org) and @x@y.example!",
        "@first@mastodon.example: a name at the start",
    ):
        assert ours.format(text) == text != stock.format(text)
    for text in ("Write to anna@mail.org.", "<a.b-c@m.example.uk>, x@y.de; at 8.8.8.8", "no @ all"):
        assert script.AddressFormatter().format(text) == PIIFormatter().format(text)
    both = "anna@mail.org is @anna@mail.org"
    assert script.AddressFormatter().format(both) == "email@example.com is @anna@mail.org"


def test_token_files_decode_to_the_texts_of_the_parquet(here):
    done = dump_of(here)
    rows, tokens = parquet(done), decoded(done)
    assert Counter(tokens) == Counter((row["text"], row["token_count"]) for row in rows)
    total = sum(row["token_count"] for row in rows) + len(rows)
    assert f"Parquet: {len(rows)} documents. Token files: {total} tokens." in done.stdout


def test_the_card_says_what_is_in_the_files_and_they_load(here, tmp_path):
    done = dump_of(here)
    path = done.folder / "dataset/README.md"
    card = DatasetCard.load(path)
    head = yaml.safe_load(card.content.split("---")[1])
    assert head == card.data.to_dict()
    assert head["language"] == ["en"]
    assert head["license"] == "unknown"
    assert "license: unknown" in done.stderr
    assert head["size_categories"] == ["n<1K"]
    rows = parquet(done)
    size = sum(p.stat().st_size for p in done.folder.glob("dataset/data/*"))
    for name, value in {
        "documents": len(rows), "bytes in them": size, "documents in en": len(rows),
        "tokens": sum(row["token_count"] for row in rows), "datatrove": "0.10.1",
        "tokenizer": r"tokenizer-\w+.json, 8192 tokens: tokenizer.json",
    }.items():  # fmt: skip
        assert re.search(rf"^\| {name} +\| {value} +\|$", card.text, re.M), name
    for line in done.stdout.split("\n\n")[3].splitlines()[2:]:
        assert re.search(r"\| " + r" +\| +".join(line.split()) + r" +\|", card.text), line
    told = json.loads(re.search(r"```json\n(.*?)```", card.text, re.S)[1])
    written = yaml.safe_load((REPO / "examples_slurm/dump.yaml").read_text())
    assert told == written["steps"]
    assert str(done.folder.parent) not in card.content and "/tmp" not in card.content
    loaded = datasets.load_dataset(str(path.parent), cache_dir=str(tmp_path))["train"]
    assert loaded["text"] == [row["text"] for row in rows]


def test_settings_of_ones_own(here, tmp_path):
    """Languages, thresholds, tasks, license: a card that says so, and other documents."""
    text = """
dump: german
languages: [de]
word_language: deu
keep_between: false
card: {license: odc-by, description: Deutsche Seiten., limitations: Wenige Seiten.}
steps:
  GopherQualityFilter: {min_stop_words: 3, stop_words: [der, die, das, und, ist, nicht]}
  C4QualityFilter: {min_num_sentences: 3}
  DocumentTokenizer: {shuffle_documents: false}
stages:
  base: {tasks: 3}
  signatures: {tasks: 1}
  dedup: {tasks: 1}
"""
    done = run_script(lesson("08"), "--local", *settings(tmp_path, text), cwd=tmp_path)
    assert done.code == 0, done.stderr[-2000:]
    done = dump_of(done, "german")
    rows = parquet(done)
    texts = {TRUTH[row["id"]]["language"] for row in rows}
    assert texts == {"de"} and {row["dump"] for row in rows} == {"german"}
    assert len(rows) >= 5
    stop = ("der", "die", "das", "und", "ist", "nicht")
    for row in rows:
        assert len(set(re.findall(r"\w+", row["text"])) & set(stop)) >= 3
    card = DatasetCard.load(done.folder / "dataset/README.md")
    assert card.data.to_dict()["language"] == ["de"]
    assert card.data.to_dict()["license"] == "odc-by"
    assert "Deutsche Seiten." in card.text and "Wenige Seiten." in card.text
    told = json.loads(re.search(r"```json\n(.*?)```", card.text, re.S)[1])
    assert told["GopherQualityFilter"]["stop_words"] == list(stop)
    assert told["GopherQualityFilter"]["min_doc_words"] == 50
    left = {p.name for p in done.folder.iterdir() if p.is_dir()}
    assert left == {"dataset", "logs", "removed", "stats"}
    assert (done.folder / "_SUCCESS").exists()
    texts = [text for text, _ in decoded(done)]  # not shuffled
    assert texts == [row["text"] for row in rows]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("dmup: x", "there is no key 'dmup'; is it dump?"),
        ("steps: {GopherQualityFilter: {min_doc_word: 3}}", "is it min_doc_words?"),
        ("steps: {GopherQualtyFilter: {}}", "is it GopherQualityFilter?"),
        ("steps: {URLFilter: {exclusion_writer: x}}", "there is no key 'exclusion_writer'"),
        ("slurm: {partion: x}", "slurm: there is no key 'partion'; is it partition?"),
        ("stages: {base: {time: 20}}", "stages.base.time: "),
        ("stages: {base: {mem_per_cpu_gb: 1.5}}", "stages.base.mem_per_cpu_gb: "),
        ("stages: {base: {tasks: 0}}", "stages.base.tasks: "),
        ("stages: {dedup: {tasks: 3}}", "dedup needs the tasks of signatures"),
        ("stages: {dedpu: {tasks: 3}}", "there is no key 'dedpu'; is it dedup?"),
        ("dump: ../out", "dump: "),
        ("languages: []", "languages: "),
        ("languages: en", "languages: "),
        ("a: [", "mine.yaml cannot be read"),
        ("tokenizer: nowhere.json", "no tokenizer can be loaded from nowhere.json"),
        ("steps: {DocumentTokenizer: {eos_token: <end>}}", "has no token <end>"),
        ("source: nowhere", "nowhere"),
    ],
)
def test_wrong_settings_are_named_before_anything_starts(
    script, tmp_path, monkeypatch, text, message
):
    words = ["08.py", "--local", *map(str, settings(tmp_path, text))]
    monkeypatch.setattr(sys, "argv", words)
    with pytest.raises(SystemExit, match=re.escape(message)):
        script.command_line(
            script.main, script.Config, script.SCRIPT.with_name("dump.yaml"), (script.LessonError,)
        )
    assert not [p for p in script.SCRIPT.parents[1].glob("output/**/*") if p.is_file()]


def test_the_printed_settings_are_those_of_the_run(here, tmp_path, run):
    printed = run("08", "--print-config").stdout
    assert yaml.safe_load(printed) == yaml.safe_load(
        (REPO / "examples_slurm/dump.yaml").read_text()
    )
    printed = run("08", "--print-config", *settings(tmp_path, "languages: [no]  # Norwegian"))
    assert "languages: [no]" in printed.stdout and "# Languages to keep" in printed.stdout


def test_a_run_is_resumed_with_its_own_settings_or_not_at_all(here, tmp_path):
    """Two dumps in one place: what one is set to is nothing to the other's resume."""
    shutil.copytree(here.folder, tmp_path / "output" / here.folder.name)
    first = tmp_path / "output" / here.folder.name / "dumps/sample-1"
    before = hashes(first)
    crawl = small(tmp_path / "crawl")
    one = "dump: two\nsource: crawl\nsteps: {GopherQualityFilter: {min_doc_words: %d}}\n"
    done = run_script(lesson("08"), "--local", *settings(tmp_path, one % 60), cwd=tmp_path)
    assert done.code == 0, done.stderr[-2000:]
    rows = parquet(dump_of(done, "two"))
    assert rows and {row["dump"] for row in rows} == {"two"}
    assert hashes(first) == before
    again = run_script(lesson("08"), "--local", "--resume", cwd=tmp_path)
    assert again.stdout == here.stdout
    asks = one % 60 + "stages: {base: {time: 09:00:00, mem_per_cpu_gb: 7}}\n"
    again = run_script(lesson("08"), "--local", "--resume", *settings(tmp_path, asks), cwd=tmp_path)
    assert again.stdout == done.stdout, again.stderr[-2000:]
    wrong = run_script(
        lesson("08"), "--local", "--resume", *settings(tmp_path, one % 61), cwd=tmp_path
    )
    assert wrong.code == 1
    assert "min_doc_words of step 6 (GopherQualityFilter) of logs/base was 60, is 61" in wrong.error
    assert wrong.error.count(" was ") == 1 and "--overwrite" in wrong.error
    refused = run_script(lesson("08"), "--local", *settings(tmp_path, one % 60), cwd=tmp_path)
    assert "holds a finished run" in refused.error and "--resume" in refused.error
    assert crawl.exists()


def test_pages_that_were_fetched_twice_are_kept_once(tmp_path):
    small(tmp_path / "crawl", 2)
    done = run_script(
        lesson("08"), "--local", *settings(tmp_path, "dump: twice\nsource: crawl"), cwd=tmp_path
    )
    assert done.code == 0, done.stderr[-2000:]
    done = dump_of(done, "twice")
    before = Counter(d["id"] for d in read_documents(done.folder / "filtered"))
    assert set(before.values()) == {2}
    clusters = {i: TRUTH[i].get("cluster", i) for i in before}
    kept = [clusters[row["id"]] for row in parquet(done)]
    assert sorted(map(str, kept)) == sorted(map(str, set(clusters.values())))
    sizes = Counter(clusters[i] for i in before.elements())
    for row in parquet(done):
        assert row["minhash_cluster_size"] == sizes[clusters[row["id"]]]


@pytest.mark.slow
def test_the_plan_is_a_file_that_runs(tmp_path, run):
    planned = run("08", "--plan", 1, "--cores", 2)
    assert planned.code == 0, planned.stderr[-2000:]
    plan = yaml.safe_load(planned.stdout)
    written = yaml.safe_load((REPO / "examples_slurm/dump.yaml").read_text())
    assert plan["stages"].keys() == written["stages"].keys()
    assert plan["stages"]["dedup"]["tasks"] == plan["stages"]["signatures"]["tasks"]
    assert plan["stages"]["buckets"]["tasks"] % plan["steps"]["MinhashConfig"]["num_buckets"] == 0
    lines = plan["steps"]["MinhashDedupBuckets"].pop("lines_to_buffer")
    written["steps"]["MinhashDedupBuckets"].pop("lines_to_buffer")
    assert plan["steps"] == written["steps"] and lines >= 5
    assert re.match(r"# .*pages.*\n", planned.stdout)
    small(tmp_path / "crawl")
    text = planned.stdout.replace("source: sample", "source: crawl")
    done = run("08", "--local", *settings(tmp_path, text))
    assert done.code == 0, done.stderr[-2000:]
    for name, stage in plan["stages"].items():
        complete = dump_of(done).folder / "logs" / name / "completions"
        assert len(list(complete.iterdir())) == stage["tasks"]


# ---- on Slurm --------------------------------------------------------------------------------


def control(cluster: dict[str, str], *words: str) -> str:
    done = subprocess.run(
        words, env={**os.environ, **cluster}, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def short(cluster):
    """A partition of the cluster, in which a job may take 15 minutes."""
    control(cluster, "scontrol", "create", "PartitionName=short", "Nodes=ALL", "MaxTime=15")
    yield "short"
    control(cluster, "scontrol", "delete", "PartitionName=short")


def stages_and_usage(folder: Path) -> tuple[list[dict], dict[str, list[str]]]:
    """The stages of a run's record, and the rows of its usage.txt by the stage."""
    rows = (folder / "usage.txt").read_text().splitlines()[2:]
    stages = json.loads((folder / "run.json").read_text())["stages"]
    return stages, {row[0]: row[1:] for row in map(str.split, rows)}


def test_usage_has_what_each_stage_asked_for(slurm):
    stages, table = stages_and_usage(dump_of(slurm).folder)
    assert list(table) == [stage["name"] for stage in stages]
    assert len({name[:8] for name in table}) == len(table) == 7
    base = table["le-1_base"]
    assert base[0] == "2" and base[1] == "2.0" and base[4] == "00:20:00"


@pytest.mark.slow
def test_on_the_store_and_in_two_partitions_the_data_are_those_of_the_disk(
    cluster, short, store, tmp_path
):
    env, fs = store
    build("web", tmp_path / "crawl", docs=100, shards=2)
    one = "source: crawl\ncard: {license: cc0-1.0}\n"
    asks = """stages:
  base: {tasks: 2, workers: 1}
  signatures: {tasks: 1}
  buckets: {tasks_per_job: 14}
  clusters: {partition: short}
  dedup: {tasks: 1}
  final: {tasks: 1}
"""
    disk = run_script(lesson("08"), "--local", *settings(tmp_path, one + asks), cwd=tmp_path)
    assert disk.code == 0, disk.stderr[-3000:]
    on_disk = dump_of(disk).folder.rename(tmp_path / "on-disk")
    remote = "output: s3://crawls/one\nslurm: {partition: learn, qos: ''}\n" + one + asks
    both = {**cluster, **env}
    done = run_script(lesson("08"), "--wait", *settings(tmp_path, remote), cwd=tmp_path, env=both)
    assert done.code == 0, done.stderr[-3000:]
    there = tmp_path / "there"
    fs.get("crawls/one", str(there), recursive=True)
    here = dump_of(done).folder
    assert {p.name for p in here.iterdir() if p.is_dir()} == {"logs"}
    for kind, documents in outputs(replace(done, folder=on_disk)).items():
        assert outputs(replace(done, folder=there))[kind] == documents, kind
        assert documents
    assert (there / "stats/merged/fqdn").is_dir()
    assert done.stdout == disk.stdout
    card = DatasetCard.load(there / "dataset/README.md")
    assert card.data.to_dict()["license"] == "cc0-1.0"
    assert "s3:" not in card.content
    (job,) = json.loads((here / "run.json").read_text())["stages"][3]["arrays"]
    seen = control(cluster, "sacct", "-nPX", f"--jobs={job}", "--format=partition")
    assert seen.split() == ["short"]
    other = settings(tmp_path, remote + "dump: other\n")
    refused = run_script(lesson("08"), *other, cwd=tmp_path, env=both)
    assert "holds files that no run" in refused.error
    assert fs.exists("crawls/one/dataset/README.md")


@pytest.mark.slow
def test_two_dumps_end_side_by_side_without_the_submitter(cluster, tmp_path):
    """Nobody waits: the last job of each chain verifies, and writes the card and _SUCCESS."""
    crawl = small(tmp_path / "crawl")
    for name in ("one", "two"):
        text = f"dump: {name}\nsource: {crawl}\nstages: {{buckets: {{tasks_per_job: 14}}}}\n"
        (tmp_path / f"{name}.yaml").write_text(text)
        done = run_script(
            lesson("08"), "--config", tmp_path / f"{name}.yaml", cwd=tmp_path, env=cluster
        )
        assert done.code == 0, done.stderr[-2000:]
        assert "submitted" in done.stdout
    folders = [done.folder / "dumps" / name for name in ("one", "two")]
    status = run_script(lesson("08"), "--status", folders[1], cwd=tmp_path, env=cluster).stdout
    assert re.search(r"two_base +2 ", status)
    again = run_script(
        lesson("08"), "--overwrite", "--config", tmp_path / "two.yaml", cwd=tmp_path, env=cluster
    )
    assert again.code == 1 and "are in the queue" in again.error
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline and control(cluster, "squeue", "--noheader").strip():
        time.sleep(1)
    assert all((folder / "_SUCCESS").exists() for folder in folders)
    texts = [[row["text"] for row in parquet(replace(done, folder=f))] for f in folders]
    assert texts[0] == texts[1] and len(texts[0]) > 20
    for name, folder in zip(("one", "two"), folders, strict=True):
        assert {row["dump"] for row in parquet(replace(done, folder=folder))} == {name}
        assert (folder / "dataset/README.md").exists() and (folder / "usage.txt").exists()
        last = next((folder / "logs/last").glob("*.out")).read_text()
        assert "The run is whole." in last
        # The time and memory that Slurm accounted for.
        stages, table = stages_and_usage(folder)
        job = f"--jobs={stages[0]['arrays'][0]}"
        ran = control(cluster, "sacct", "-nPX", job, "--format=elapsed")
        assert table[f"{name}_base"][5] == max(ran.split())
        assert 0.1 < float(table[f"{name}_base"][2]) < 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("slurm: {partition: short}", "asks for 00:20:00, and the partition short allows 15:00"),
        ("stages: {base: {mem_per_cpu_gb: 900}}", "Slurm would not run the stage le-1_base"),
        ("slurm: {condaenv: nope}", "a small job was refused"),
    ],
)
def test_what_could_not_run_is_refused_at_once(slurm, cluster, short, tmp_path, text, message):
    """And the finished run that it would replace stays."""
    folder = tmp_path / "output" / slurm.folder.name
    shutil.copytree(slurm.folder, folder)
    before = hashes(dump_of(replace(slurm, folder=folder)).folder)
    done = run_script(
        lesson("08"), "--overwrite", "--wait", *settings(tmp_path, text), cwd=tmp_path, env=cluster
    )
    assert done.code == 1
    assert message in done.stderr
    assert hashes(folder / "dumps/sample-1") == before
    assert control(cluster, "squeue", "--noheader").strip() == ""


@pytest.mark.slow
def test_a_job_that_will_never_start_ends_the_waiting(cluster, short, tmp_path):
    """The partition's limit shrinks once the jobs are in the queue: Slurm lets them wait."""
    small(tmp_path / "crawl")
    option = settings(tmp_path, "source: crawl\nslurm: {partition: short}\n"
                                "stages: {base: {time: 00:12:00}}\n")  # fmt: skip
    words = [sys.executable, copy_of(lesson("08"), tmp_path), "--wait", *option]
    script = subprocess.Popen(
        words, env={**os.environ, **cluster}, cwd=tmp_path, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 120
    while (
        "le-1_sta" not in control(cluster, "squeue", "--noheader") and time.monotonic() < deadline
    ):
        time.sleep(0.2)
    control(cluster, "scontrol", "update", "PartitionName=short", "MaxTime=5")
    try:
        error = script.communicate(timeout=240)[1].rpartition("error: ")[2]
    finally:
        control(cluster, "scontrol", "update", "PartitionName=short", "MaxTime=15")
    assert script.returncode == 1
    assert "would never start what is left: PartitionTimeLimit" in error
    assert "--resume" in error
    assert control(cluster, "squeue", "--noheader").strip() == ""
    again = run_script(lesson("08"), "--resume", "--wait", *option, cwd=tmp_path, env=cluster)
    assert again.code == 0 and "The run is whole." in again.stdout


def test_nothing_left_is_an_error_that_says_where(tmp_path):
    small(tmp_path / "crawl")
    option = settings(tmp_path, "source: crawl\nlanguages: [sw]")
    done = run_script(lesson("08"), "--local", *option, cwd=tmp_path)
    assert done.code == 1
    assert "no document came to" in done.error and "oosen a threshold" in done.error
    assert read_documents(dump_of(done).folder / "removed/3_language/en")


def test_a_damaged_warc_leaves_all_that_can_be_read(here, tmp_path):
    """One of two files is damaged in its middle: what is before makes a data set, not a whole."""
    crawl = tmp_path / "crawl"
    crawl.mkdir()
    files = sorted(sample("web").iterdir())[:2]
    shutil.copy(files[0], crawl)
    whole = files[1].read_bytes()
    half = len(whole) // 2
    (crawl / files[1].name).write_bytes(whole[:half] + bytes(len(whole) - half))
    done = run_script(lesson("08"), "--local", *settings(tmp_path, "source: crawl"), cwd=tmp_path)
    assert done.code == 1
    assert "The run is not whole" in done.stdout
    assert files[1].name in done.error
    folder = dump_of(done).folder
    assert not (folder / "_SUCCESS").exists()
    assert not (folder / "dataset/README.md").exists()
    wanted = {r["id"]: r["text"] for r in read_documents(dump_of(here).folder / "filtered")}
    first = {t["id"] for t in TRUTH.values() if t["file"] == files[0].name}
    second = {t["id"] for t in TRUTH.values() if t["file"] == files[1].name}
    found = {r["id"] for r in read_documents(folder / "filtered")}
    assert found & first == first & set(wanted)
    assert 0 < len(found & second) < len(second & set(wanted))
    assert found <= set(wanted)
