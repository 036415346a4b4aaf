"""Lesson 05 against plain Python: groups of the same text, a Bloom filter of exact sets, sizes.

The second half shows in plain DataTrove what the page says of it.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import re
import struct
import unicodedata
from collections import Counter, defaultdict
from functools import lru_cache
from pathlib import Path

import pytest
from conftest import REPO, lesson, run_script
from datatrove.data import Document
from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline import dedup
from datatrove.pipeline.dedup.bloom_filter import (
    MAX_HASH,
    BloomFilterConfig,
    get_false_positive_prob,
)
from datatrove.pipeline.readers import JsonlReader
from datatrove.pipeline.writers import JsonlWriter
from datatrove.utils.hashing import HashConfig

from examples_common.samples import manifest, sample
from examples_common.samples.articles import good_piece

WAYS = ("stages", "set", "bloom")
MONTHS = "january february march april may june july august september october november december"
DAYS = "monday tuesday wednesday thursday friday saturday sunday"


@lru_cache
def documents() -> dict[str, dict]:
    """Every document of the sample by its id, in reading order, with its line of the manifest."""
    truth = iter(manifest(sample("exact")))
    found = {}
    for path in sorted(sample("exact").iterdir()):
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            for number, line in enumerate(lines):
                found[f"{path.name}/{number}"] = json.loads(line) | {"truth": next(truth)}
    return found


@lru_cache
def by_text() -> dict[str, list[str]]:
    """Ids of the documents of each text, in reading order."""
    groups = defaultdict(list)
    for id, doc in documents().items():
        groups[doc["text"]].append(id)
    return groups


def normal(id: str) -> str:
    """The text of a document without case and spacing."""
    return " ".join(documents()[id]["text"].lower().split())


def kept(done, way: str) -> list[str]:
    return [doc["id"] for doc in done.documents(f"kept/{way}")]


@lru_cache(None)
def task_and_place(id: str, tasks: int) -> tuple[int, int]:
    """Which task of ``tasks`` reads a document, and as which of its documents."""
    name, line = id.split("/")
    files = sorted(path.name for path in sample("exact").iterdir())
    rank = files.index(name) % tasks
    sizes = Counter(other.split("/")[0] for other in documents())
    return rank, sum(sizes[f] for f in files[rank : files.index(name) : tasks]) + int(line)


def rows_of(stdout: str, title: str) -> list[list[str]]:
    """Cells of the table under a title."""
    lines = stdout[stdout.index(f"\n{title}\n") :].split("\n\n")[1].split("\n")[2:]
    return [re.split(r"\s{2,}", line.strip()) for line in lines]


def test_the_planted_groups_are_the_same_texts():
    groups = defaultdict(set)
    for id, doc in documents().items():
        truth = doc["truth"]
        groups[truth["group"], truth["url"] * (truth["kind"] == "almost")].add(id)
    assert sorted(map(sorted, groups.values())) == sorted(map(sorted, by_text().values()))
    assert len(documents()) == 2000
    assert len(groups) == 1560


@pytest.mark.parametrize("way", ["stages", "set"])
def test_one_of_each_text_is_kept(way, bare):
    stays = kept(bare("05"), way)
    assert len(stays) == len(set(stays))
    assert Counter(documents()[id]["text"] for id in stays) == Counter(by_text().keys())
    for doc in bare("05").documents(f"kept/{way}"):
        assert doc["text"] == documents()[doc["id"]]["text"]


def test_kept_and_removed_are_all(bare):
    gone = [doc["id"] for doc in bare("05").documents("removed")]
    assert sorted(kept(bare("05"), "stages") + gone) == sorted(documents())


def test_the_stages_keep_the_shortest_url_and_the_set_the_first(bare):
    assert set(kept(bare("05"), "set")) == {ids[0] for ids in by_text().values()}
    stays = set(kept(bare("05"), "stages"))
    differ = 0
    for ids in by_text().values():
        shortest = min(len(documents()[id]["url"]) for id in ids)
        best = [id for id in ids if len(documents()[id]["url"]) == shortest]
        # Of equal priority: the first place within a task; between tasks there is no rule.
        place = min(task_and_place(id, 4)[1] for id in best)
        first = {id for id in best if task_and_place(id, 4)[1] == place}
        assert next(id for id in ids if id in stays) in first
        differ += ids[0] not in stays
    assert differ > 50


def test_most_copies_stay_on_another_site_and_many_are_not_the_first(bare):
    """What page 05 found in the report: the priority knows neither site nor date."""
    stays = {doc["text"]: doc["metadata"] for doc in bare("05").documents("kept/stages")}
    went = [(doc["metadata"], stays[doc["text"]]) for doc in bare("05").documents("removed")]
    elsewhere = sum(a["url"].split("/")[2] != b["url"].split("/")[2] for a, b in went)
    older = sum(a["timestamp"] < b["timestamp"] for a, b in went)
    page = " ".join((REPO / "spec/05_deduplication.md").read_text().split())
    assert f"For {elsewhere} of the {len(went)} that went" in page
    assert f"{older} of them are older" in page


def test_duplicate_count_is_in_the_metadata(bare):
    for doc in bare("05").documents("kept/stages"):
        assert doc["metadata"]["duplicate_count"] == len(by_text()[doc["text"]]) - 1


def words(text: str) -> list[str]:
    """What DataTrove's Bloom filter compares, written anew: words without case, marks, numbers."""
    text = re.sub(r"\d+([.,]\d+)?", "0", text.lower())
    text = re.sub("|".join(DAYS.split()), "WEEKDAY", text)
    text = re.sub("|".join(MONTHS.split()), "MONTH", text)
    text = "".join(c if c.isalnum() or unicodedata.category(c)[0] in "MS" else " " for c in text)
    text = unicodedata.normalize("NFD", text)
    return "".join(c for c in text if unicodedata.category(c) != "Mn").split()


