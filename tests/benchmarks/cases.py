"""What is measured: one function a variant, called in a process of its own by the harness.

Each returns ``seconds`` and ``cpu`` of its timed part, and what its check needs.
"""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path
from time import time as clock

from datatrove.data import Document
from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline import dedup, extractors, filters, readers, writers
from harness import timed

from datatrove_kit import guard
from datatrove_kit.fast import early, fast
from examples_common import language_model
from examples_common.samples import sample

REPO = Path(__file__).resolve().parent.parent.parent


def texts(folder: str) -> Iterator[dict]:
    """The records of the .jsonl.gz files of a folder."""
    for path in sorted(Path(folder).glob("*.jsonl.gz")):
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            yield from map(json.loads, lines)


def documents(folder: str) -> list[Document]:
    return [Document(record["text"], str(i)) for i, record in enumerate(texts(folder))]


def digest(text: str) -> bytes:
    return blake2b(text.encode(), digest_size=16).digest()


# ---- tokenizing ------------------------------------------------------------------------------


def tokenize_alone(folder: str, tokenizer: str) -> dict:
    """What the tokenizers library alone takes from text to ids."""
    from tokenizers import Tokenizer

    encoder = Tokenizer.from_file(tokenizer)
    found = [doc.text for doc in documents(folder)]
    with timed() as time:
        ids = [encoding.ids for encoding in encoder.encode_batch(found)]
    return {**time, "tokens": sum(map(len, ids)) + len(ids)}


