"""Lesson 08 on a real Slurm, against the manifest and against pyarrow and tokenizers alone."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter, defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import lesson, read_documents, run_script, with_constants
from tokenizers import Tokenizer

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
ROWS = {
    "1_url": "url",
    "3_language": "language",
    "4_repetition": "gopher_repetition",
    "5_quality": "gopher_quality",
    "6_c4": "c4",
    "7_fineweb": "fineweb",
    "8_minhash": "minhash",
}
TRUTH = {m["id"]: m for m in manifest(sample("web"))}
COLUMNS = {
    **dict.fromkeys(("text", "id", "dump", "url", "date", "language"), "string"),
    "language_score": "double",
    "token_count": "int64",
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
        row for p in sorted(done.folder.glob("parquet/*")) for row in pq.read_table(p).to_pylist()
    ]


def decoded(done) -> list[tuple[str, int]]:
    """Text and number of tokens of each document in the token files, by tokenizers alone."""
    tokenizer = Tokenizer.from_file(str(done.folder / "tokenizer.json"))
    end = tokenizer.token_to_id("<|endoftext|>")
    texts = []
    for path in sorted(done.folder.glob("tokens/*.ds")):
        ids = np.fromfile(path, dtype="<u2")
        stops = np.fromfile(path.with_name(path.name + ".index"), dtype="<u8").tolist()
        assert stops[-1] == len(ids)
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
        if p.is_file()
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
        if expected in ("WarcReader", "Trafilatura"):  # neither leaves the page anywhere
            expected = None
            hits[truth["kind"]].append(i not in kept and i not in by)
        else:
            hits[truth["kind"]].append(by.get(i) == expected and (i in kept) == (not expected))
    shares = {kind: sum(found) / len(found) for kind, found in hits.items()}
    assert len(shares) == 21
    assert min(shares.values()) >= 0.95, shares
    assert shares["blocklisted"] == 1


def test_the_funnel_is_that_of_the_files(here):
    done = dump_of(here)
    by = Counter(removed(done).values())
    html = int(re.search(r"^read as HTML +- +- +(\d+) ", done.stdout, re.M)[1])
    not_html = [t for t in TRUTH.values() if t.get("dropped_by") == "WarcReader"]
    assert html == len(TRUTH) - len(not_html)
    final = len(parquet(done))
    by["extraction"] = html - sum(by.values()) - final
    left = html
    order = ["1_url", "extraction", *list(STEPS)[1:]]
    for step in order:
        row = ROWS.get(step, step)
        share = f"{100 * by[step] / left:.1f}%"
        numbers = rf" +{left} +{by[step]} +{left - by[step]} +{re.escape(share)} "
        assert re.search(rf"^{row}{numbers}", done.stdout, re.M), row
        left -= by[step]
    assert left == final


def test_parquet_has_the_schema_and_the_documents_of_the_stage_before(here):
    done = dump_of(here)
    for path in done.folder.glob("parquet/*"):
        schema = pq.read_schema(path)
        assert {f.name: str(f.type) for f in schema} == COLUMNS
        assert all(pa.types.is_string(schema.field(n).type) for n in ("text", "url"))
    before = read_documents(done.folder / "deduplicated")
    after = parquet(done)
    assert [d["id"] for d in before] == [row["id"] for row in after]
    for old, row in zip(before, after, strict=True):
        assert row["url"] == old["metadata"]["url"]
        assert row["date"] == old["metadata"]["date"]
        assert row["language"] == old["metadata"]["language"] == "en"
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


def test_the_default_of_pii_leaves_addresses_that_are_not_public(here, tmp_path):
    script = with_constants(
        lesson("08"), {"CONFIG": 'Config(pii={"only_remove_public_ips": True})'}, tmp_path
    )
    done = run_script(script, "--local", "--source", small(tmp_path / "small"), cwd=tmp_path)
    assert done.code == 0, done.stderr[-2000:]
    texts = [r["text"] for r in parquet(dump_of(done)) if TRUTH[r["id"]]["kind"] == "pii"]
    assert texts
    assert all("203.0.113." in text and re.search(r"email@|lastname@", text) for text in texts)


def test_token_files_decode_to_the_texts_of_the_parquet(here):
    done = dump_of(here)
    rows = parquet(done)
    tokens = decoded(done)
    assert Counter(text for text, _ in tokens) == Counter(row["text"] for row in rows)
    assert Counter(tokens) == Counter((row["text"], row["token_count"]) for row in rows)
    total = sum(row["token_count"] for row in rows)
    for name, number in {
        "documents in Parquet": len(rows),
        "tokens in them": total,
        "tokens in the token files": total + len(rows),
        "mean length in characters": round(sum(len(r["text"]) for r in rows) / len(rows)),
        "domains": len({r["url"].split("/")[2] for r in rows}),
    }.items():
        assert re.search(rf"^{name} +{number}$", done.stdout, re.M), name


def test_the_card_says_what_was_done(here):
    done = dump_of(here)
    card = (done.folder / "README.md").read_text(encoding="utf-8")
    assert card.startswith('---\nlanguage: ["en"]\n')
    for line in done.stdout.splitlines():
        if "%" in line:
            cells = [c for c in re.split(r" {2,}", line.strip()) if c != "-"]
            row = r" *\| *".join(map(re.escape, cells))
            assert re.search(rf"\| {row} ", card), line
    config = json.loads(re.search(r"```json\n(.*?)```", card, re.S)[1])
    assert config["minhash"] == {"n_grams": 5, "num_buckets": 14, "hashes_per_bucket": 8}
    assert "| datatrove   | 0.10" in card


def small(folder: Path, copies: int = 1) -> Path:
    """The first pages of the sample, in one file or in several with the same pages."""
    crawl = build("web", folder, docs=100, shards=1)
    file = next(crawl.iterdir())
    for copy in range(1, copies):
        shutil.copy(file, crawl / f"copy-{copy}.warc.gz")
    return crawl


def test_pages_that_were_fetched_twice_are_kept_once(tmp_path):
    done = run_script(
        lesson("08"), "--local", "--dump", "twice", "--source", small(tmp_path / "crawl", 2),
        cwd=tmp_path,
    )  # fmt: skip
    assert done.code == 0, done.stderr[-2000:]
    done = dump_of(done, "twice")
    before = Counter(d["id"] for d in read_documents(done.folder / "filtered"))
    assert set(before.values()) == {2}
    again = [d["id"] for d in read_documents(done.folder / "removed/8_minhash")]
    kept = [row["id"] for row in parquet(done)]
    assert sorted(kept) == sorted(again) == sorted(before)
    assert re.search(
        rf"^minhash +{2 * len(kept)} +{len(kept)} +{len(kept)} +50.0%", done.stdout, re.M
    )


def test_a_second_dump_leaves_the_first_alone(here, tmp_path):
    shutil.copytree(here.folder, tmp_path / "output" / here.folder.name)
    first = tmp_path / "output" / here.folder.name / "dumps" / "sample-1"
    before = hashes(first)
    second = ("--dump", "sample-2", "--source", small(tmp_path / "crawl"))
    done = run_script(lesson("08"), "--local", *second, cwd=tmp_path)
    assert done.code == 0, done.stderr[-2000:]
    assert hashes(first) == before
    rows = parquet(dump_of(done, "sample-2"))
    assert rows
    assert {row["dump"] for row in rows} == {"sample-2"}
    again = run_script(lesson("08"), "--local", *second, "--resume", cwd=tmp_path)
    assert again.stdout == done.stdout


def test_a_damaged_warc_leaves_all_that_can_be_read(here, tmp_path):
    """One of two files is damaged in its middle: what is before makes a data set, not a whole."""
    crawl = tmp_path / "crawl"
    crawl.mkdir()
    files = sorted(sample("web").iterdir())[:2]
    shutil.copy(files[0], crawl)
    whole = files[1].read_bytes()
    half = len(whole) // 2
    (crawl / files[1].name).write_bytes(whole[:half] + bytes(len(whole) - half))
    done = run_script(lesson("08"), "--local", "--source", crawl, cwd=tmp_path)
    assert done.code == 1
    assert "The run is not whole" in done.stdout
    error = done.stderr.rpartition("error: ")[2]
    assert "part of the input is damaged" in error and files[1].name in error
    folder = dump_of(done).folder
    assert not (folder / "_SUCCESS").exists()
    assert json.loads((folder / "check.json").read_text())["whole"] is False
    wanted = {r["id"]: r["text"] for r in parquet(dump_of(here))}
    first = [t["id"] for t in TRUTH.values() if t["file"] == files[0].name]
    second = [t["id"] for t in TRUTH.values() if t["file"] == files[1].name]
    found = {r["id"] for r in parquet(dump_of(done))}
    assert found & set(first) == set(first) & set(wanted)
    assert 0 < len(found & set(second)) < len(set(second) & set(wanted))
    assert found <= set(wanted)
    assert "2/2" in tool("jobs_status", folder / "logs")


def tool(*words: object) -> str:
    """What one of DataTrove's commands prints, on one line."""
    done = subprocess.run(
        [Path(sys.executable).parent / words[0], *map(str, words[1:])],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=60,
        env={**os.environ, "COLUMNS": "200", "PAGER": "cat"},
    )
    return " ".join((done.stdout + done.stderr).split())