def exact_shingles(threshold: float) -> set[str]:
    """Ids kept by a filter that remembers every 13 words in a row exactly, and forgets nothing."""
    seen, stays = set(), set()
    for id, doc in documents().items():
        tokens = words(doc["text"])
        grams = [tuple(tokens[i : i + 13]) for i in range(len(tokens) - 12)]
        if not grams or sum(gram in seen for gram in grams) / len(grams) <= threshold:
            stays.add(id)
        seen.update(grams)
    return stays


def test_the_bloom_filter_is_a_set_of_shingles(bare):
    assert set(kept(bare("05"), "bloom")) == exact_shingles(0.95)
    assert len(exact_shingles(0.8)) == 138


def test_what_the_bloom_filter_wrongly_removes_are_twins_and_digests(bare):
    """Documents without a twin that is kept are put together out of several articles."""
    stays = kept(bare("05"), "bloom")
    texts = {documents()[id]["text"] for id in stays}
    groups = {documents()[id]["truth"]["group"] for id in stays}
    for text, ids in by_text().items():
        group = documents()[ids[0]]["truth"]["group"]
        assert text in texts or group in groups or len(good_piece(group).sources) == 3


def expected_row(stays: list[str]) -> list[int]:
    texts = {documents()[id]["text"] for id in stays}
    groups = {documents()[id]["truth"]["group"] for id in stays}
    lost = [ids[0] for text, ids in by_text().items() if text not in texts]
    twins = sum(documents()[id]["truth"]["group"] in groups for id in lost)
    return [len(stays), len(stays) - len(texts), len(lost), twins]


def test_the_table_of_the_three_ways(bare):
    done = bare("05")
    rows = {row[0]: row[1:] for row in rows_of(done.stdout, "Three ways")}
    assert list(rows) == list(WAYS)
    for way in WAYS:
        assert [int(cell) for cell in rows[way][:4]] == expected_row(kept(done, way)), way


def test_the_table_of_the_stages(bare):
    rows = {row[0]: row[1:] for row in rows_of(bare("05").stdout, "What each step kept")}
    assert rows["JsonlReader"] == ["2000"]
    assert rows["ExactDedupFilter, removed"] == ["2000", "440", "1560"]


