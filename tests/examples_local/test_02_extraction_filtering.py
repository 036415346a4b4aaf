"""Lesson 02 against the manifest: every planted page falls to the step that is meant for it."""

from __future__ import annotations

import multiprocessing
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import cchardet
import pytest
from conftest import REPO, lesson, read_documents, run_script
from warcio.archiveiterator import ArchiveIterator

from examples_common.samples import build, manifest, sample
from examples_common.samples.articles import articles, languages

STEPS = {
    "1_language": "LanguageFilter",
    "2_repetition": "GopherRepetitionFilter",
    "3_gopher": "GopherQualityFilter",
    "4_c4": "C4QualityFilter",
    "5_fineweb": "FineWebQualityFilter",
}
BEFORE = ("WarcReader", "Trafilatura")
TRUTH = {m["id"]: m for m in manifest(sample("web"))}


def responses(crawl: Path) -> Iterator[tuple[str, str, bytes]]:
    """Record id, payload type and body of every response in a folder of WARC files."""
    for path in sorted(crawl.iterdir()):
        with open(path, "rb") as stream:
            for record in ArchiveIterator(stream):
                if record.rec_type == "response":
                    head = record.rec_headers
                    mime = head["WARC-Identified-Payload-Type"]
                    yield head["WARC-Record-ID"], mime, record.content_stream().read()


def dropped_by(done) -> dict[str, str]:
    """Step that dropped each page, by record id; pages that are kept are not in it."""
    by = {}
    for folder, step in STEPS.items():
        by |= {d["id"]: step for d in done.documents(f"dropped/{folder}")}
    kept = {d["id"] for d in done.documents("kept")}
    html = {i for i, mime, body in responses(sample("web")) if mime == "text/html" and body}
    assert kept.isdisjoint(by), "a page is both kept and dropped"
    assert kept | set(by) <= html
    by |= dict.fromkeys(html - kept - set(by), "Trafilatura")
    by |= dict.fromkeys(set(TRUTH) - html, "WarcReader")
    return by


def test_planted_pages_fall_to_their_step(bare):
    by = dropped_by(bare("02"))
    hits: dict[str, list[bool]] = defaultdict(list)
    for i, truth in TRUTH.items():
        meant = truth.get("dropped_by")
        if meant not in (*BEFORE, *STEPS.values()):  # a step of lesson 08; the text is good
            meant = None
        hits[truth["kind"], meant].append(by.get(i) == meant)
    shares = {kind: sum(found) / len(found) for kind, found in hits.items()}
    assert {meant for _, meant in shares} == {*BEFORE, *STEPS.values(), None}
    assert min(shares.values()) >= 0.95, shares


def test_the_text_of_good_pages_is_the_article(bare):
    """At least 95% of an article's paragraphs are there, and nothing of the page around it.

    Where a page is not UTF-8 the reader trusts a guess at its charset, and not what is declared.
    """
    whole = {a.slug: a for language in languages() for a in articles(language)}
    around = ("Read next", "Powered by a small", "Log in or register", "Accept all", "All rights")
    bodies = {i: body for i, _, body in responses(sample("web"))}
    checked, garbled = 0, []
    for doc in [*bare("02").documents("kept"), *bare("02").documents("dropped/1_language")]:
        truth = TRUTH[doc["id"]]
        if len(truth.get("sources", ())) != 1:
            continue
        article = whole[truth["sources"][0]]
        body, charset = bodies[doc["id"]], truth["charset"]
        if charset != "utf-8":
            guess = cchardet.detect(body)["encoding"]
            if body.decode(guess) != body.decode(charset):
                garbled.append(truth["language"])
                continue
        lines = set(doc["text"].split("\n"))
        found = sum(" ".join(p.split()) in lines for p in article.paragraphs)
        assert found >= 0.95 * len(article.paragraphs), (truth["title"], truth["style"])
        assert not any(a in doc["text"] for a in around), (truth["title"], truth["style"])
        checked += 1
    assert checked > 150
    assert garbled == ["it", "it"], "the page says so"


def test_blocked_words_in_an_address_drop_nothing_here(bare):
    """What page 02 found in the report."""
    by = dropped_by(bare("02"))
    there = [i for i, truth in TRUTH.items() if "//webcam.example.com" in truth["url"]]
    assert not [i for i in there if i in by]
    page = " ".join((REPO / "spec/02_extraction_filtering.md").read_text().split())
    assert f"All {len(there)} pages from there are kept" in page


def test_the_funnel_adds_up(bare):
    done = bare("02")
    rows = dict(re.findall(r"^(\w[\w, ]*?)  +(\d+ +\d+ +\d+)$", done.stdout, re.M))
    by = Counter(dropped_by(done).values())
    left = len(TRUTH) - by["WarcReader"]
    assert re.search(rf"^WarcReader +{left}$", done.stdout, re.M)
    filters = ((f"{step}, {folder}", step) for folder, step in STEPS.items())
    for row, step in (("Trafilatura", "Trafilatura"), *filters):
        assert list(map(int, rows[row].split())) == [left, by[step], left - by[step]]
        left -= by[step]
    assert left == len(done.documents("kept"))


