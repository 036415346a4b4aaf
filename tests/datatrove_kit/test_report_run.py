"""What the report says of plain DataTrove runs: counts, texts, two runs, against plain Python."""

from __future__ import annotations

import gzip
import json
import re
import shutil
import subprocess
import sys
from collections import Counter
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest
from datatrove.executor import LocalPipelineExecutor
from datatrove.io import DataFolder
from datatrove.pipeline import dedup
from datatrove.pipeline.base import PipelineStep
from datatrove.pipeline.filters import LambdaFilter
from datatrove.pipeline.filters.base_filter import BaseFilter
from datatrove.pipeline.readers import JsonlReader
from datatrove.pipeline.stats import WordStats
from datatrove.pipeline.tokens import TokensCounter
from datatrove.pipeline.writers import JsonlWriter, ParquetWriter
from tokenizers import Tokenizer, models, pre_tokenizers

from datatrove_kit import guard
from datatrove_kit.errors import KitError
from datatrove_kit.report import make_report, write_report
from datatrove_kit.report.model import Cluster, Failure, Report, Text
from datatrove_kit.report.page import render

WORDS = ["harbour", "ferry", "timetable", "lantern", "orchard", "gravel", "kettle", "meadow"]


class Length(BaseFilter):
    """Drops texts by their words, with reasons."""

    name = "🧵 Length"

    def __init__(self, least: int = 20, most: int = 70, exclusion_writer=None):
        super().__init__(exclusion_writer)
        self.least, self.most = least, most

    def filter(self, doc):
        return judge(doc.text, self.least, self.most) or True


def judge(text: str, least: int = 20, most: int = 70) -> tuple[bool, str] | None:
    words = len(text.split())
    if words < least:
        return False, "too_short"
    return (False, "too_long") if words > most else None


def page(number: int) -> dict:
    words = [WORDS[(number + i) % 8] for i in range(5 + number * 7 % 90)]
    metadata = {"url": f"https://www.site{number % 3}.example/{number}", "language": "en"}
    return {"text": " ".join(words), "id": f"page-{number}", "metadata": metadata}


def unchanged(data, rank: int, world_size: int):
    yield from data


def no_kettle(doc) -> bool:
    return not doc.text.startswith("kettle")


def write(folder: Path, pages: list[dict], files: int) -> Path:
    folder.mkdir(parents=True)
    for file in range(files):
        lines = "".join(json.dumps(page) + "\n" for page in pages[file::files])
        (folder / f"in-{file:04d}.jsonl").write_text(lines)
    return folder


def launch(out: Path | str, *steps, tasks: int = 2, logs: str = "logs") -> None:
    LocalPipelineExecutor(list(steps), tasks, 1, logging_dir=f"{out}/{logs}").run()


@pytest.fixture(scope="module")
def pages() -> list[dict]:
    return [page(number) for number in range(400)]


@pytest.fixture(scope="module")
def source(pages, tmp_path_factory) -> Path:
    return write(tmp_path_factory.mktemp("source") / "in", pages, 4)


def pipeline(source: Path, out: Path | str, least: int = 20, most: int = 70) -> list:
    return [
        JsonlReader(str(source)),
        unchanged,
        LambdaFilter(no_kettle, JsonlWriter(f"{out}/dropped/kettle")),
        Length(least, most, JsonlWriter(f"{out}/dropped/length")),
        JsonlWriter(f"{out}/kept", compression=None),
        ParquetWriter(f"{out}/table", expand_metadata=True),
    ]


