"""Lesson 05: exact deduplication. Which of two thousand documents have been here before?

Removes copies in three ways: by DataTrove's three stages, whose tasks hand each other files of
signatures; by a plain set of hashes in one process; and by a Bloom filter. Prints what each task
did, which copy of a text stays, what each way missed or wrongly removed, and the memory it holds.

    python examples_local/05_deduplication.py

Takes about 7 seconds, no network, and 17 MB in output/05_deduplication.
"""

from hashlib import blake2b

from datatrove.data import Document, DocumentsPipeline
from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline import dedup
from datatrove.pipeline.dedup.bloom_filter import BloomFilterConfig
from datatrove.pipeline.writers import JsonlWriter
from datatrove.utils.word_tokenizers import WhitespaceTokenizer

from examples_common import Run, command_line, counters, open_run, options, table
from examples_common.duplicates import bloom_use, documents, held_per_million, judge
from datatrove_kit.readers.readers import READERS

TASKS = 4
FINDER_WORKERS = 3
NORMALIZE = False
BLOOM_BYTES = 2**21 - 1  # less one, or only two bits could ever be set
BLOOM_HASHES = 7
BLOOM_THRESHOLD = 0.95


def content(doc: Document) -> str:
    return " ".join(doc.text.lower().split()) if NORMALIZE else doc.text


def short_url_first(doc: Document) -> int:
    # Of several copies the one of the highest priority stays, which lies between 1 and 65535.
    return 65535 - min(len(str(doc.metadata.get("url", ""))), 65534)


CONFIG = dedup.ExactDedupConfig(content_getter=content, document_priority=short_url_first)


def digest(doc: Document) -> bytes:
    return blake2b(content(doc).encode(), digest_size=16).digest()


def first_copies(data: DocumentsPipeline, rank: int = 0, world_size: int = 1) -> DocumentsPipeline:
    seen = set()
    for doc in data:
        if (key := digest(doc)) not in seen:
            seen.add(key)
            yield doc


def bloom_filter(run: Run) -> dedup.SingleBloomFilter:
    vector, removed = f"{run.folder}/bloom", JsonlWriter(f"{run.folder}/removed/bloom")
    words = WhitespaceTokenizer()
    # Punctuation is gone by then; spaCy, the default, finds the same words in ten times longer.
    words.word_tokenize = str.split
    config = BloomFilterConfig(BLOOM_BYTES, BLOOM_HASHES, duplicate_threshold=BLOOM_THRESHOLD)
    return dedup.SingleBloomFilter(
        vector, config, save_bloom_filter=True, exclusion_writer=removed, language=words
    )


def build(run: Run, finder_workers: int) -> list[LocalPipelineExecutor]:
    def executor(name: str, pipeline: list, tasks: int = 1, after=None) -> LocalPipelineExecutor:
        workers, logs = min(run.workers, tasks), run.logs(f"logs/{name}")
        return LocalPipelineExecutor(pipeline, tasks, workers, logs, depends=after)

    signatures, duplicates = f"{run.folder}/signatures", f"{run.folder}/duplicates"
    removed = JsonlWriter(f"{run.folder}/removed/stages")
    kept = {way: JsonlWriter(f"{run.folder}/kept/{way}") for way in ("stages", "set", "bloom")}
    # A duplicate is known by its task and its place there. The first and the last stage therefore
    # share their reader and the number of tasks, or other documents than the copies would go.
    read = READERS[run.data.format](run.data.folder, doc_progress=True, **run.reading)
    sign = [read, dedup.ExactDedupSignature(signatures, CONFIG, finder_workers)]
    find = [dedup.ExactFindDedups(signatures, duplicates, CONFIG)]
    drop = [read, dedup.ExactDedupFilter(duplicates, CONFIG, removed), kept["stages"]]
    stage_1 = executor("stage_1", sign, run.tasks)
    # A task for each range of hashes that stage 1 made; with fewer, ranges go unread.
    stage_2 = executor("stage_2", find, finder_workers, after=stage_1)
    stage_3 = executor("stage_3", drop, run.tasks, after=stage_2)
    # One task each: a second would start with an empty memory and keep the copies of the first.
    by_set = executor("set", [read, first_copies, kept["set"]])
    by_bloom = executor("bloom", [read, bloom_filter(run), kept["bloom"]])
    return [stage_1, stage_2, stage_3, by_set, by_bloom]


def show(run: Run, stage_1: LocalPipelineExecutor, stage_3: LocalPipelineExecutor) -> None:
    tasks = []
    for rank in range(run.tasks):
        signed, (_, dropped, kept) = counters(stage_1, rank)[1], counters(stage_3, rank)
        tasks.append([rank, signed["total"], dropped["dropped"], kept["total"]])
    table("Stages 1 and 3, by task", ["task", "signatures", "removed", "kept"], tasks)

    kept, removed = (documents(run.folder / fate / "stages") for fate in ("kept", "removed"))
    most = max(kept, key=lambda doc: (doc.metadata["duplicate_count"], doc.id))
    copies = [doc for doc in removed if digest(doc) == digest(most)][:5]
    rows = [[doc.id, short_url_first(doc), "removed"] for doc in copies]
    rows = [[most.id, short_url_first(most), "kept"], *rows]
    table("A text with many copies", ["document", "priority", "stage 3"], rows)

    usable, used, half_full = bloom_use(run.folder / "bloom/bloom_filter.bloom")
    sign = dedup.ExactDedupSignature(f"{run.folder}/memory/signatures", CONFIG)
    find = dedup.ExactFindDedups(sign.output_folder, f"{run.folder}/memory/duplicates", CONFIG)
    memory = {
        "stages": f"stage 1: {held_per_million(sign.run)}, stage 2: {held_per_million(find.run)}",
        "set": f"{held_per_million(first_copies)}",
        "bloom": f"{half_full / sum(task[1] for task in tasks):.0f} when half full",
    }
    rows = [[way, *judge(run, way, "stages", digest), held] for way, held in memory.items()]
    headers = ["way", "kept", "missed", "wrongly removed", "twin kept", "MB per million documents"]
    table("Three ways", headers, rows)
    print(f"\nBloom filter: {8 * BLOOM_BYTES} bits, {usable} usable, {used} set")


def main(
    source: options.Source = "sample",
    limit: options.Limit = None,
    tasks: options.Tasks = TASKS,
    finder_workers: options.FinderWorkers = FINDER_WORKERS,
    workers: options.Workers = 2,
    output: options.Output = None,
    resume: options.Resume = False,
    text_key: options.TextKey = "text",
) -> list:
    """Remove exact duplicates in three ways and compare them."""
    with open_run(__file__, locals(), sample="exact") as run:
        executors = build(run, finder_workers)
        stats = [run.execute(executor) for executor in executors]
        show(run, stage_1=executors[0], stage_3=executors[2])
    return stats


if __name__ == "__main__":
    command_line(main)