def test_what_the_stages_hand_on(bare):
    """14 bytes a document in ranges of the hash, then 4 bytes a duplicate."""
    folder = bare("05").folder
    signatures = list(folder.glob("signatures/*/*"))
    assert {path.relative_to(folder).as_posix() for path in signatures} == {
        f"signatures/{f:04d}/{t:05d}.c4_sig" for f in range(3) for t in range(4)
    }
    assert sum(path.stat().st_size for path in signatures) == 14 * 2000
    assert sum(path.stat().st_size for path in folder.glob("duplicates/*/*_dup")) == 4 * 440
    many = sum(len(ids) > 1 for ids in by_text().values())
    assert sum(path.stat().st_size for path in folder.glob("duplicates/*/*_counts")) == 8 * many
    for path in signatures:
        part = int(path.parent.name)
        for hash_value, _, _ in struct.iter_unpack("<QHI", path.read_bytes()):
            assert min(hash_value // (2**64 // 3), 2) == part


def test_a_second_run_is_the_same(bare, tmp_path):
    again = run_script(lesson("05"), cwd=tmp_path)
    assert again.stdout == bare("05").stdout
    assert all(kept(again, way) == kept(bare("05"), way) for way in WAYS)


@pytest.mark.parametrize(("tasks", "finders"), [(3, 5), (1, 1)])
def test_other_tasks_keep_the_same_texts(tasks, finders, bare, run):
    done = run("05", changes={"TASKS": tasks, "FINDER_WORKERS": finders, "WORKERS": 1})
    assert done.code == 0, done.stderr[-3000:]
    stays = kept(done, "stages")
    assert Counter(documents()[id]["text"] for id in stays) == Counter(by_text().keys())
    assert rows_of(done.stdout, "Three ways") == rows_of(bare("05").stdout, "Three ways")
    if tasks == 1:  # there is no doubt left: of equal priority the first stays
        for ids in by_text().values():
            best = min(ids, key=lambda id: (len(documents()[id]["url"]), task_and_place(id, 1)[1]))
            assert best in stays


def test_normalising_makes_twins_the_same(run, bare):
    done = run("05", changes={"NORMALIZE": True})
    assert done.code == 0, done.stderr[-3000:]
    for way in ("stages", "set"):
        assert sorted(map(normal, kept(done, way))) == sorted(set(map(normal, documents())))
    assert kept(done, "bloom") == kept(bare("05"), "bloom")
    rows = {row[0]: row[1:5] for row in rows_of(done.stdout, "Three ways")}
    assert [int(cell) for cell in rows["set"]] == expected_row(kept(done, "set"))


def test_resume_after_a_stop(bare, run):
    """Half of stage 3 missing, as after a stop: the rest is done and nothing is there twice."""
    first = run("05")
    for left in ("logs/3/completions/00002", "logs/bloom/completions/00000"):
        (first.folder / left).unlink()
    (first.folder / "kept/stages/00002.jsonl.gz").write_bytes(b"half a file")
    again = run("05", "--resume")
    assert again.code == 0, again.stderr[-3000:]
    assert again.stdout == bare("05").stdout
    assert all(kept(again, way) == kept(bare("05"), way) for way in WAYS)


def test_data_of_ones_own_have_no_manifest(run, tmp_path):
    """No copy at all in one run, no url: the table says what was kept, and no more."""
    (tmp_path / "mine").mkdir()
    texts = [" ".join(f"{word}{n}" for word in "abcdefghijklmnop") for n in range(20)]
    for name, found in (("a", texts[:12]), ("b", texts[12:])):
        lines = "".join(json.dumps({"text": text}) + "\n" for text in found)
        (tmp_path / "mine" / f"{name}.jsonl").write_text(lines, encoding="utf-8")
    done = run("05", "--input", tmp_path / "mine", changes={"TASKS": 2})
    assert done.code == 0, done.stderr[-3000:]
    assert rows_of(done.stdout, "Three ways")[:2] == [["stages", "20"], ["set", "20"]]
    with open(tmp_path / "mine" / "b.jsonl", "a") as more:
        more.writelines(json.dumps({"text": text}) + "\n" for text in texts[:5])
    done = run("05", "--input", tmp_path / "mine", changes={"TASKS": 2})
    assert done.code == 0, done.stderr[-3000:]
    assert rows_of(done.stdout, "Three ways")[:2] == [["stages", "20"], ["set", "20"]]
    assert len(done.documents("removed")) == 5


def test_no_document_ends_with_the_cause(run, tmp_path):
    """Not with what the lesson's own tables miss."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/a.jsonl").write_text("not JSON\nnor this\n")
    done = run("05", "--input", tmp_path / "mine")
    assert done.code == 1
    assert done.error.startswith("the run is not whole:\ntask 0 read 0 of 2 documents in a.jsonl")


def test_a_manifest_of_another_shape_judges_nothing(run):
    done = run("05", "--input", sample("c4"))
    assert done.code == 0, done.stderr[-3000:]
    assert rows_of(done.stdout, "Three ways")[:2] == [["stages", "1000"], ["set", "1000"]]


# What goes wrong in plain DataTrove.


def text_of(doc: Document) -> str:
    return doc.text


def execute(pipeline: list, folder: Path, tasks: int = 1) -> None:
    with contextlib.redirect_stderr(io.StringIO()):
        LocalPipelineExecutor(pipeline, tasks, workers=1, logging_dir=str(folder)).run()


def plain(folder: Path, first: int, ranges: int, finders: int, last: int) -> list[str]:
    """The three stages of plain DataTrove with these numbers of tasks; the texts that are kept."""
    config = dedup.ExactDedupConfig(text_of)
    source, s, d = str(sample("exact")), str(folder / "s"), str(folder / "d")
    execute(
        [JsonlReader(source), dedup.ExactDedupSignature(s, config, ranges)], folder / "1", first
    )
    execute([dedup.ExactFindDedups(s, d, config)], folder / "2", finders)
    drop = [JsonlReader(source), dedup.ExactDedupFilter(d, config), JsonlWriter(str(folder / "k"))]
    execute(drop, folder / "3", last)
    return [doc.text for doc in JsonlReader(str(folder / "k")).run()]


def test_the_right_numbers_in_plain_datatrove(tmp_path):
    assert sorted(plain(tmp_path, 4, 3, 3, 4)) == sorted(by_text())


def test_fewer_tasks_in_stage_3_lose_documents_and_keep_copies(tmp_path):
    texts = plain(tmp_path, 4, 3, 3, 2)
    assert (len(by_text()) - len(set(texts)), len(texts) - len(set(texts))) == (22, 220)


def test_more_tasks_in_stage_3_fail(tmp_path):
    with pytest.raises(AssertionError, match="not exhausted"):
        plain(tmp_path, 4, 3, 3, 8)


def test_fewer_finders_keep_copies(tmp_path):
    texts = plain(tmp_path, 4, 3, 2, 4)
    assert set(texts) == set(by_text())
    assert len(texts) - len(set(texts)) == 161


def test_one_finder_for_several_ranges_fails(tmp_path):
    with pytest.raises(ValueError, match="Set tasks=finder_workers"):
        plain(tmp_path, 4, 3, 1, 4)


def test_signatures_of_a_former_run_remove_documents(tmp_path):
    """Eight tasks, then four in the same folder: the signatures of tasks 4 to 7 still count."""
    plain(tmp_path, 8, 1, 1, 8)
    for name in "123dk":
        for path in sorted((tmp_path / name).rglob("*"), reverse=True):
            path.unlink() if path.is_file() else path.rmdir()
    assert len(by_text()) - len(set(plain(tmp_path, 4, 1, 1, 4))) == 842


def test_two_tasks_with_a_set_keep_copies(tmp_path):
    def first_copies(data, rank, world_size):
        seen = set()
        for doc in data:
            if doc.text not in seen:
                seen.add(doc.text)
                yield doc

    pipeline = [JsonlReader(str(sample("exact"))), first_copies, JsonlWriter(str(tmp_path / "k"))]
    execute(pipeline, tmp_path / "logs", tasks=2)
    assert len(list(JsonlReader(str(tmp_path / "k")).run())) > 1560


def sign(tmp_path: Path, getter, hashes: str = "xxhash", priority=None) -> None:
    config = dedup.ExactDedupConfig(getter, priority, HashConfig(hash_fc=hashes))
    dedup.ExactDedupSignature(str(tmp_path / hashes), config).run([Document("a text", "0")])


def test_the_annotation_of_a_getter_of_bytes(tmp_path):
    def annotated(doc) -> bytes:
        return doc.text.encode()

    annotated.__annotations__["return"] = bytes  # as it is without "from __future__ import"
    sign(tmp_path, annotated, "sha1")
    sign(tmp_path, lambda doc: doc.text.encode(), "xxhash")
    for getter in (lambda doc: doc.text.encode(), annotated):
        if getter is annotated:
            annotated.__annotations__["return"] = "bytes"  # as it is with it
        with pytest.raises(AttributeError, match="encode"):
            sign(tmp_path, getter, "sha1")


@pytest.mark.parametrize("priority", [0, 65536])
def test_a_priority_out_of_range(tmp_path, priority):
    with pytest.raises(AssertionError, match="priority must be between 1 and 65535"):
        sign(tmp_path, text_of, priority=lambda doc: priority)


def bloom(tmp_path: Path, texts: list[str], m_bytes: int, **options) -> tuple[list[str], dict]:
    config = BloomFilterConfig(m_bytes, **{"k": 7, **options})
    step = dedup.SingleBloomFilter(str(tmp_path), config)
    stays = [doc.text for doc in step.run(Document(text, "") for text in texts)]
    return stays, {name: step.stats[name].total for name in ("total", "dropped", "forwarded")}


def test_a_bloom_filter_of_a_power_of_two_keeps_one_document(tmp_path):
    texts = list(by_text())[:20]
    assert len(bloom(tmp_path, texts, 2**21)[0]) == 1
    assert len(bloom(tmp_path, texts, 2**21 - 1)[0]) > 15


def test_short_documents_pass_and_drops_count_twice(tmp_path):
    long = " ".join(f"word{chr(97 + i)}" for i in range(13))
    texts, stats = bloom(tmp_path, ["eleven words", "eleven words", long, long], 2**10 - 1)
    assert texts == ["eleven words", "eleven words", long]
    assert stats == {"total": 4, "dropped": 2, "forwarded": 3}


def test_the_largest_bloom_filter():
    assert (
        BloomFilterConfig(2**28, k=7).m == MAX_HASH
    )  # which SingleBloomFilter wants it to be below


def test_the_number_of_hashes_that_the_config_chooses():
    """Ten usable bits a shingle are best with seven hashes."""
    assert BloomFilterConfig(2**21 - 1, expected_elements=2**21 // 10).k == 444
    assert get_false_positive_prob(2**21 - 1, 2**21 // 10, 7) == pytest.approx(3e-8, rel=0.1)


def test_executor_json_holds_the_vector(bare):
    log = bare("05").folder / "logs/bloom/executor.json"
    assert log.stat().st_size > 4.9 * (2**21 - 1)


def test_the_usable_bits_of_a_bloom_filter(tmp_path):
    """The page's figures of the sample: bits that can be set, and that are."""
    step = dedup.SingleBloomFilter(str(tmp_path), BloomFilterConfig(2**21 - 1, k=7))
    step.tokenizer.word_tokenize, former = str.split, step.tokenizer.word_tokenize
    list(step.run(Document(text, "") for text in by_text()))
    step.tokenizer.word_tokenize = former  # one for the whole process
    ones = [8 * i + b for i, x in enumerate(step.bit_vector) if x for b in range(8) if x >> b & 1]
    assert len(step.bit_vector) * 8 == 2**24 - 8
    assert max(ones) < 2**21
    # Seven bits for every shingle, of which some fall together: 1 - exp(-7 n / usable) of all.
    shingles = {tuple(t[i : i + 13]) for t in map(words, by_text()) for i in range(len(t) - 12)}
    share = 1 - 2.718281828 ** (-7 * len(shingles) / 2**21)
    assert len(ones) / 2**21 == pytest.approx(share, rel=0.02)
    assert len(ones) == 557518


def test_depends_launches_the_earlier_ones(tmp_path):
    """And a chain that was stopped goes on at the task that is missing."""
    ran = []

    def step(name):
        def run(data, rank, world_size):
            ran.append(f"{name}{rank}")
            yield from ()

        return run

    def chain():
        first = LocalPipelineExecutor([step("a")], 2, 1, str(tmp_path / "a"))
        second = LocalPipelineExecutor([step("b")], 1, 1, str(tmp_path / "b"), depends=first)
        return LocalPipelineExecutor([step("c")], 1, 1, str(tmp_path / "c"), depends=second)

    with contextlib.redirect_stderr(io.StringIO()):
        chain().run()
        assert ran == ["a0", "a1", "b0", "c0"]
        (tmp_path / "a/completions/00001").unlink()
        (tmp_path / "c/completions/00000").unlink()
        chain().run()
    assert ran[4:] == ["a1", "c0"]


def test_a_bloom_filter_of_nothing_but_short_documents_fails(tmp_path):
    with pytest.raises(AssertionError, match="expected_elements=0"):
        bloom(tmp_path, ["eleven words"], 2**10 - 1)