def test_the_reasons_are_those_of_the_dropped_documents(bare):
    done = bare("02")
    table = done.stdout.partition("Why pages were dropped")[2]
    for folder in STEPS:
        why = defaultdict(list)
        for doc in done.documents(f"dropped/{folder}"):
            reason = doc["metadata"].get("filter_reason") or f"is {doc['metadata']['language']}"
            why[reason].append(doc["text"].replace("\n", " ")[:40])
        for reason, begins in why.items():
            row = re.search(rf"^{folder} +{reason} +{len(begins)}  (.*)$", table, re.M)
            assert row and row[1].strip() in map(str.strip, begins), reason


def test_the_page_shown_is_one_page(bare):
    before, after = (
        bare("02").stdout.partition("One page before\n\n")[2].split("\n\nThe page after")
    )
    doc = bare("02").documents("kept")[0]
    assert doc["text"][:400] in after
    body = next(body for i, _, body in responses(sample("web")) if i == doc["id"])
    assert body.decode()[:1300] == before


def test_a_second_run_is_the_same_with_other_tasks_too(bare, tmp_path):
    again = run_script(lesson("02"), cwd=tmp_path, changes={"TASKS": 3, "WORKERS": 1})
    kept = {d["id"]: d["text"] for d in bare("02").documents("kept")}
    assert {d["id"]: d["text"] for d in again.documents("kept")} == kept


def test_a_second_bare_run_prints_the_same(bare, tmp_path):
    assert run_script(lesson("02"), cwd=tmp_path).stdout == bare("02").stdout


def test_a_folder_of_html_files(tmp_path):
    """The same pages as files: the same texts, whichever way they come in."""
    folder = tmp_path / "pages"
    folder.mkdir()
    crawl = build("web", tmp_path / "crawl", docs=100, shards=1)
    for record_id, mime, body in responses(crawl):
        if mime == "text/html" and body:
            (folder / f"{record_id[10:-1]}.html").write_bytes(body)
    (folder / "notes.txt").write_text("not a page")
    runs = {}
    for data in (crawl, folder):
        out = tmp_path / f"from {data.name}"
        done = run_script(lesson("02"), "--input", data, "--output", out, cwd=tmp_path)
        assert done.code == 0, done.stderr[-2000:]
        runs[data] = sorted(d["text"] for d in read_documents(out / "kept"))
    assert len(runs[crawl]) > 30
    assert runs[crawl] == runs[folder]


def test_when_every_page_is_dropped_the_tables_say_so(run, tmp_path):
    build("web", tmp_path / "crawl", docs=100, shards=1)
    done = run("02", "--input", "crawl", changes={"LANGUAGES": ["tlh"]})
    assert done.code == 0, done.stderr[-2000:]
    assert re.search(r"^LanguageFilter, 1_language +(\d+) +\1 +0$", done.stdout, re.M)
    assert "One page" not in done.stdout
    assert not (done.folder / "kept").exists()


def test_a_page_that_no_document_became_of_is_named(run, tmp_path):
    """Noise that WarcReader finds no charset for: DataTrove drops it, and ends with exit code 0."""
    from warcio.statusandheaders import StatusAndHeaders
    from warcio.warcwriter import WARCWriter

    (tmp_path / "crawl").mkdir()
    fields = [("Content-Type", "text/html")]
    page = b"<html><body><p>A page that can be read.</p></body></html>"
    with open(tmp_path / "crawl" / "a.warc.gz", "wb") as stream:
        writer = WARCWriter(stream, gzip=True)
        for name, body in (("good", page), ("noise", bytes(range(128, 256)) * 40)):
            head = StatusAndHeaders("200 OK", fields, protocol="HTTP/1.1")
            record = writer.create_warc_record(
                f"https://www.example.com/{name}", "response", BytesIO(body), http_headers=head
            )
            writer.write_record(record)
    done = run("02", "--input", "crawl")
    assert done.code == 1
    assert "task 0 read 1 of 2 documents in a.warc.gz" in done.error


@pytest.mark.slow
@pytest.mark.parametrize("load", [6])
def test_nothing_is_lost_on_a_busy_machine(load, bare, tmp_path):
    """Under load DataTrove's default timeout of 1 s loses pages; the lesson's does not."""

    def spin(stop):
        while not stop.is_set():
            pass

    context = multiprocessing.get_context("fork")
    stop = context.Event()
    spinners = [context.Process(target=spin, args=(stop,), daemon=True) for _ in range(load)]
    for process in spinners:
        process.start()
    try:
        done = run_script(lesson("02"), cwd=tmp_path)
    finally:
        stop.set()
        for process in spinners:
            process.join()
    assert done.stdout == bare("02").stdout
