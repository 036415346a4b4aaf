"""The planner against a run of four times its sample (documents and bytes), and arithmetic.

What depends on measured time is no test's: CPU seconds are given here, not measured.
"""

from __future__ import annotations

import gzip
import json
import math
import struct
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from datatrove.executor import LocalPipelineExecutor, SlurmPipelineExecutor
from datatrove.pipeline import dedup, filters
from datatrove.pipeline.extractors import Trafilatura
from datatrove.pipeline.readers import JsonlReader, WarcReader
from datatrove.pipeline.stats import DocStats, StatsMerger
from datatrove.pipeline.writers import JsonlWriter, ParquetWriter
from warcio.archiveiterator import ArchiveIterator

from datatrove_kit import KitError
from datatrove_kit.fast import fast
from datatrove_kit.plan import plan, planner
from datatrove_kit.plan.measuring import Measured, Sample, cut_sample, in_order, run_ranks
from datatrove_kit.plan.planner import find_corpus, make_plan
from examples_common.samples import build

PAGES, TIMES = 80, 4
CONFIG = dedup.MinhashConfig(n_grams=5, num_buckets=3, hashes_per_bucket=8)
KINDS = {"signatures", "buckets", "clusters", "dedup"}


def production(data: str, out: str) -> list[LocalPipelineExecutor]:
    """FineWeb in small: pages, filters, MinHash, Parquet and statistics."""
    stages = {
        "base": [
            WarcReader(data, glob_pattern="*.warc.gz"),
            Trafilatura(timeout=30, deduplicate=False),
            filters.GopherQualityFilter(exclusion_writer=JsonlWriter(f"{out}/removed")),
            JsonlWriter(f"{out}/filtered"),
        ],
        "signatures": [
            JsonlReader(f"{out}/filtered"),
            dedup.MinhashDedupSignature(f"{out}/signatures", CONFIG),
        ],
        "buckets": [dedup.MinhashDedupBuckets(f"{out}/signatures", f"{out}/pairs", config=CONFIG)],
        "clusters": [dedup.MinhashDedupCluster(f"{out}/pairs", f"{out}/remove", CONFIG)],
        "dedup": [
            JsonlReader(f"{out}/filtered"),
            dedup.MinhashDedupFilter(f"{out}/remove"),
            JsonlWriter(f"{out}/deduplicated"),
        ],
        "final": [
            JsonlReader(f"{out}/deduplicated"),
            DocStats(f"{out}/stats", ["summary"]),
            ParquetWriter(f"{out}/parquet"),
        ],
        "stats": [StatsMerger(f"{out}/stats", f"{out}/merged")],
    }
    tasks = {"buckets": CONFIG.num_buckets, "clusters": 1, "stats": 1}
    return [
        LocalPipelineExecutor(fast(steps), tasks.get(name, 2), 1, f"{out}/logs/{name}")
        for name, steps in stages.items()
    ]


def test_a_run_of_four_times_the_sample(tmp_path):
    build("web", tmp_path / "web", PAGES * TIMES, 2)
    size = sum(path.stat().st_size for path in (tmp_path / "web").glob("*.warc.gz"))
    out = tmp_path / "out"
    for executor in production(str(tmp_path / "web"), str(out)):
        executor.run()
    before, after = (len(list(JsonlReader(str(out / n))())) for n in ("filtered", "deduplicated"))
    made = plan(
        production,
        str(tmp_path / "web"),
        f"{size / 1000} KB",
        cores=2,
        duplicates=1 - after / before,
        pages=PAGES,
    )
    tasks = {name: stage.tasks for name, stage in made.stages.items()}
    # As a sample of 1 GB a file would be: one file.
    assert tasks == dict.fromkeys(tasks, 1) | {"buckets": CONFIG.num_buckets}
    assert made.documents == pytest.approx(before, rel=0.15)
    rows = sum(pq.read_metadata(path).num_rows for path in (out / "parquet").iterdir())
    assert rows == after and made.kept == pytest.approx(after, rel=0.15)
    for name, planned in made.storage.items():
        written = sum(p.stat().st_size for p in (out / name).rglob("*") if p.is_file())
        # Statistics of many documents are about as large as those of few.
        assert planned > 0.75 * written, name
        assert planned < 1.25 * written or name in ("stats", "merged"), name
    assert {"signatures", "filtered", "parquet", "removed", "deduplicated"} <= made.storage.keys()
    text = str(made)
    assert all(name in text for name in [*made.stages, *made.storage, "tasks per bucket"])


