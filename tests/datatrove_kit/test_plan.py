"""The planner against a run of four times its sample (documents and bytes), and arithmetic.

What depends on measured time is no test's: CPU seconds are given here, not measured.
"""

from __future__ import annotations

import gzip
import json
import struct
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline import dedup, filters
from datatrove.pipeline.extractors import Trafilatura
from datatrove.pipeline.readers import JsonlReader, WarcReader
from datatrove.pipeline.stats import DocStats, StatsMerger
from datatrove.pipeline.writers import JsonlWriter, ParquetWriter

from datatrove_kit import KitError
from datatrove_kit.fast import fast
from datatrove_kit.plan import plan, planner
from datatrove_kit.plan.measuring import Measured, run_tasks
from datatrove_kit.plan.planner import make_stages
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


@pytest.mark.slow
def test_a_run_of_four_times_the_sample(tmp_path):
    build("web", tmp_path / "web", PAGES * TIMES, 2)
    out = tmp_path / "out"
    sizes = {}
    for executor in production(str(tmp_path / "web"), str(out)):
        executor.run()
        logs = {path for path in (out / "logs").rglob("*") if path.is_file()}
        now = sum(p.stat().st_size for p in out.rglob("*") if p.is_file() and p not in logs)
        sizes[Path(executor.logging_dir.path).name] = now - sum(sizes.values())
    before, after = (len(list(JsonlReader(str(out / n))())) for n in ("filtered", "deduplicated"))
    gone = 1 - after / before
    made = plan(
        production,
        str(tmp_path / "web"),
        1,
        cores=2,
        file_pages=PAGES * TIMES,
        duplicates=gone,
        pages=PAGES,
    )
    tasks = {name: stage.tasks for name, stage in made.stages.items()}
    assert tasks == dict.fromkeys(tasks, 1) | {"buckets": CONFIG.num_buckets}
    documents = {name: stage.documents for name, stage in made.stages.items()}
    assert documents["base"] == documents["signatures"] == pytest.approx(before, rel=0.15)
    rows = sum(pq.read_metadata(path).num_rows for path in (out / "parquet").iterdir())
    assert rows == after and documents["final"] == pytest.approx(after, rel=0.15)
    for name in ("base", "signatures", "dedup"):
        assert made.stages[name].gb * 1e9 == pytest.approx(sizes[name], rel=0.25), name
    text = str(made)
    assert all(name in text for name in [*made.stages, "lines to buffer", "cpu hours"])


# ---- arithmetic ------------------------------------------------------------------------------


def measured(name: str, start: float, each: float, memory: float, read: int) -> Measured:
    kind = name if name in KINDS else "documents" if read else "other"
    kept = {"base": 500, "dedup": 250}.get(name, read)
    return Measured(name, kind, 1, start, each, memory, read, kept, 100)


MADE_UP = [
    measured("base", 10, 0.1, 7e8, 1000),
    measured("signatures", 1, 0.01, 1e8, 500),
    measured("buckets", 1, 0, 1e8, 0),
    measured("clusters", 1, 0, 1e8, 0),
    measured("dedup", 1, 0.001, 1e8, 500),
    measured("final", 1, 0.01, 3e8, 250),
    measured("stats", 1, 0.5, 1e8, 0),
]


def stages_of(files: int = 10_000, cores: int = 1000, hours: float = 10, gone: float = 0.5):
    """10,000 files are 300 million pages: 8,333 hours of base at 0.1 s."""
    config = dedup.MinhashConfig(num_buckets=14, hashes_per_bucket=8)
    return make_stages(MADE_UP, config, (files * 30_000, files), cores, hours, gone)


