"""Lesson 05: exact deduplication. Which of two thousand documents have been here before?

    python examples_local/05_deduplication.py

10 seconds, 14 MB in output/05_deduplication. The page: spec/05_deduplication.md
"""

import environment  # noqa: F401  (says what to activate, where DataTrove is missing)

import json
from pathlib import Path

from datatrove.data import Document, DocumentsPipeline
from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline import dedup
from datatrove.pipeline.dedup.bloom_filter import BloomFilterConfig
from datatrove.pipeline.readers import JsonlReader
from datatrove.pipeline.writers import JsonlWriter
from datatrove.utils.word_tokenizers import WhitespaceTokenizer

from examples_common import check, funnel, lesson, table

NORMALIZE = False
BLOOM_BYTES = 2**21 - 1  # no power of two: see the page, What goes wrong
BLOOM_THRESHOLD = 0.95
FINDER_WORKERS = 3
TASKS = 4
WORKERS = 2


def content(doc: Document) -> str:
    return " ".join(doc.text.lower().split()) if NORMALIZE else doc.text


def short_url_first(doc: Document) -> int:
    return 65535 - min(len(str(doc.metadata.get("url", ""))), 65534)  # from 1 to 65535


def first_copies(data: DocumentsPipeline, rank: int = 0, world_size: int = 1) -> DocumentsPipeline:
    seen = set()
    for doc in data:
        if (key := hash(content(doc))) not in seen:
            seen.add(key)
            yield doc


def main(data: str, out: str) -> None:
    signatures, duplicates, logs = f"{out}/signatures", f"{out}/duplicates", f"{out}/logs"
    kept = {way: JsonlWriter(f"{out}/kept/{way}") for way in ("stages", "set", "bloom")}
    config = dedup.ExactDedupConfig(content_getter=content, document_priority=short_url_first)
    read = JsonlReader(data, glob_pattern="*.jsonl*")  # in stages 1 and 3: the places must agree
    sign = [read, dedup.ExactDedupSignature(signatures, config, FINDER_WORKERS)]
    find = [dedup.ExactFindDedups(signatures, duplicates, config)]
    removed = JsonlWriter(f"{out}/removed")
    drop = [read, dedup.ExactDedupFilter(duplicates, config, removed), kept["stages"]]
    stage_1 = LocalPipelineExecutor(sign, TASKS, WORKERS, f"{logs}/1")
    stage_2 = LocalPipelineExecutor(find, FINDER_WORKERS, WORKERS, f"{logs}/2", depends=stage_1)
    stage_3 = LocalPipelineExecutor(drop, TASKS, WORKERS, f"{logs}/3", depends=stage_2)
    stage_3.run()  # launches stages 1 and 2 before
    by_set = LocalPipelineExecutor([read, first_copies, kept["set"]], 1, 1, f"{logs}/set")
    by_set.run()
    words = WhitespaceTokenizer()
    words.word_tokenize = str.split  # spaCy, the default, finds the same words in ten times longer
    config = BloomFilterConfig(BLOOM_BYTES, k=7, duplicate_threshold=BLOOM_THRESHOLD)
    bloom = dedup.SingleBloomFilter(f"{out}/bloom", config, language=words)
    by_bloom = LocalPipelineExecutor([read, bloom, kept["bloom"]], 1, 1, f"{logs}/bloom")
    runs = [stage_1, stage_2, stage_3, by_set]
    funnel(stage_3)
    if Path(out, "kept").exists():  # without documents the Bloom filter would fail
        by_bloom.run()
        runs.append(by_bloom)
        judge(data, out)
    check(*runs)


def judge(data: str, out: str) -> None:
    manifest, rows = Path(f"{data}.manifest.jsonl"), []
    lines = [json.loads(x) for x in manifest.open() if '"group"' in x] if manifest.exists() else []
    truth = {m["url"]: (m["group"], m["kind"] == "almost" and m["url"]) for m in lines}
    for way in ("stages", "set", "bloom"):
        urls = [doc.metadata.get("url") for doc in JsonlReader(f"{out}/kept/{way}")()]
        texts = {truth[url] for url in urls if truth}
        lost = [group for group, _ in set(truth.values()) - texts]
        judged = [len(urls) - len(texts), len(lost), sum(g in dict(texts) for g in lost)]
        rows.append([way, len(urls), *(judged if truth else [])])
    table("Three ways", ["way", "kept", "missed", "wrongly removed", "twin kept"], rows)


if __name__ == "__main__":
    lesson(main, sample="exact")