def tokenize(folder: str, tokenizer: str) -> dict:
    """DocumentTokenizer as lessons 03 and 08 use it: ids on disk, in shuffled order."""
    from datatrove.pipeline.tokens import DocumentTokenizer

    found = documents(folder)
    with tempfile.TemporaryDirectory() as output:
        step = DocumentTokenizer(output, tokenizer, eos_token="<|endoftext|>", seed=42)
        _ = step.tokenizer
        with timed() as time:
            step.run(iter(found))
        size = sum(path.stat().st_size for path in Path(output).glob("*.ds"))
    return {**time, "tokens": size // step.token_size}


# ---- exact duplicates ------------------------------------------------------------------------


def dedup_stages(folder: str, tasks: int) -> dict:
    """Lesson 05's three stages, one process, one task after the other."""
    with tempfile.TemporaryDirectory() as at, timed() as time:
        config = dedup.ExactDedupConfig(content_getter=lambda doc: doc.text)
        read = readers.JsonlReader(folder)
        stages = [
            (tasks, [read, dedup.ExactDedupSignature(f"{at}/signatures", config)]),
            (1, [dedup.ExactFindDedups(f"{at}/signatures", f"{at}/duplicates", config)]),
            (
                tasks,
                [
                    read,
                    dedup.ExactDedupFilter(f"{at}/duplicates", config),
                    writers.JsonlWriter(
                        f"{at}/kept", compression=None, output_filename="${rank}.jsonl"
                    ),
                ],
            ),
        ]
        for number, (count, pipeline) in enumerate(stages):
            LocalPipelineExecutor(pipeline, count, 1, f"{at}/logs/{number}").run()
        kept = sum(len(path.open("rb").readlines()) for path in Path(f"{at}/kept").iterdir())
    return {**time, "kept": kept}


def dedup_set(folder: str) -> dict:
    """A set of hashes in memory."""
    with timed() as time:
        kept = len({digest(record["text"]) for record in texts(folder)})
    return {**time, "kept": kept}


def dedup_duckdb(folder: str) -> dict:
    """SELECT DISTINCT on a hash, on one thread as the others."""
    import duckdb

    with timed() as time:
        duckdb.sql("SET threads = 1")
        files = f"{folder}/*.jsonl.gz"
        query = f"SELECT count(*) FROM (SELECT DISTINCT md5(text) FROM read_json('{files}'))"
        kept = duckdb.sql(query).fetchall()[0][0]
    return {**time, "kept": kept}


# ---- the steps of a crawl, and signatures ------------------------------------------------------


def base_stage(pages: str, steps: str) -> dict:
    """Lesson 08 from WARC files to filtered documents, in one task.

    ``kept`` and ``dropped`` map ids to a hash of the text and to the step and reason.
    """

    def removed(name: str) -> dict:
        return {"exclusion_writer": writers.JsonlWriter(f"{at}/removed/{name}")}

    with tempfile.TemporaryDirectory() as at:
        language = filters.LanguageFilter(["en"], **removed("language"))
        language.model.MODEL_URL = str(language_model())
        pipeline = [
            readers.WarcReader(pages, glob_pattern="*.warc*"),
            filters.URLFilter(soft_word_threshold=2, **removed("url")),
            extractors.Trafilatura(favour_precision=True, timeout=30, deduplicate=False),
            language,
            filters.GopherRepetitionFilter(**removed("repetition")),
            filters.GopherQualityFilter(**removed("quality")),
            filters.C4QualityFilter(filter_no_terminal_punct=False, **removed("c4")),
            filters.FineWebQualityFilter(**removed("fineweb")),
            writers.JsonlWriter(f"{at}/filtered"),
        ]
        if steps == "fast":
            pipeline = fast(pipeline)
        elif steps == "early":
            pipeline = early(pipeline, ["en"], **removed("early"))
        executor = LocalPipelineExecutor(pipeline, 1, 1, f"{at}/logs")
        with timed() as time:
            executor.run()
        kept = {record["id"]: digest(record["text"]).hex() for record in texts(f"{at}/filtered")}
        dropped = {
            record["id"]: [step.name, record["metadata"].get("filter_reason")]
            for step in Path(at, "removed").iterdir()
            for record in texts(str(step))
        }
        read = guard.counters(executor)[0]["documents"]
    return {**time, "read": read, "kept": kept, "dropped": dropped}


def sign(folder: str, step: str) -> dict:
    """Stage 1 of MinHash, with lesson 07's settings; ``files`` is a hash of what it wrote."""
    config = dedup.MinhashConfig(n_grams=5, num_buckets=14, hashes_per_bucket=8)
    found = documents(folder)
    with tempfile.TemporaryDirectory() as at:
        [one] = {"stock": list, "fast": fast}[step]([dedup.MinhashDedupSignature(at, config)])
        with timed() as time:
            one.run(iter(found))
        written = blake2b()
        for path in sorted(Path(at).rglob("*.sig")):
            written.update(path.relative_to(at).as_posix().encode() + path.read_bytes())
    return {**time, "files": written.hexdigest()}


def sign_elsewhere(folder: str, tool: str) -> dict:
    """As many hashes of the same shingles by another tool; words are runs of letters and digits."""
    import datasketch
    import rensa

    from examples_common.samples.builder import words_of

    found = documents(folder)
    with timed() as time:
        for doc in found:
            words = words_of(doc.text)
            shingles = [" ".join(words[i : i + 5]) for i in range(len(words) - 4)]
            if tool == "rensa":
                one = rensa.RMinHash(num_perm=112, seed=1)
                one.update(shingles)
            else:
                one = datasketch.MinHash(num_perm=112)
                one.update_batch([shingle.encode() for shingle in shingles])
            one.digest()
    return time


# ---- whole runs ------------------------------------------------------------------------------


def filtering(folder: str, tasks: int, workers: int, guarded: bool = False) -> dict:
    """Lesson 01's pipeline, by DataTrove alone or by ``guard.run``."""
    with tempfile.TemporaryDirectory() as at:
        executor = LocalPipelineExecutor(
            [
                readers.JsonlReader(folder, glob_pattern="*.jsonl*"),
                filters.LambdaFilter(is_long, writers.JsonlWriter(f"{at}/dropped/short")),
                filters.SamplerFilter(0.5, 42, writers.JsonlWriter(f"{at}/dropped/sampled")),
                writers.JsonlWriter(f"{at}/kept"),
            ],
            tasks=tasks,
            workers=workers,
            logging_dir=f"{at}/logs",
        )
        with timed() as time:
            if guarded:
                guard.run(executor, at)
            else:
                executor.run()
        together = blake2b(b"".join(sorted(digest(r["text"]) for r in texts(f"{at}/kept"))))
    return {**time, "kept": together.hexdigest()}


def is_long(doc: Document) -> bool:
    return len(doc.text) >= 600


# Ends where a lesson calls executor.run() for the first time, and prints when.
UNTIL_RUN = """
import os, runpy, sys, time
from datatrove.executor import LocalPipelineExecutor
def run(executor):
    print(time.time(), flush=True)
    os._exit(0)
LocalPipelineExecutor.run = run
sys.argv = [sys.argv[1], "--output", sys.argv[2]]
sys.path.insert(0, os.path.dirname(sys.argv[0]))
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def lesson_start(script: str) -> dict:
    """A lesson, as a reader starts it; ``ready`` in seconds is the time until its run begins."""
    with tempfile.TemporaryDirectory() as at:
        command = [sys.executable, "-c", UNTIL_RUN, str(REPO / script), f"{at}/output"]
        start = clock()
        with timed() as time:
            done = subprocess.run(command, cwd=at, stdout=subprocess.PIPE, text=True, check=True)
    return {**time, "ready": float(done.stdout.splitlines()[-1]) - start}


if __name__ == "__main__":
    case, arguments = globals()[sys.argv[1]], json.loads(sys.argv[2])
    sample("c4")  # built on first use, outside of any timed part
    print(json.dumps(case(**arguments)))
