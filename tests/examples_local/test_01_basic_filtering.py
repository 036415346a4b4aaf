"""Lesson 01 against plain Python: which documents are kept, and why the others are not."""

from __future__ import annotations

import gzip
import json
import re
from collections import Counter

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import lesson, read_documents, run_script

from examples_common.samples import manifest, sample

KEYWORDS = ("buy now", "click here", "free shipping")
FOLDERS = {
    "short": "dropped/1_short",
    "keywords": "dropped/2_keywords",
    "lists": "dropped/3_lists",
    "sampled": "dropped/4_sampled",
    "kept": "kept",
}


def verdict(text: str, draw) -> str:
    """What lesson 01 should do with a text, written anew; ``draw`` gives the next random number."""
    if len(text) < 600:
        return "short"
    if any(k in text.lower() for k in KEYWORDS):
        return "keywords"
    lines = text.split("\n")
    bullets = [line for line in lines if line[:2] == "- "]
    closed = [line for line in lines if line and line[-1] in '.!?"']
    if 2 * len(bullets) > len(lines) or not closed:
        return "lists"
    return "kept" if draw() < 0.5 else "sampled"


def expected(tasks: int) -> dict[str, set[str]]:
    """Ids by verdict when the files are dealt out to ``tasks`` tasks."""
    result: dict[str, set[str]] = {name: set() for name in FOLDERS}
    files = sorted(sample("c4").iterdir())
    for rank in range(tasks):
        draw = np.random.default_rng(42).uniform
        for path in files[rank::tasks]:
            with gzip.open(path, "rt", encoding="utf-8") as lines:
                for number, line in enumerate(lines):
                    what = verdict(json.loads(line)["text"], draw)
                    result[what].add(f"{path.name}/{number}")
    return result


def written(done) -> dict[str, set[str]]:
    return {n: {d["id"] for d in done.documents(folder)} for n, folder in FOLDERS.items()}


def test_every_document_is_where_it_belongs(bare):
    assert written(bare("01")) == expected(tasks=4)


def test_one_task_differs_in_the_sampler_alone(run):
    done = run("01", changes={"TASKS": 1})
    assert done.code == 0, done.stderr
    truth, four = expected(tasks=1), expected(tasks=4)
    assert written(done) == truth
    assert {n for n in FOLDERS if truth[n] != four[n]} == {"kept", "sampled"}


def test_the_tables_show_what_was_written(bare):
    done, truth = bare("01"), expected(tasks=4)
    rows = re.findall(r"^(?:- )?(\w.*?)((?:  +\d+)+)$", done.stdout, re.M)
    numbers = {name: [int(n) for n in cells.split()] for name, cells in rows}
    left = 1000
    assert numbers["JsonlReader"] == [1000]
    for row, name in (
        ("LambdaFilter, 1_short", "short"),
        ("LambdaFilter, 2_keywords", "keywords"),
        ("ListFilter, 3_lists", "lists"),
        ("SamplerFilter, 4_sampled", "sampled"),
    ):
        dropped = len(truth[name])
        assert numbers[row] == [left, dropped, left - dropped]
        left -= dropped
    reasons = Counter(d["metadata"]["filter_reason"] for d in done.documents(FOLDERS["lists"]))
    assert {n: numbers[n] for n in reasons} == {n: [count] for n, count in reasons.items()}
    per_task = Counter(i.split("/")[0] for i in truth["kept"])
    for rank in range(4):
        kept = sum(per_task[f"c4-{n:05d}.jsonl.gz"] for n in (rank, rank + 4))
        assert (
            f"c4-{rank:05d}.jsonl.gz  c4-{rank + 4:05d}.jsonl.gz     250     {kept}" in done.stdout
        )


def test_the_filters_catch_what_was_planted(bare):
    kinds = {f"{m['file']}/{m['line']}": m["kind"] for m in manifest(sample("c4"))}
    dropped = {n: Counter(kinds[i] for i in ids) for n, ids in written(bare("01")).items()}
    assert dropped["keywords"]["advert"] == 80
    assert dropped["lists"]["bullet_wall"] == 20
    assert set(dropped["kept"]) <= {"good", "foreign", "price_list"}


def test_texts_pass_through_unchanged(bare):
    texts = {}
    for path in sorted(sample("c4").iterdir()):
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            texts |= {f"{path.name}/{n}": json.loads(x) for n, x in enumerate(lines)}
    for doc in bare("01").documents("kept"):
        assert doc["text"] == texts[doc["id"]]["text"]
        assert doc["metadata"]["url"] == texts[doc["id"]]["url"]


def test_a_second_run_is_the_same(bare, tmp_path):
    again = run_script(lesson("01"), cwd=tmp_path)
    assert again.stdout == bare("01").stdout
    assert read_documents(again.folder / "kept") == bare("01").documents("kept")


def test_what_the_page_says_of_other_input(tmp_path):
    """Another text field, Parquet and a limit are a line to change in the script."""
    rows = [{"content": f"Number {n} is long." * 40, "n": n} for n in range(30)]
    (tmp_path / "mine").mkdir()
    with open(tmp_path / "mine" / "a.jsonl", "w", encoding="utf-8") as lines:
        lines.writelines(json.dumps(row) + "\n" for row in rows)
    (tmp_path / "mine" / "README.md").write_text("not a record")
    (tmp_path / "parquet").mkdir()
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "parquet" / "a.parquet")
    reader = 'JsonlReader(data, glob_pattern="*.jsonl*"'
    for folder, line in (
        ("mine", f'{reader}, text_key="content", limit=20'),
        ("parquet", 'ParquetReader(data, glob_pattern="*.parquet", text_key="content", limit=20'),
    ):
        changes = {reader: line, "import JsonlReader": "import JsonlReader, ParquetReader"}
        cwd = tmp_path / f"for {folder}"
        done = run_script(lesson("01"), "--input", tmp_path / folder, cwd=cwd, changes=changes)
        assert done.code == 0, done.stderr
        ids = written(done)
        assert len(ids["kept"] | ids["sampled"]) == 20


def test_no_document_ends_with_the_cause(run, tmp_path):
    """Not with what the lesson's own tables miss."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/a.jsonl").write_text("not JSON\nnor this\n")
    done = run("01", "--input", tmp_path / "mine")
    assert done.code == 1
    assert done.error.startswith("the run is not whole:\ntask 0 read 0 of 2 documents in a.jsonl")


def test_a_run_that_drops_every_document_is_whole(run, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/a.jsonl").write_text('{"text": "Too short."}\n' * 3)
    done = run("01", "--input", tmp_path / "mine")
    assert done.code == 0, done.stderr
    assert "The run is whole: 3 records" in done.stdout


@pytest.mark.parametrize("tasks", [1, 3])
def test_resume_runs_what_did_not_complete(tasks, run):
    first = run("01", changes={"TASKS": tasks})
    (first.folder / "logs/completions/00000").unlink()
    (first.folder / "kept/00000.jsonl.gz").write_bytes(b"half a file")
    again = run("01", "--resume", changes={"TASKS": tasks})
    assert again.code == 0, again.stderr
    assert f"{tasks - 1} tasks are complete" in again.stderr
    assert again.stdout == first.stdout
    assert written(again) == expected(tasks)