def test_stages_are_run_in_order():
    slurm = {"tasks": 1, "time": "1:00:00", "partition": "p"}
    first = SlurmPipelineExecutor([], logging_dir="memory://logs/first", **slurm)
    last = SlurmPipelineExecutor([], logging_dir="memory://logs/last", depends=first, **slurm)
    assert in_order(last) == in_order([first, last]) == [first, last]


# ---- arithmetic ------------------------------------------------------------------------------


def measured(name: str, start: float, each: float, memory: float, read: int) -> Measured:
    kind = name if name in KINDS else "documents" if read else "other"
    written = {} if name in ("buckets", "clusters") else {name: 100}
    kept = {"base": 500, "dedup": 250}.get(name, read)
    return Measured(name, kind, 1, start, each, memory, read, kept, 1, written)


def made_up(**changes) -> Sample:
    stages = [
        measured("base", 10, 0.1, 8e8, 1000),
        measured("signatures", 1, 0.01, 1e8, 500),
        measured("buckets", 1, 0, 1e8, 0),
        measured("clusters", 1, 0, 1e8, 0),
        measured("dedup", 1, 0.001, 1e8, 500),
        measured("final", 1, 0.01, 3e8, 250),
        measured("stats", 1, 0.5, 1e8, 0),
    ]
    return replace(Sample(30_000_000, stages, duplicates=0.5), **changes)


WARCS = find_corpus("10000", 1)  # 300 million pages: 8,333 hours of base at 0.1 s


def test_tasks_time_and_memory_are_plain_arithmetic():
    plan = make_plan(made_up(), WARCS, cores=1000, memory_gb=4, hours=10, duplicates=0.5)
    stages = plan.stages
    # 8,333 hours are 1,112 tasks of 7.5, rounded up to whole turns of 1,000 cores.
    base = stages["base"]
    assert (base.tasks, base.cpus_per_task, base.mem_per_cpu_gb) == (2000, 1, 1)
    hours = (3e8 * 0.1 + 2000 * 10) / 3600
    assert base.cpu_hours == pytest.approx(hours)
    assert base.wall_hours == pytest.approx(2 * hours / 2000)
    assert base.time == "05:45:00"  # 4.17 / 0.75 = 5.56, in quarters
    assert base.slurm() == {
        "tasks": 2000,
        "cpus_per_task": 1,
        "mem_per_cpu_gb": 1,
        "time": "05:45:00",
    }
    documents, gone = 1.5e8, 0.75e8
    assert (plan.documents, plan.kept) == (pytest.approx(documents), pytest.approx(gone))
    assert stages["signatures"].tasks == stages["dedup"].tasks == stages["final"].tasks == 1000
    buckets = stages["buckets"]
    assert (buckets.tasks, buckets.tasks_per_bucket) == (71 * 14, 71)
    assert buckets.cpu_hours == pytest.approx((documents * 14 * 4e-6 + 994) / 3600)
    # Half of 0.5 GB for 1,000 files with signatures of 68 bytes, but no more than there are: 2,112.
    assert buckets.lines_to_buffer == 2112
    assert buckets.mem_per_cpu_gb == 1  # 0.1 GB + 1,000 x (7,500 + 2 x 68 x 2,112)
    clusters = stages["clusters"]
    in_pairs = gone * 1.5
    assert clusters.cpu_hours == pytest.approx((1 + in_pairs * 12e-6) / 3600)
    # (0.1 + 31.5) GB / 0.8 are 39.5 GB, 10 cores of 4.
    assert (clusters.tasks, clusters.cpus_per_task, clusters.mem_per_cpu_gb) == (1, 10, 4)
    assert stages["stats"].cpu_hours == pytest.approx((1 + 1000 * 0.5) / 3600)
    assert plan.storage == pytest.approx(
        {
            "base": 3e8 * 100,
            "signatures": documents * 100,
            "dedup": documents * 100,
            "final": gone * 100,
            "stats": 1000 * 100,
        }
    )
    assert plan.files == 2000 + 1000 + 994 + 1 + 1000 + 1000 + 1