def test_tasks_time_and_memory_are_plain_arithmetic():
    stages = stages_of()
    # 8,333 hours are 1,112 tasks of 7.5, rounded up to whole turns of 1,000 cores.
    base = stages["base"]
    hours = (3e8 * 0.1 + 2000 * 10) / 3600
    assert base.cpu_hours == pytest.approx(hours)
    # 4.17 / 0.75 = 5.56 hours
    assert base.slurm() == {"tasks": 2000, "mem_per_cpu_gb": 1, "time": "06:00:00"}
    documents, gone = 1.5e8, 0.75e8
    assert base.documents == stages["signatures"].documents == pytest.approx(documents)
    assert stages["dedup"].documents == stages["final"].documents == pytest.approx(gone)
    assert stages["signatures"].tasks == stages["dedup"].tasks == stages["final"].tasks == 1000
    buckets = stages["buckets"]
    assert buckets.tasks == 14
    assert buckets.cpu_hours == pytest.approx((documents * 14 * 4e-6 + 14) / 3600)
    # 0.25 GB for 1,000 files with signatures of 68 bytes
    assert buckets.lines_to_buffer == 3676
    assert buckets.mem_per_cpu_gb == 1  # 0.1 GB + 1,000 x (7,500 + 2 x 68 x 3,676), by 0.75
    clusters = stages["clusters"]
    in_pairs = gone * 1.5
    assert clusters.cpu_hours == pytest.approx((1 + in_pairs * 12e-6) / 3600)
    assert (clusters.tasks, clusters.mem_per_cpu_gb) == (1, 43)  # (0.1 + 31.5) GB / 0.75
    assert stages["stats"].cpu_hours == pytest.approx((1 + 1000 * 0.5) / 3600)
    assert {name: stage.gb for name, stage in stages.items()} == pytest.approx(
        {
            "base": 3e8 * 100 / 1e9,
            "signatures": documents * 100 / 1e9,
            "buckets": 0,
            "clusters": 0,
            "dedup": documents * 100 / 1e9,
            "final": gone * 100 / 1e9,
            "stats": 1000 * 100 / 1e9,
        }
    )


def test_a_file_is_never_split():
    few = stages_of(100)
    assert {name: stage.tasks for name, stage in few.items()} == {
        **dict.fromkeys(("base", "signatures", "dedup", "final"), 100),
        **{"buckets": 14, "clusters": 1, "stats": 1},
    }
    # Of 100 files one of 60 tasks reads two: 2 x 30,000 x 0.1 s are 1.67 hours, by 0.75.
    assert stages_of(100, cores=60, hours=2)["base"].time == "03:00:00"


def test_a_bucket_is_split_to_end_in_time():
    # 1.5e8 signatures in each of 14 are 600 s, of 0.1 hours x 0.75 = 270 s each.
    assert stages_of(hours=0.1)["buckets"].tasks == 14 * 3


def test_the_share_of_duplicates_is_given():
    stages = stages_of(gone=0.44)
    assert stages["final"].documents / stages["base"].documents == pytest.approx(0.56)
    # 0.56 / 0.5 of what the sample's duplicates, one half, would leave.
    assert stages["final"].gb == pytest.approx(100 * 3e8 * 0.25 * 0.56 / 0.5 / 1e9)


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
        peaks.append(run_tasks([step], 1, at / "logs")[2])
    # 1.5 documents in pairs for one that is removed
    each = 1.5 * (peaks[1] - peaks[0]) / documents
    assert each == pytest.approx(planner.REMOVED_BYTES, rel=0.15)


# ---- the sample and the corpus ---------------------------------------------------------------


@pytest.mark.parametrize("files", ["CC-MAIN-1999-01", "", "0", 0, "85TB", "-5", "1.5"])
def test_no_such_corpus(files):
    with pytest.raises(KitError, match="no number of files: give one, such as 90000"):
        plan(production, "nowhere", files, cores=1)


def test_a_sample_that_is_too_small(tmp_path):
    build("web", tmp_path / "web", 12, 1)
    with pytest.raises(KitError, match=r"20 pages or more, and base read \d+ documents"):
        plan(production, str(tmp_path / "web"), 100, cores=1)


def test_the_sample_is_the_first_documents_of_the_input(tmp_path):
    """Whatever the reader reads; a later stage that reads the input as well has the same."""
    (tmp_path / "in").mkdir()
    for name in "ab":
        lines = "".join(json.dumps({"text": f"{name}{i}"}) + "\n" for i in range(50))
        (tmp_path / f"in/{name}.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    kept = tmp_path / "kept"

    def twice(data: str, out: str) -> list[LocalPipelineExecutor]:
        return [
            LocalPipelineExecutor(
                [JsonlReader(data, glob_pattern="*.jsonl.gz"), JsonlWriter(f"{kept}/{name}")],
                2,
                1,
                f"{out}/logs/{name}",
            )
            for name in ("first", "second")
        ]

    made = plan(twice, str(tmp_path / "in"), 10, cores=1, file_pages=50, pages=70)
    for name in ("first", "second"):
        [path] = (kept / name).iterdir()
        lines = gzip.decompress(path.read_bytes()).splitlines()
        texts = [f"a{i}" for i in range(50)] + [f"b{i}" for i in range(20)]
        assert [json.loads(line)["text"] for line in lines] == texts
        assert made.stages[name].documents == 500


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
        plan(nothing, str(tmp_path / "web"), 100, cores=1)


def test_a_step_that_raises(tmp_path):
    def fail(data, rank, world_size):
        raise ValueError("a mistake of the user's")

    with pytest.raises(KitError, match=r"(?s)base failed .*a mistake of the user's"):
        run_tasks([fail], 1, tmp_path / "base")