def test_dry_run_shows_seven_arrays_and_writes_nothing(cluster, tmp_path):
    done = run_script(lesson("08"), "--dry-run", cwd=tmp_path, env=cluster)
    assert done.code == 0, done.stderr[-2000:]
    names = re.findall(r"--job-name=(\S+)", done.stdout)
    assert list(dict.fromkeys(names)) == [
        f"sample-1_{s}"
        for s in ("base", "signatures", "buckets", "clusters", "dedup", "final", "stats")
    ]
    assert done.stdout.count("mem-per-cpu=2G") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--dump", "CC-MAIN-2013-20"), "CONFIG has no dump 'CC-MAIN-2013-20'"),
        (("--dump", "../out", "--source", "sample"), "CONFIG has no dump '../out'"),
        (("--source", "nowhere"), "there is no 'nowhere'"),
    ],
)
def test_bad_options_are_refused(run, tmp_path, options, message):
    done = run("08", "--local", *options)
    assert done.code == 1
    assert done.stdout == ""
    assert message in done.stderr
    assert not (tmp_path / "output").exists()


def test_a_resumed_run_must_have_the_same_configuration(here, tmp_path):
    shutil.copytree(here.folder, tmp_path / "output" / here.folder.name)
    script = with_constants(lesson("08"), {"CONFIG": "Config(dedup_tasks=1)"}, tmp_path)
    done = run_script(script, "--local", "--resume", cwd=tmp_path)
    assert done.code == 1
    assert "cannot be resumed" in done.stderr
    more = {"CONFIG": 'Config(dumps={"sample-1": "sample", "next": "crawl"})'}
    done = run_script(
        with_constants(lesson("08"), more, tmp_path), "--local", "--resume", cwd=tmp_path
    )
    assert done.stdout == here.stdout


def test_nothing_left_is_an_error_that_says_where(cluster, tmp_path):
    script = with_constants(lesson("08"), {"CONFIG": 'Config(languages=["sw"])'}, tmp_path)
    done = run_script(
        script, "--wait", "--source", small(tmp_path / "c"), cwd=tmp_path, env=cluster
    )
    assert done.code == 1
    assert "every document was dropped before" in done.stderr
    with gzip.open(next(dump_of(done).folder.glob("removed/3_language/en/*")), "rt") as lines:
        assert next(lines)