@pytest.fixture(scope="module")
def run(source, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "first"
    launch(out, *pipeline(source, out))
    return out


def fate(page: dict, least: int = 20, most: int = 70) -> str:
    if page["text"].startswith("kettle"):
        return "LambdaFilter: kettle"
    judged = judge(page["text"], least, most)
    return f"Length: {judged[1]}" if judged else "kept"


def steps_of(report) -> dict:
    return {step.name: step for stage in report.stages for step in stage.steps}


def piles_of(report) -> dict:
    return {
        f"{step.name}: {pile.reason}": pile
        for stage in report.stages
        for step in stage.steps
        for pile in step.piles
    }


def test_counts_and_names_of_steps(run, pages):
    report = make_report(str(run))
    fates = Counter(map(fate, pages))
    first, length = len(pages), len(pages) - fates["LambdaFilter: kettle"]
    kept = fates["kept"]
    (stage,) = report.stages
    assert (stage.name, stage.tasks, stage.complete, report.title) == ("logs", 2, 2, "first")
    assert [(s.name, s.kind, s.got, s.dropped, s.kept, s.folder) for s in stage.steps] == [
        ("JsonlReader", "reader", None, None, first, ""),
        ("unchanged", "other", None, None, None, ""),
        ("LambdaFilter", "filter", first, first - length, length, "dropped/kettle"),
        ("Length", "filter", length, length - kept, kept, "dropped/length"),
        ("JsonlWriter", "writer", kept, None, kept, "kept"),
        ("ParquetWriter", "writer", kept, None, kept, "table"),
    ]
    characters = sum(len(page["text"]) for page in pages if fate(page) == "kept")
    assert stage.steps[3].characters == stage.steps[5].characters == characters
    assert {name: pile.documents for name, pile in piles_of(report).items()} == {
        name: number for name, number in fates.items() if name != "kept"
    }
    assert [(name, pile.documents) for name, pile in report.kept] == [
        ("kept", kept),
        ("table", kept),
    ]
    assert sorted((task.rank, task.file) for task in stage.times) == [
        (0, "in-0000.jsonl"),
        (1, "in-0001.jsonl"),
    ]


def test_texts_are_those_of_their_place_and_reason(run, pages):
    report, by_id = make_report(str(run)), {page["id"]: page for page in pages}
    shown = {name: pile.texts for name, pile in piles_of(report).items()}
    shown |= {"kept": [text for _, pile in report.kept for text in pile.texts]}
    for name, texts in shown.items():
        assert len({text.id for text in texts}) >= 5, name
        for text in texts:
            source = by_id[text.id]
            assert (fate(source), source["text"]) == (name, text.text)
            assert text.characters == len(source["text"])
            assert text.metadata["url"] == source["metadata"]["url"]
            file, kind, number = text.place.rsplit(" ", 2)
            if kind == "line":
                opener = gzip.open if file.endswith(".gz") else open
                with opener(run / file, "rt") as lines:
                    assert json.loads(list(lines)[int(number) - 1])["id"] == text.id
    assert make_report(str(run)) == report
    other = make_report(str(run), seed=1)
    assert piles_of(other)["Length: too_long"].texts != piles_of(report)["Length: too_long"].texts


def test_distributions_count_each_document_once(run, pages):
    lengths, languages, domains = make_report(str(run)).distributions
    kept = [page for page in pages if fate(page) == "kept"]
    dropped = [page for page in pages if fate(page) != "kept"]
    for side, found, times in (("kept", kept, 2), ("dropped", dropped, 1)):  # two kept folders
        bins = getattr(lengths, side)
        edges = [*map(int, bins), 10**9]
        for low, high in pairwise(edges):
            number = sum(low <= len(page["text"]) < high for page in found)
            assert bins[str(low)] == times * number
        assert getattr(languages, side) == {"en": times * len(found)}
        names = Counter(page["metadata"]["url"].split("/")[2][4:] for page in found)
        assert getattr(domains, side) == {name: times * number for name, number in names.items()}


def test_of_a_run_that_was_moved(run, tmp_path):
    before = make_report(str(run))
    moved = shutil.copytree(run, tmp_path / "elsewhere/second")
    for file in (moved / "dropped/length").iterdir():
        file.unlink()
    after = make_report(str(moved))
    assert "no documents" not in str(before)
    assert {name for name, pile in piles_of(before).items() if pile.texts} == {*piles_of(before)}
    assert {name for name, pile in piles_of(after).items() if not pile.texts} == {
        "Length: too_short",
        "Length: too_long",
    }
    assert "dropped/length" in piles_of(after)["Length: too_long"].missing


class Fails(BaseFilter):
    """Of the first task the second time alone all is well."""

    def __init__(self, flag: Path):
        super().__init__()
        self.flag = flag

    def filter(self, doc):
        if doc.id == "page-1" and not self.flag.exists():
            raise ValueError("stopped")
        return True


def resumed_end(report) -> str | None:
    return dict(report.facts).get("last task ended")


def test_of_a_run_that_failed_and_was_resumed(source, pages, tmp_path):
    out, flag = tmp_path / "out", tmp_path / "flag"

    def start():
        launch(out, JsonlReader(str(source)), Fails(flag), JsonlWriter(f"{out}/kept"))

    with pytest.raises(ValueError):
        start()
    (stage,) = (failed := make_report(str(out))).stages
    assert (stage.tasks, stage.complete, len(stage.times)) == (2, 1, 1)
    assert steps_of(failed)["JsonlReader"].kept == 200
    said = "logs: 1 of 2 tasks complete: counts are of these, texts are of all tasks."
    assert said in failed.warnings and not resumed_end(failed)
    (failure,) = stage.failed
    assert failure == Failure(1, "ValueError: stopped", "logs/logs/task_00001.log")
    assert "stopped" in (out / failure.log).read_text()
    assert make_report(str(out), str(out)).comparison.warnings[0] == f"The second run: {said}"
    shown = render(failed)
    assert (
        shown.index(said) < shown.index("logs/logs/task_00001.log") < shown.index('class="tiles"')
    )
    flag.touch()
    start()
    (stage,) = (resumed := make_report(str(out))).stages
    assert (stage.complete, steps_of(resumed)["JsonlReader"].kept) == (2, 400)
    assert (stage.failed, resumed.warnings) == ([], []) and resumed_end(resumed)
    assert "filter without a name" in steps_of(resumed)


def test_of_a_run_of_which_no_task_is_done(source, tmp_path):
    out = tmp_path / "out"
    steps = [
        JsonlReader(str(source)),
        unchanged,
        Fails(tmp_path / "flag"),
        JsonlWriter(f"{out}/kept"),
    ]
    with pytest.raises(ValueError):
        launch(out, *steps, tasks=1)
    report = make_report(str(out))
    names = ["JsonlReader", "unchanged", "filter without a name", "JsonlWriter"]
    assert [step.name for step in report.stages[0].steps] == names
    assert {step.kept for step in report.stages[0].steps} == {None}


def test_a_handful_of_tasks_that_failed_or_run(run, tmp_path):
    """Those with errors first; what a log says before its last error is not told."""
    copy = shutil.copytree(run, tmp_path / "copy")
    plan = json.loads((copy / "logs/executor.json").read_text()) | {"world_size": 40}
    (copy / "logs/executor.json").write_text(json.dumps(plan))
    entry = "2026-01-02 03:04:05.678 | {} | module:function:12 - {}\n"
    for rank in range(2, 12):
        log = entry.format("INFO    ", "Reading")
        if rank % 2:
            log += entry.format("ERROR   ", "first")
            log += entry.format("ERROR   ", f"no disk {rank}\n> File\n  x\n\nOSError: full {rank}")
            log += entry.format("WARNING ", "later")
        (copy / f"logs/logs/task_{rank:05d}.log").write_text(log)
    (stage,) = (found := make_report(str(copy))).stages
    assert [(task.rank, task.error) for task in stage.failed] == [
        (rank, f"OSError: full {rank}") for rank in (3, 5, 7, 9, 11)
    ]
    assert "logs: 2 of 40 tasks complete" in found.warnings[0]
    for rank in range(3, 12, 2):
        (copy / f"logs/logs/task_{rank:05d}.log").unlink()
    (stage,) = (found := make_report(str(copy))).stages
    assert [(task.rank, task.error) for task in stage.failed] == [(r, "") for r in (2, 4, 6, 8, 10)]
    assert "no error in its log" in render(found)


def test_the_last_documents_are_kept_ones(source, tmp_path):
    """Not those that another stage filters further; statistics of them change nothing."""
    out = tmp_path / "out"
    first = [JsonlReader(str(source)), JsonlWriter(f"{out}/all")]
    second = [JsonlReader(f"{out}/all"), LambdaFilter(no_kettle), JsonlWriter(f"{out}/good")]
    third = [JsonlReader(f"{out}/good"), WordStats(f"{out}/stats", groups_to_compute=["summary"])]
    for logs, steps in (("logs/z", first), ("logs/y", second), ("logs/x", third)):
        launch(out, *steps, logs=logs)
    report = make_report(str(out))
    assert [stage.name for stage in report.stages] == ["logs/z", "logs/y", "logs/x"]
    assert [name for name, _ in report.kept] == ["good"]
    assert steps_of(report)["WordStats"].kind == "stats"
    assert "exclusion writer" in piles_of(report)["LambdaFilter: no reason given"].missing
    shutil.rmtree(out / "logs/z")
    shutil.rmtree(out / "logs/y")
    report = make_report(str(out))
    assert report.sampling == ["The run has no folder of documents: there are no texts to show."]


def test_each_input_is_counted_once(source, pages, tmp_path):
    """Variants of one input, another input, and stages that read what the run wrote."""
    out, more = tmp_path / "out", write(tmp_path / "more", pages[:30], 1)
    for name in ("a", "b"):
        launch(out, JsonlReader(str(source)), JsonlWriter(f"{out}/{name}"), logs=f"logs/{name}")
    assert make_report(str(out)).read == len(pages)
    both = [JsonlReader(str(more)), JsonlReader(f"{out}/a"), JsonlWriter(f"{out}/c")]
    launch(out, *both, logs="logs/c")
    assert make_report(str(out)).read == len(pages) + 30
    part = JsonlReader(str(source), glob_pattern="*0.jsonl")
    launch(out, part, JsonlWriter(f"{out}/d"), logs="logs/d")
    assert make_report(str(out)).read is None  # the same files once more, or others
    launch(tmp_path / "list", [], JsonlWriter(f"{tmp_path}/list/kept"))
    assert make_report(f"{tmp_path}/list").read is None


def test_what_is_written_before_a_filter_is_not_kept(source, pages, tmp_path):
    steps = [JsonlWriter(f"{tmp_path}/all"), Length(20, 70, JsonlWriter(f"{tmp_path}/dropped"))]
    launch(tmp_path, JsonlReader(str(source)), *steps, JsonlWriter(f"{tmp_path}/kept"))
    report = make_report(str(tmp_path))
    assert [(name, pile.documents) for name, pile in report.kept] == [
        ("kept", sum(judge(page["text"]) is None for page in pages))
    ]
    assert "400 of 400 documents in 2 folders were looked at, in 4 of 4 files." in report.sampling


def test_documents_that_the_statistics_do_not_count(source, tmp_path):
    launch(tmp_path, JsonlReader(str(source)), JsonlWriter(f"{tmp_path}/kept"))
    (tmp_path / "logs/stats/00001.json").unlink()  # as of a task that runs
    report = make_report(str(tmp_path))
    assert "400 of 400 documents in 1 folder were looked at, in 2 of 2 files." in report.sampling
    for said in (report.sampling, report.warnings):
        assert any("count 200 documents fewer than the folders have" in one for one in said)


def test_when_a_run_was_and_what_of(run, tmp_path):
    now, facts = datetime.now(), dict(make_report(str(run)).facts)
    names = ("first task started", "last task ended")
    started, ended = (datetime.fromisoformat(facts[name]) for name in names)
    assert now - timedelta(hours=1) < started <= ended <= now
    assert "versions" not in facts
    copy = shutil.copytree(run, tmp_path / "copy")
    log = copy / "logs/logs/task_00001.log"
    log.write_text(log.read_text() + "2031-02-03 04:05:06.789 | INFO | the end\n" + "x\n" * 9000)
    made_of = {"version of python": "3.11", "tasks of logs": 2, "version of datatrove": "0.10.1"}
    (copy / "run.json").write_text(json.dumps({"made of": made_of}))
    facts = dict(make_report(str(copy)).facts)
    assert facts["last task ended"] == "2031-02-03 04:05:06"
    assert facts["versions"] == "datatrove 0.10.1, python 3.11"


def test_what_the_guard_found_in_the_input_is_told(tmp_path):
    """Seven damaged files, two bad records, and a good run of the same after that."""
    line, bad = b'{"text": "Sound."}\n', b"{}\nno JSON\n"
    (tmp_path / "in").mkdir()
    (tmp_path / "in/sound.jsonl").write_bytes(3 * line + bad)
    for number in range(7):
        (tmp_path / f"in/{number}.jsonl.gz").write_bytes(gzip.compress(line)[:-4])
    made = LocalPipelineExecutor(
        [JsonlReader(str(tmp_path / "in")), JsonlWriter(str(tmp_path / "run/kept"))],
        logging_dir=str(tmp_path / "run/logs"),
    )
    with pytest.raises(KitError, match="could not be read to its end"):
        guard.run(made, tmp_path / "run")
    report = make_report(str(tmp_path / "run"))
    told = [warning for warning in report.warnings if "to its end: " in warning]
    assert [told[0][:34], len(told)] == ["Not read to its end: 0.jsonl.gz: i", 5]
    assert "Not read to their end: 2 more files." in report.warnings
    assert dict(report.facts)["records rejected"] == "1 no text, 1 not JSON"
    for file in tmp_path.glob("in/*.gz"):
        file.write_bytes(gzip.compress(line))
    guard.run(made, tmp_path / "run", overwrite=True)
    report = make_report(str(tmp_path / "run"))
    assert not [warning for warning in report.warnings if "read" in warning]
    assert dict(report.facts)["records rejected"] == "1 no text, 1 not JSON"


def test_each_kind_of_finding_is_told(run, tmp_path):
    copy = shutil.copytree(run, tmp_path / "copy")
    check = {"whole": False, "error": "2 tasks did not\nrun", "damage": [], "rejected": {}}
    check |= {"rejected later": {"no url": 2}, "skipped": {"empty": 1200}, "noticed": {"HTTP": 3}}
    (copy / "check.json").write_text(json.dumps(check))
    before, report = make_report(str(run)), make_report(str(copy))
    assert set(report.warnings) - set(before.warnings) == {"The run is not whole: 2 tasks did not"}
    assert [fact for fact in report.facts if fact not in before.facts] == [
        ("rejected by writers or later readers", "2 no url"),
        ("records without a page", "1,200 empty"),
        ("documents noticed", "3 HTTP"),
    ]
    (copy / "check.json").write_text("[]")
    assert make_report(str(copy)).facts == before.facts


def test_the_page_does_not_tell_where_it_was_made(source, tmp_path, monkeypatch):
    """Folders are named as they were given, and from the folder of the run."""
    out, home = tmp_path / "run", str(tmp_path)
    launch(out, *pipeline(source, tmp_path / "elsewhere"), logs="logs")
    for file in (tmp_path / "elsewhere/kept").iterdir():
        file.write_text("no JSON\n")
    done = run_command("run", "run", cwd=tmp_path)
    page = (out / "report.html").read_text()
    assert done.returncode == 0 and "../elsewhere/dropped/length" in page
    assert home not in re.sub(r"<dd.*?</dd>", "", page)  # metadata are shown as they are
    monkeypatch.setenv("HOME", home)
    shown = make_report(str(out), str(out))
    assert shown.folder == shown.comparison.other == "~/run"
    assert [name for name, _ in shown.kept] == ["~/elsewhere/kept", "~/elsewhere/table"]


class Other(Length):
    name = "🪡 Other"

    def filter(self, doc):
        return (False, "even") if doc.id.endswith("0") else super().filter(doc)


def test_a_folder_that_two_steps_drop_into(source, pages, tmp_path):
    out = tmp_path / "out"
    shared = f"{out}/dropped"
    steps = [Length(20, 90, JsonlWriter(shared)), Other(30, 70, JsonlWriter(shared))]
    launch(out, JsonlReader(str(source)), *steps, JsonlWriter(f"{out}/kept"))
    piles = piles_of(make_report(str(out)))
    assert {text.id[-1] for text in piles["Other: even"].texts} == {"0"}
    for name in ("Length: too_short", "Other: too_short"):
        assert not piles[name].texts
        assert "cannot be told apart" in piles[name].missing


def only_words(self, document) -> dict:
    return {"id": document.id, "words": document.text.split()}


def test_records_without_text_are_shown_as_json(source, pages, tmp_path):
    launch(tmp_path, JsonlReader(str(source)), JsonlWriter(f"{tmp_path}/out", adapter=only_words))
    texts = make_report(str(tmp_path)).kept[0][1].texts
    by_id = {page["id"]: page["text"].split() for page in pages}
    for text in texts:
        assert json.loads(text.text) == {"id": text.id, "words": by_id[text.id]}
    found = make_report(str(tmp_path))
    assert [one.title for one in found.distributions] == []
    page = render(found)
    assert "400 of 400 records that were looked at in out have no text: these are shown" in page


def without_id(self, document) -> dict:
    return {"text": document.text}


def test_only_what_has_an_id_can_be_copied(source, tmp_path):
    launch(tmp_path, JsonlReader(str(source)), JsonlWriter(f"{tmp_path}/a", adapter=without_id))
    assert "Copy id</button>" not in render(make_report(str(tmp_path)))
    launch(tmp_path, JsonlReader(str(source)), JsonlWriter(f"{tmp_path}/b"), logs="more")
    assert render(make_report(str(tmp_path))).count("Copy id</button>") == 5


def test_damaged_files_are_named_and_the_others_shown(source, tmp_path):
    steps = [JsonlWriter(f"{tmp_path}/zipped"), JsonlWriter(f"{tmp_path}/lines", compression=None)]
    steps.append(ParquetWriter(f"{tmp_path}/table"))
    launch(tmp_path, JsonlReader(str(source)), *steps)
    for name in ("zipped/00000.jsonl.gz", "table/000_00000.parquet"):
        content = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(content[: len(content) // 2])
    lines = (tmp_path / "lines/00001.jsonl").read_text().splitlines()
    lines[3] = lines[3][:20]
    (tmp_path / "lines/00001.jsonl").write_text("\n".join(lines))
    (tmp_path / "logs/other").mkdir()
    (tmp_path / "logs/other/executor.json").write_text('{"pipeline": [')
    stats = tmp_path / "logs/stats/00001.json"
    stats.write_text(stats.read_text()[:100])
    report = make_report(str(tmp_path))
    said = "\n".join(report.sampling)
    assert set(report.warnings) <= set(report.sampling)
    assert "zipped/00000.jsonl.gz cannot be read to its end: " in said
    assert "table/000_00000.parquet cannot be read to its end: " in said
    assert "lines/00001.jsonl line 4 is passed over: " in said
    assert "logs/stats/00001.json is not counted: " in said
    assert "logs/other/executor.json cannot be read: " in said
    assert [len(pile.texts) for _, pile in report.kept] == [5, 5, 5]
    assert {text.place.split()[0] for text in report.kept[2][1].texts} == {
        "table/000_00001.parquet"
    }
    assert steps_of(report)["JsonlReader"].kept == 200
    shown, done = render(report), run_command(tmp_path)
    assert (done.returncode, done.stdout) == (0, f"{tmp_path}/report.html\n")
    for name in ("zipped/00000.jsonl.gz", "lines/00001.jsonl line 4", "logs/other/executor.json"):
        assert shown.index(name) < shown.index('class="tiles"')
        assert re.search(f"^warning: {name}", done.stderr, re.MULTILINE)


def test_a_bounded_part_is_read(source, tmp_path, monkeypatch):
    launch(tmp_path, JsonlReader(str(source)), JsonlWriter(f"{tmp_path}/kept"), tasks=1)
    small = tmp_path / "kept/00000.jsonl.gz"
    for rank in range(1, 1000):
        shutil.copy(small, small.with_name(f"{rank:05d}.jsonl.gz"))
    big = small.with_name("big.jsonl.gz")
    line = json.dumps({"text": "long " * 1_000_000, "id": "long"}).encode() + b"\n"
    big.write_bytes(gzip.compress(line * 20, 1))
    opened, read = [], Counter()
    plain = DataFolder.open

    def counting(self, path, *args, **kwargs):
        stream = plain(self, path, *args, **kwargs)
        if "kept" in self.path:
            opened.append(path)
            readline = stream.readline

            def counted(*sizes):
                found = readline(*sizes)
                read[path] += len(found)
                return found

            stream.readline = counted
        return stream

    monkeypatch.setattr(DataFolder, "open", counting)
    monkeypatch.setattr("datatrove_kit.report.sampling.order", lambda seed, name: len(name))
    report = make_report(str(tmp_path))
    assert len(opened) == len(set(opened)) == 32
    assert opened[0] == big.name
    assert sum(read.values()) <= (16 << 20) + (8 << 20)
    assert any("in 32 of 1,001 files" in said for said in report.sampling)
    assert all(len(text.text) <= 5000 for text in report.kept[0][1].texts)
    for file in big.parent.glob("0*"):
        file.unlink()
    long = b'"' + b"x" * (9 << 20) + b'"\n{"text": "last", "id": "last"}\n'
    big.write_bytes(gzip.compress(long, 1))
    report = make_report(str(tmp_path))
    assert "kept/big.jsonl.gz line 1 is passed over: more than 8 MB." in report.sampling
    assert [(text.id, text.place) for text in report.kept[0][1].texts] == [
        ("last", "kept/big.jsonl.gz line 2")
    ]


def test_of_a_run_on_a_store(source, pages):
    """The memory file system stands for a store: it has addresses instead of paths."""
    launch("memory://report/run", *pipeline(source, "memory://report/run"))
    report = make_report("memory://report/run")
    assert Counter(map(fate, pages))["kept"] == report.kept[0][1].documents
    assert all(pile.texts for pile in piles_of(report).values())
    assert report.kept[0][0] == "kept"


def test_two_runs(run, source, pages, tmp_path, monkeypatch):
    out = tmp_path / "wide"
    launch(out, *pipeline(source, out, 40, 80))
    found = make_report(str(run), str(out)).comparison
    before = {page["id"]: fate(page) for page in pages}
    after = {page["id"]: fate(page, 40, 80) for page in pages}
    truth = {"kept": set(), "dropped": set(), "changed": set()}
    for name in before:
        if before[name] != after[name]:
            kind = {before[name]: "dropped", after[name]: "kept"}.get("kept", "changed")
            truth[kind].add(name)
    assert found.both == len(pages)
    assert found.moved == {kind: len(names) for kind, names in truth.items()}
    assert truth["kept"] and truth["dropped"]
    for kind, names in truth.items():
        moves = getattr(found, kind)
        assert len(moves) == min(20, len(names))
        for move in moves:
            assert (move.before, move.after) == (before[move.text.id], after[move.text.id])
            assert move.text.id in names
    assert ("Length: least", "20", "40") in found.settings
    assert ("Length: most", "70", "80") in found.settings
    assert not [name for name, *_ in found.settings if not name.startswith("Length: ")]
    assert found.complete and not found.warnings
    number, shown = len(truth["dropped"]), render(make_report(str(run), str(out)))
    assert f"Newly dropped <small>20 shown of all {number}</small>" in shown
    assert "The code of functions and classes is not compared." in shown
    assert f"{len(pages)} documents were found in the samples of both; the first run read" in shown
    monkeypatch.setattr("datatrove_kit.report.sampling.MOST_BYTES", 40_000)
    monkeypatch.setattr("datatrove_kit.report.sampling.LEAST_BYTES", 40_000)
    found = (bounded := make_report(str(run), str(out))).comparison
    assert 0 < found.moved["dropped"] < number
    said = f"20 shown of the {found.moved['dropped']} that were found in the samples</small>"
    assert said in render(bounded)
    kept = [list(fates.values()).count("kept") for fates in (before, after)]
    assert ("JsonlWriter", *kept) in found.counts


def test_sets_are_the_same_in_any_order(run, tmp_path):
    """A set is printed in another order by each process, and so is a tuple that was made of one."""
    marks, words = list(".!?,;:"), ["{'to', 'of, or'}", "{'of, or', 'to'}", "set()"]
    orders = (marks, marks[::-1], list("?.!:;'"))
    for name, ends, stops in zip("abc", orders, words, strict=True):
        copy = shutil.copytree(run, tmp_path / name)
        plan = json.loads((copy / "logs/executor.json").read_text())
        plan["pipeline"][3] |= {"stop_chars": ends, "stop_words": stops}
        (copy / "logs/executor.json").write_text(json.dumps(plan))
    first, same, third = (str(tmp_path / name) for name in "abc")
    found = make_report(first, same)
    assert found.comparison.settings == []
    said = (
        "None of those that the runs recorded. The code of functions and classes is not compared."
    )
    assert said in render(found)
    assert make_report(first, third).comparison.settings == [
        ("Length: stop_chars, in one alone", ",", "'"),
        ("Length: stop_words, in one alone", "of, or, to", "–"),
    ]


def test_two_runs_without_exclusion_writers(source, pages, tmp_path):
    for name, least in (("a", 20), ("b", 40)):
        out = tmp_path / name
        launch(out, JsonlReader(str(source)), Length(least), JsonlWriter(f"{out}/kept"))
    found = make_report(f"{tmp_path}/a", f"{tmp_path}/b").comparison
    gone = {p["id"] for p in pages if not judge(p["text"], 20) and judge(p["text"], 40)}
    assert found.moved == {"kept": 0, "dropped": len(gone), "changed": 0}
    assert {move.text.id for move in found.dropped} <= gone
    assert {move.after for move in found.dropped} == {"dropped by a step without exclusion writer"}


def test_two_runs_of_other_documents(run, tmp_path):
    others = [page(number) | {"id": f"other-{number}"} for number in range(300)]
    source = write(tmp_path / "in", others, 2)
    launch(tmp_path, JsonlReader(str(source)), Length(30), JsonlWriter(f"{tmp_path}/kept"))
    found = make_report(str(run), str(tmp_path)).comparison
    assert (found.both, found.moved) == (0, {"kept": 0, "dropped": 0, "changed": 0})
    assert found.warnings == [
        "No id of the one run was found in the other: documents cannot be followed from run to run."
    ]


def test_settings_that_lie_in_others_are_named(run, tmp_path):
    """Of a dataclass and of one that was printed; long ones from a little before they differ."""
    inner = {"n_grams": 5, "norm_config": {"lowercase": True, "remove_punctuation": True}}
    printed, long = "Config(a=1, hashed=Hash(bits=64, kind='xx'), words=('x', 'y'))", "x" * 900
    for name, change in (("a", str), ("b", lambda text: text.replace("64", "32"))):
        copy = shutil.copytree(run, tmp_path / name)
        plan = json.loads((copy / "logs/executor.json").read_text())
        inner["norm_config"]["remove_punctuation"] = name == "a"
        more = {"config": inner, "printed": change(printed), "list": [long, {"c": name}]}
        plan["pipeline"][3] |= {**more, "text": f"{long}{name}{long}"}
        (copy / "logs/executor.json").write_text(json.dumps(plan))
    found = make_report(f"{tmp_path}/a", f"{tmp_path}/b").comparison.settings
    settings = {name.removeprefix("Length: "): values for name, *values in found}
    assert settings.keys() == {
        "config.norm_config.remove_punctuation",
        "printed.hashed.bits",
        "list",
        "text",
    }
    assert settings["config.norm_config.remove_punctuation"] == ["true", "false"]
    assert settings["printed.hashed.bits"] == ["64", "32"]
    assert settings["text"] == [f"…{'x' * 40}{name}{'x' * 77}…" for name in "ab"]
    assert [value[-12:] for value in settings["list"]] == [
        '", {"c": "a"}]'[-12:],
        '", {"c": "b"}]'[-12:],
    ]


def test_documents_that_cannot_be_followed(source, pages, tmp_path):
    """Ids that stand for two documents, and documents without one."""
    twice = [page | {"id": f"page-{number % 300}"} for number, page in enumerate(pages)]
    write(tmp_path / "in", twice, 2)
    for name, least in (("a", 20), ("b", 40)):
        out = tmp_path / name
        steps = [Length(least, 70, JsonlWriter(f"{out}/dropped")), JsonlWriter(f"{out}/kept")]
        launch(out, JsonlReader(f"{tmp_path}/in"), *steps)
    found = make_report(f"{tmp_path}/a", f"{tmp_path}/b").comparison
    for name, least in (("first", 20), ("second", 40)):
        places = Counter((page["id"], judge(page["text"], least) is None) for page in twice)
        number = len({name for (name, _), times in places.items() if times > 1})
        assert (
            f"{number} ids of the {name} run stand for more than one document of a folder: these "
            "documents cannot be followed."
        ) in found.warnings
    launch(
        tmp_path / "c",
        JsonlReader(str(source)),
        JsonlWriter(f"{tmp_path}/c/kept", adapter=without_id),
    )
    (said,) = make_report(f"{tmp_path}/c", f"{tmp_path}/c").comparison.warnings[:1]
    assert said == "400 documents of the first run without an id: these cannot be followed."


def run_command(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "datatrove_kit", "report", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd)


def test_the_command_writes_one_file(run, tmp_path):
    copy = shutil.copytree(run, tmp_path / "copy")
    before = {path: path.stat().st_mtime_ns for path in copy.rglob("*") if path.is_file()}
    done = run_command(copy)
    assert (done.returncode, done.stdout) == (0, f"{copy}/report.html\n"), done.stderr
    after = {path: path.stat().st_mtime_ns for path in copy.rglob("*") if path.is_file()}
    assert after.keys() - before.keys() == {copy / "report.html"}
    assert {path: after[path] for path in before} == before
    named = run_command(copy, copy, "--output", tmp_path / "both.html", "--seed", 7)
    assert (named.returncode, named.stdout) == (0, f"{tmp_path}/both.html\n"), named.stderr


def test_errors_say_what_to_do(run, source, tmp_path):
    done = run_command(source)
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: there is no run in {source}: no executor.json ")
    for name in ("", " "):
        with pytest.raises(KitError, match="the name of the run is empty"):
            make_report(str(run), name)
    assert run_command("").stderr.count("\n") == 1
    with pytest.raises(KitError, match="/nowhere does not exist"):
        make_report(str(run), "/nowhere")
    with pytest.raises(KitError, match=r"cannot be read: .*nosuch.* Check its address"):
        make_report("nosuch://bucket/run")
    (tmp_path / "file").touch()
    for place in ("file/report.html", "missing/report.html", ""):
        with pytest.raises(KitError, match=r"cannot be written: .* --output FILE"):
            write_report(str(run), output=str(tmp_path / place))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file"]


def test_of_a_store_without_credentials(monkeypatch):
    """The client of S3 as it is, which has no credentials here."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nowhere")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    done = run_command("s3://bucket/run")
    assert done.returncode == 1
    assert done.stderr == (
        "error: s3://bucket/run cannot be read: Unable to locate credentials. Check its address "
        "and your credentials.\n"
    )


def test_what_is_no_report_is_not_written_over(run, tmp_path):
    copy = shutil.copytree(run, tmp_path / "copy")
    mine = copy / "report.html"
    for content in ("", "my notes", "<html><head><title>report</title></head>"):
        mine.write_text(content)
        with pytest.raises(KitError, match=r"is not a report: it is left as it is.*--output FILE"):
            write_report(str(copy))
        assert mine.read_text() == content
    mine.unlink()
    first = write_report(str(copy)).read_bytes()
    assert write_report(str(copy)).read_bytes() == first  # a report is


def test_a_report_is_not_put_among_the_files_of_a_run(run, source, tmp_path):
    copy = shutil.copytree(run, tmp_path / "copy")
    page = write_report(str(copy), output=f"{tmp_path}/page.html")
    (tmp_path / "link").symlink_to(copy / "kept")
    folders = (
        copy / "kept",
        copy / "dropped/length",
        copy / "logs/stats",
        source,
        tmp_path / "link",
    )
    for folder in folders:
        before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
        for name in ("new.html", "earlier.html", *before):
            if name == "earlier.html":
                shutil.copy(page, folder / name)
            with pytest.raises(KitError, match=r"--output FILE"):
                write_report(str(copy), output=f"{folder}/{name}")
        (folder / "earlier.html").unlink()
        assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == before
    second = shutil.copytree(run, tmp_path / "second")
    with pytest.raises(KitError, match=r"--output FILE"):
        write_report(str(copy), str(second), f"{second}/table/new.html")


def test_the_folder_of_a_run_may_hold_documents_itself(source, tmp_path):
    launch(tmp_path, JsonlReader(str(source)), JsonlWriter(str(tmp_path)))
    for _ in range(2):
        assert write_report(str(tmp_path)) == tmp_path / "report.html"


def test_a_folder_that_no_log_names_is_not_read(source, tmp_path):
    """It has the name of one that was elsewhere."""
    out, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    launch(out, JsonlReader(str(source)), JsonlWriter(f"{elsewhere}/notes"))
    shutil.rmtree(elsewhere)
    (out / "notes").mkdir()
    (out / "notes/diary.txt").write_text("dear diary\n")
    found = make_report(str(out))
    assert "diary" not in str(found)
    assert [pile.texts for _, pile in found.kept] == [[]]


def test_counts_of_stages_that_write_into_one_folder_are_no_share(source, pages, tmp_path):
    for logs in ("a", "b"):
        steps = [Length(60), JsonlWriter(f"{tmp_path}/kept")]
        launch(tmp_path, JsonlReader(str(source)), *steps, logs=logs)
    found, kept = make_report(str(tmp_path)), sum(not judge(p["text"], 60) for p in pages)
    (warning,) = found.warnings
    assert warning.startswith("Several stages write into kept: a, b.")
    tile = re.search('<li class="is-kept">.*?</li>', shown := render(found), re.DOTALL)[0]
    assert f"<b>{2 * kept}</b> documents kept" in tile and "%" not in tile
    shares = [float(share.replace(",", "")) for share in re.findall(r"([\d,.]+)%</small>", shown)]
    assert shares and max(shares) <= 100
    launch(
        tmp_path / "one", JsonlReader(str(source)), *steps[:1], JsonlWriter(f"{tmp_path}/one/kept")
    )
    tile = re.search(
        '<li class="is-kept">.*?</li>', render(make_report(f"{tmp_path}/one")), re.DOTALL
    )
    assert f"{100 * kept / len(pages):.1f}".removesuffix(".0") + "%" in tile[0]


class Untimed(PipelineStep):
    """Passes documents on, and tracks nothing."""

    name = "Untimed"

    def run(self, data, rank: int = 0, world_size: int = 1):
        for document in data:
            self.stat_update("seen")
            yield document


def test_steps_without_a_time_are_not_measured(source, tmp_path):
    steps = [unchanged, Untimed(), JsonlWriter(f"{tmp_path}/kept")]
    launch(tmp_path, JsonlReader(str(source)), *steps)
    found = make_report(str(tmp_path))
    assert [step.seconds is None for step in found.stages[0].steps] == [False, True, True, False]
    shown = render(found)
    assert "Not measured: <bdi>unchanged</bdi>, <bdi>Untimed</bdi>." in shown
    assert "of computing measured, all tasks together" in shown
    chart = re.search("<svg [^>]*steps-title.*?</svg>", shown, re.DOTALL)[0]
    assert "JsonlReader" in chart and "Untimed" not in chart and "unchanged" not in chart


def test_charts_are_of_those_that_have_a_value(source, pages, tmp_path):
    """Domains of a few documents are no chart; without dropped texts there is no legend of them."""
    metadata = [{"language": "en"}, {}, {}, {}]
    some = [
        p | {"metadata": metadata[n % 4] | ({"url": "https://a.example"} if n < 30 else {})}
        for n, p in enumerate(pages)
    ]
    write(tmp_path / "in", some, 1)
    launch(
        tmp_path,
        JsonlReader(f"{tmp_path}/in", default_metadata=None),
        Length(),
        JsonlWriter(f"{tmp_path}/kept"),
    )
    found = make_report(str(tmp_path))
    kept = [page for page in some if not judge(page["text"])]
    having = {key: sum(key in page["metadata"] for page in kept) for key in ("language", "url")}
    assert 0 < having["url"] < len(kept) / 10 < having["language"]
    alone = "The chart is of kept documents alone: no dropped one with a value was found."
    assert [(one.title, one.about) for one in found.distributions] == [
        ("Characters of a document", alone),
        (
            "Language",
            f"{having['language']} of {len(kept)} documents have one. {alone}",
        ),
    ]
    section = re.search('<section id="spread".*?</section>', render(found), re.DOTALL)[0]
    legends = re.findall("<text [^>]*>(kept|dropped)</text>", section)
    assert legends == ["kept", "kept"]


def test_how_many_of_a_cluster_are_shown():
    def show(size: int | None) -> str:
        text = Text("a", "one text", 8, "kept/0.jsonl line 1", {})
        clusters = [Cluster("exact", [text], text, size=size)]
        return render(Report("run", "run", [], [], [], clusters, [], []))

    assert "2 of 4 documents of this cluster shown" in show(4)
    assert "2 documents in the cluster" in show(2)
    assert "in the cluster" not in show(None) and "of this cluster" not in show(None)


def text_of(doc) -> str:
    return doc.text


def test_duplicates_and_tokens_of_a_run(source, pages, tmp_path):
    """Documents that are given twice: ExactDedup removes one of each, and a tokenizer follows."""
    out = tmp_path / "out"
    twice = write(
        tmp_path / "twice", [p | {"id": f"{p['id']}-{i}"} for p in pages for i in (1, 2)], 2
    )
    words = Tokenizer(models.WordLevel({word: i for i, word in enumerate(["?", *WORDS])}, "?"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    words.save(str(tmp_path / "words.json"))
    reader = JsonlReader(str(twice))
    config = dedup.ExactDedupConfig(content_getter=text_of)
    signatures = dedup.ExactDedupSignature(f"{out}/signatures", config, 1)
    find = dedup.ExactFindDedups(f"{out}/signatures", f"{out}/found", config)
    remove = dedup.ExactDedupFilter(f"{out}/found", config, JsonlWriter(f"{out}/removed"))
    launch(out, reader, signatures, logs="logs/1")
    launch(out, find, tasks=1, logs="logs/2")
    launch(out, reader, remove, JsonlWriter(f"{out}/kept"), logs="logs/3")
    count = TokensCounter(str(tmp_path / "words.json"))
    launch(out, JsonlReader(f"{out}/kept"), count, JsonlWriter(f"{out}/counted"), logs="logs/4")
    report = make_report(str(out))
    assert [(name, pile.documents) for name, pile in report.kept] == [
        ("counted", len({page["text"] for page in pages}))
    ]
    assert len(report.clusters) > 2
    texts = {page["id"]: page["text"] for page in pages}
    for cluster in report.clusters:
        assert cluster.kind == "exact" and cluster.kept.place.startswith("kept/")
        for text in [*cluster.removed, cluster.kept]:
            assert text.text == texts[text.id[:-2]] == cluster.kept.text
    assert len(report.tokens) == 3
    for tokens in report.tokens:
        split = [tokens.text.text[start:end] for start, end, _ in tokens.pieces]
        assert split == texts[tokens.text.id[:-2]].split()
        assert [number for *_, number in tokens.pieces] == [WORDS.index(w) + 1 for w in split]