def test_a_task_that_needs_more_memory_takes_more_cores():
    base = make_plan(made_up(), WARCS, cores=1000, memory_gb=0.5, hours=10).stages["base"]
    assert (base.cpus_per_task, base.tasks) == (2, 1500)  # three turns of 500
    assert base.wall_hours == pytest.approx(3 * base.cpu_hours * 7 / 10_000)


def test_a_file_is_never_split():
    few = make_plan(made_up(), find_corpus("100", 1), cores=1000)
    assert {name: stage.tasks for name, stage in few.stages.items()} == {
        **dict.fromkeys(("base", "signatures", "dedup", "final"), 100),
        **{"buckets": 994, "clusters": 1, "stats": 1},
    }
    assert few.notes == []
    slow = make_plan(made_up(), find_corpus("100", 1), cores=1000, hours=0.5)
    assert [note for note in slow.notes if "base: a task takes 0.8 hours, of 0.5" in note]


def test_a_bucket_is_split_to_end_in_time():
    # 2.1e9 signatures are 2.3 hours, of 0.001 x 0.75 each.
    stage = make_plan(made_up(), WARCS, cores=1, hours=0.001).stages["buckets"]
    assert stage.tasks_per_bucket == math.ceil(2.1e9 * 4e-6 / 3600 / 0.00075 / 14)
    assert stage.tasks == 14 * stage.tasks_per_bucket


def test_too_many_open_files(monkeypatch):
    monkeypatch.setattr(planner.resource, "getrlimit", lambda what: (1024, 1024))
    [note] = make_plan(made_up(), WARCS, cores=1000).notes
    assert "opens 1,000 files; here a process may open 1,024 (ulimit -n)" in note


def test_documents_of_a_run_without_minhash():
    made = make_plan(made_up(stages=made_up().stages[:1]), WARCS, cores=1000)
    assert made.documents == made.kept == pytest.approx(1.5e8)


def test_the_share_of_duplicates_is_given():
    made = make_plan(made_up(), WARCS, cores=1000, duplicates=0.44)
    assert made.kept / made.documents == pytest.approx(0.56)
    # 0.56 / 0.5 of what the sample's duplicates, one half, would leave.
    assert made.storage["final"] == pytest.approx(100 * 3e8 * 0.25 * 0.56 / 0.5)
    many = make_plan(made_up(), WARCS, cores=1000, duplicates=0.9).stages["clusters"]
    assert many.cpu_hours == pytest.approx((1 + 1.5e8 * 12e-6) / 3600)  # all, at most


def test_memory_of_stage_3_is_as_the_constant_says(tmp_path):
    """DataTrove's own stage on made-up pairs; a dict holds most right after it has grown."""
    documents = 174_764  # one more than fill a dict of 2**18 places
    peaks = []
    for pairs in (1, documents // 2):
        at = tmp_path / str(pairs)
        (at / "pairs").mkdir(parents=True)
        made = b"".join(struct.pack("<4I", i % 99, 2 * i, i % 99, 2 * i + 1) for i in range(pairs))
        for bucket in range(CONFIG.num_buckets):
            (at / f"pairs/{bucket:05d}_00.dups").write_bytes(b"" if bucket else made)
        step = dedup.MinhashDedupCluster(str(at / "pairs"), str(at / "remove"), CONFIG, True, True)
        peaks.append(run_ranks([step], 1, at / "logs", [0])[2])
    assert (peaks[1] - peaks[0]) / documents == pytest.approx(planner.DOCUMENT_BYTES, rel=0.15)


# ---- the sample and the corpus ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "pages", "files", "known"),
    [
        ("CC-MAIN-2024-22", 2_709_877_975, 90_330, "README"),
        ("90000", 90_000 * 30_000, 90_000, "README"),
        ("85TB", 85e12 / 25_000, 85_000, "measured, 25.0 kB a page"),
        ("1.5 GB", 60_000, 2, "measured, 25.0 kB a page"),
    ],
)
def test_a_corpus(text, pages, files, known):
    corpus = find_corpus(text, page_bytes=25_000)
    assert (corpus.pages, corpus.files) == (pages, files) and known in corpus.known


