"""The planner of lesson 08 against a real run of ten times its sample, and against arithmetic."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import dill
import pytest
from conftest import lesson
from datatrove.executor import LocalPipelineExecutor
from warcio.archiveiterator import ArchiveIterator

from examples_common import LessonError
from datatrove_kit.guard.tasks import guard
from datatrove_kit.plan.measuring import (
    Buckets,
    Clusters,
    Line,
    Profile,
    Range,
    Sample,
    cut_sample,
    exactly,
    measure,
)
from datatrove_kit.plan.planner import (
    DUMPS,
    Corpus,
    Limits,
    find_corpus,
    limits_of,
    make_plan,
)
from datatrove_kit.guard.runs import Run, counters
from examples_common.samples import build
from datatrove_kit.guard.slurm import Cluster
from datatrove_kit.readers.sources import find_input
from examples_common.vocabularies import tokenizer_file

PAGES = 100
ONE_TASK = "import dill, sys; dill.load(open(sys.argv[1], 'rb'))._run_for_rank(int(sys.argv[2]))"


def the_lesson() -> dict:
    """What lesson 08 defines, as if it were the script that runs: its steps travel by value."""
    path = lesson("08")
    names = {"__name__": "__main__", "__file__": str(path)}
    text = path.read_text(encoding="utf-8").partition("\nif __name__ ==")[0]
    exec(compile(text, str(path), "exec"), names)
    return names


def steps_of(script: dict):
    def make(run: Run) -> dict[str, list]:
        end = script["CONFIG"].tokens["eos_token"]
        tokenizer = tokenizer_file(run.folder / "tokenizer.json", None, end)
        return script["pipelines"](run, "sample-1", tokenizer, script["Speed"].fast)

    return make


def real_run(script: dict, data, folder: Path) -> tuple[Counter, Counter, int]:
    """Run all stages as Slurm does, a process a task: CPU seconds by stage, bytes by folder, and
    the pages that were read."""
    folder.mkdir()
    run = Run(folder, str(folder), data, len(data.files), 1, "text")
    Path(run.paths_file).write_text("".join(f"{n}\n" for n in data.files))
    seconds = Counter()
    steps = steps_of(script)(run)
    for stage, tasks in script["tasks_of"](run).items():
        executor = LocalPipelineExecutor(
            steps[stage], tasks, 1, logging_dir=run.logs(f"logs/{stage}")
        )
        guard(executor)
        pickled = folder / f"{stage}.pik"
        pickled.write_bytes(dill.dumps(executor, recurse=True))
        for rank in range(tasks):
            with open(folder / "err", "w") as err:
                words = [sys.executable, "-c", ONE_TASK, str(pickled), str(rank)]
                process = subprocess.Popen(words, stderr=err, stdout=err)
                _, status, used = os.wait4(process.pid, 0)
                process.returncode = os.waitstatus_to_exitcode(status)
            assert status == 0, (folder / "err").read_text()[-2000:]
            seconds[stage] += used.ru_utime + used.ru_stime
        pickled.unlink()
        if stage == "base":
            pages = counters(executor)[0]["documents"]
    sizes = Counter()
    for path in folder.rglob("*"):
        if path.is_file():
            sizes[path.relative_to(folder).parts[0]] += path.stat().st_size
    return seconds, sizes, pages


def within(predicted: float, measured: float, share: float = 0.25) -> bool:
    return abs(predicted - measured) <= share * measured


@pytest.mark.slow
def test_predicts_a_run_of_ten_times_the_sample(tmp_path):
    script = the_lesson()
    build("web", tmp_path / "web", 10 * PAGES, 2)
    data = find_input(str(tmp_path / "web"), "web", ("warc",), None, None)
    (tmp_path / "plan").mkdir()
    # At the same time, so that whatever else the machine does weighs on both.
    with ThreadPoolExecutor() as pool:
        running = pool.submit(real_run, script, data, tmp_path / "run")
        sample = measure(data, steps_of(script), PAGES, tmp_path / "plan")
        seconds, sizes, pages = running.result()
    corpus = Corpus("all", pages, len(data.files), sum(data.files.values()), "measured")
    plan = make_plan(sample, corpus, Limits(cores=2))
    tasks = {name: stage.tasks for name, stage in plan.stages.items()}
    assert tasks == dict.fromkeys(tasks, 2) | {"buckets": 14, "clusters": 1, "stats": 1}
    predicted = {name: 3600 * stage.cpu.mid for name, stage in plan.stages.items()}
    total = sum(seconds.values())
    assert within(sum(predicted.values()), total), (predicted, seconds)
    for name, used in seconds.items():
        if used > total / 10:
            assert within(predicted[name], used), (name, predicted, seconds)
    written = sum(sizes[name] for name in plan.storage)
    assert within(plan.storage.total(), written), (plan.storage, sizes)
    for name, size in plan.storage.items():
        if sizes[name] > written / 10:
            assert within(size, sizes[name]), (name, plan.storage, sizes)
    assert abs(sample.pages - PAGES) < 0.1 * PAGES
    assert within(sample.bytes / sample.pages, corpus.bytes / pages)


# ---- arithmetic ------------------------------------------------------------------------------


def line(start: float, each: float, memory: float, size: float = 100) -> Line:
    """A stage whose tasks cost this and no range, for plain arithmetic."""
    return Line(start, exactly(each), memory, {}, {"filtered": size}, Counter(filtered=1))


def made_up(**changes) -> Sample:
    lines = {
        "base": line(10, 0.1, 1e9),
        "signatures": line(1, 0.01, 1e8),
        "dedup": line(1, 0.001, 1e8),
        "final": line(1, 0.01, 3e8),
        "stats": line(1, 0.01, 1e8),
    }
    sample = Sample(
        pages=100,
        bytes=3_000_000,
        lines=lines,
        buckets=Buckets(1, exactly(2e-6), 0, 1e8, 1000),
        clusters=Clusters(1, 1e-6, 1e-6, 1e8, 200),
        kept=exactly(0.5),
        duplicates=0.44,
        profile=Profile(1000, 10, 2000, 40, 3000),
        signature_bytes=68,
        num_buckets=14,
        hashes=8,
    )
    return replace(sample, **changes)


WARCS = find_corpus("10000", 1)  # 300 million pages: 8,333 hours of base at 0.1 s
ROOM = Limits(cores=1000, memory=4, array=5000, hours=10)


def test_time_and_tasks_are_plain_arithmetic():
    plan = make_plan(made_up(), WARCS, ROOM)
    base = plan.stages["base"]
    # 1,112 tasks of 7.5 hours, rounded up to whole turns of 1,000 cores.
    assert (base.tasks, base.files, base.cores, base.bound) == (2000, 5, 1, ["cores"])
    hours = (3e8 * 0.1 + 2000 * 10) / 3600
    assert base.cpu.mid == pytest.approx(hours)
    assert base.wall.mid == pytest.approx(2 * hours / 2000)
    documents = 3e8 * 0.5
    assert plan.removed == exactly(0.44)
    assert plan.kept.mid == pytest.approx(documents * 0.56)
    buckets = plan.stages["buckets"]
    assert buckets.tasks == 71 * 14
    assert buckets.cpu.mid == pytest.approx((documents * 14 * 2e-6 + 994) / 3600)
    assert buckets.memory.mid == pytest.approx(0.1 + 1000 * plan.stages["signatures"].tasks / 1e9)
    clusters = plan.stages["clusters"]
    assert clusters.memory.mid == pytest.approx(0.1 + 200e-9 * documents * 0.44 * 1.5)
    pairs = documents * 0.44 * 14 * 0.95**8
    assert plan.pairs.mid == pytest.approx(pairs)
    assert clusters.cpu.mid == pytest.approx((1 + (pairs + documents * 0.44 * 1.5) * 1e-6) / 3600)
    assert plan.storage["filtered"] == pytest.approx(
        100 * (3e8 + 2 * documents + plan.kept.mid)
    )  # base, signatures and dedup, final
    assert plan.storage["minhash"] == pytest.approx(16 * pairs + 4 * documents * 0.44)


def test_the_limit_that_binds():
    def bound(stage: str, **changes) -> list[str]:
        return make_plan(made_up(), WARCS, replace(ROOM, **changes)).stages[stage].bound

    assert bound("base") == ["cores"]
    # 1,112 tasks would end in time: 1,001 may not; 1,000 take 8.3 hours each, which still fits.
    assert bound("base", array=1001) == ["array limit"]
    assert bound("base", array=500) == ["array limit", "time limit"]
    # Of 600 cores two turns are 1,200 tasks; one turn would not end in time.
    crowded = make_plan(made_up(), WARCS, replace(ROOM, cores=600, array=1150))
    assert crowded.stages["base"].tasks == 1150
    # The 100 tasks of base leave 100 files, for 1,000 cores.
    assert [bound(s, array=100) for s in ("signatures", "dedup", "final")] == [["files"]] * 3
    assert bound("buckets", array=100) == ["array limit"]
    assert bound("base", cores=20_000, array=20_000) == ["files"]
    assert bound("base", memory=0.5) == ["memory"]
    # 0.1 GB and 200 bytes for each of 99 million documents.
    assert bound("clusters", memory=20) == ["one task"]
    assert bound("clusters", memory=19) == ["memory"]
    assert bound("clusters", memory=1, cores=10) == ["memory", "not enough memory"]
    assert bound("clusters", memory=20, hours=0.1) == ["time limit"]


def test_a_task_that_needs_more_memory_takes_more_cores():
    free = make_plan(made_up(), WARCS, ROOM).stages["base"]
    tight = make_plan(made_up(), WARCS, replace(ROOM, memory=0.5)).stages["base"]
    assert (tight.cores, tight.tasks) == (2, 1500)  # three turns of 500
    assert tight.wall.mid == pytest.approx(3 * tight.cpu.mid * tight.files / 10_000)
    assert tight.wall.mid > free.wall.mid


def test_ranges_and_duplicates_widen_what_follows():
    plan = make_plan(made_up(kept=Range(0.4, 0.5, 0.6), duplicates=0.1), WARCS, ROOM)
    grown = math.log(3e8 / 100) / math.log(DUMPS["CC-MAIN-2024-22"] / 100)
    assert plan.removed == pytest.approx((0.1, 0.1 + 0.34 * grown, 0.44))
    assert plan.kept.low == pytest.approx(3e8 * 0.4 * 0.56)
    assert plan.kept.high == pytest.approx(3e8 * 0.6 * 0.9)
    for stage in plan.stages.values():
        assert stage.cpu.low <= stage.cpu.mid <= stage.cpu.high


@pytest.mark.parametrize(
    ("text", "pages", "files", "known"),
    [
        ("CC-MAIN-2024-22", 2_709_877_975, 90_330, "quoted"),
        ("90000", 90_000 * 30_000, 90_000, "quoted"),
        ("85TB", 85e12 / 25_000, 85_000, "measured"),
        ("1.5 GB", 60_000, 2, "measured"),
    ],
)
def test_a_corpus(text, pages, files, known):
    corpus = find_corpus(text, page_bytes=25_000)
    assert (corpus.pages, corpus.files, corpus.known) == (pages, files, known)


@pytest.mark.parametrize("text", ["CC-MAIN-1999-01", "", "0", "-5", "many", "1.5", "3 PX", "."])
def test_no_such_corpus(text):
    with pytest.raises(LessonError, match=r"90000.*85TB.*CC-MAIN-2024-22"):
        find_corpus(text, 1)


def test_a_sample_that_is_too_small(tmp_path):
    build("web", tmp_path / "web", 12, 1)
    data = find_input(str(tmp_path / "web"), "web", ("warc",), None, None)
    with pytest.raises(LessonError, match="20 pages or more"):
        cut_sample(data, tmp_path / "cut", 100)


def test_the_sample_holds_the_records_of_the_input(tmp_path):
    build("web", tmp_path / "web", 60, 3)
    data = find_input(str(tmp_path / "web"), "web", ("warc",), None, None)

    def ids(folder, names) -> list[str]:
        found = []
        for name in names:
            with open(folder / name, "rb") as stream:
                for record in ArchiveIterator(stream):
                    if record.rec_type == "response":
                        page = record.content_stream().read()
                        found.append((record.rec_headers["WARC-Record-ID"], page))
        return found

    cut = cut_sample(data, tmp_path / "cut", 30)
    taken = ids(tmp_path / "cut", cut.files)
    there = ids(tmp_path / "web", data.files)
    assert len(taken) == 30 and len(set(taken)) == 30
    # The first ten of each file, since they are spread over the input.
    assert sorted(taken) == sorted(there[:10] + there[20:30] + there[40:50])


def test_limits_of_a_cluster():
    assumed = limits_of(Cluster(), 8)
    assert (assumed.memory, assumed.hours, assumed.array) == (4, 10, 1001)
    given = limits_of(Cluster(memory=2, time="1-06:30:00", max_array_size=50), 8)
    assert (given.memory, given.hours, given.array) == (2, 30.5, 50)
    assert given.said == {"memory", "time", "max_array_size"}
    assert [limits_of(Cluster(time=t), 1).hours for t in ("90", "30:00", "2-12")] == [1.5, 0.5, 60]