@pytest.mark.parametrize("text", ["CC-MAIN-1999-01", "", "0", "-5", "many", "1.5", "3 PX", "."])
def test_no_such_corpus(text):
    with pytest.raises(KitError, match=r"90000.*85TB.*CC-MAIN-2024-22"):
        plan(production, "nowhere", text, cores=1)


def test_a_sample_that_is_too_small(tmp_path):
    build("web", tmp_path / "web", 12, 1)
    with pytest.raises(KitError, match=r"20 pages or more, and \d+ were found"):
        plan(production, str(tmp_path / "web"), "100", cores=1)
    with pytest.raises(KitError, match="and 0 were found"):
        plan(production, str(tmp_path / "nowhere"), "100", cores=1)


def test_a_warc_sample_holds_the_records_of_the_input(tmp_path):
    build("web", tmp_path / "web", 60, 3)

    def ids(folder: Path) -> list[tuple]:
        found = []
        for path in sorted(folder.glob("*.warc.gz")):
            with open(path, "rb") as stream:
                for record in ArchiveIterator(stream):
                    if record.rec_type == "response":
                        page = record.content_stream().read()
                        found.append((record.rec_headers["WARC-Record-ID"], page))
        return found

    size = cut_sample(WarcReader(str(tmp_path / "web")), tmp_path / "cut", 30)
    [path] = (tmp_path / "cut").iterdir()
    assert (path.name, path.stat().st_size) == ("web-00000.warc.gz", size)
    there = ids(tmp_path / "web")
    # The first ten of each file, since they are spread over the input.
    assert ids(tmp_path / "cut") == there[:10] + there[20:30] + there[40:50]


def test_a_sample_of_json_lines(tmp_path):
    (tmp_path / "in/x").mkdir(parents=True)
    for name in "ab":
        lines = "".join(json.dumps({"text": f"{name}{i}"}) + "\n" for i in range(50))
        (tmp_path / f"in/x/{name}.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    reader = JsonlReader(str(tmp_path / "in"), glob_pattern="x/*.jsonl.gz")
    cut_sample(reader, tmp_path / "cut", 30)
    lines = gzip.decompress((tmp_path / "cut/x/a.jsonl.gz").read_bytes()).splitlines()
    assert [json.loads(line)["text"] for line in lines] == [
        f"{name}{i}" for name in "ab" for i in range(15)
    ]


# ---- what cannot be measured -----------------------------------------------------------------


def test_filters_that_keep_nothing(tmp_path):
    build("web", tmp_path / "web", 60, 1)

    def nothing(data: str, out: str) -> list[LocalPipelineExecutor]:
        base = [WarcReader(data, glob_pattern="*.warc.gz"), filters.LambdaFilter(lambda doc: False)]
        base.append(JsonlWriter(f"{out}/kept"))
        later = [JsonlReader(f"{out}/kept"), JsonlWriter(f"{out}/more")]
        return [
            LocalPipelineExecutor(base, 1, 1, f"{out}/logs/base"),
            LocalPipelineExecutor(later, 1, 1, f"{out}/logs/later"),
        ]

    with pytest.raises(KitError, match=r"later failed .* a stage before it kept nothing"):
        plan(nothing, str(tmp_path / "web"), "100", cores=1)


def test_a_step_that_raises(tmp_path):
    def fail(data, rank, world_size):
        raise ValueError("a mistake of the user's")

    with pytest.raises(KitError, match=r"(?s)base failed .*a mistake of the user's"):
        run_ranks([fail], 1, tmp_path / "base", [0])
