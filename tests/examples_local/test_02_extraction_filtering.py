"""Lesson 02 against the manifest: every planted page falls to the step that is meant for it."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import lesson, read_documents, run_script
from warcio.archiveiterator import ArchiveIterator

from examples_common.samples.articles import articles, languages
from examples_common.samples import build, manifest, sample

STEPS = {
    "1_language": "LanguageFilter",
    "2_gopher_repetition": "GopherRepetitionFilter",
    "3_gopher_quality": "GopherQualityFilter",
    "4_c4": "C4QualityFilter",
    "5_fineweb": "FineWebQualityFilter",
}
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
        by |= {d["id"]: step for d in done.documents(f"removed/{folder}")}
    kept = {d["id"] for d in done.documents("kept")}
    html = {i for i, mime, body in responses(sample("web")) if mime == "text/html" and body}
    assert kept.isdisjoint(by), "a page is both kept and removed"
    assert kept | set(by) <= html
    by |= dict.fromkeys(html - kept - set(by), "Trafilatura")
    by |= dict.fromkeys(set(TRUTH) - html, "WarcReader")
    return by


def test_planted_pages_fall_to_their_step(bare):
    by = dropped_by(bare("02"))
    hits: dict[str, list[bool]] = defaultdict(list)
    for i, truth in TRUTH.items():
        if truth["kind"] == "blocklisted":  # URLFilter comes in lesson 08; the text is good
            continue
        hits[truth["kind"]].append(by.get(i) == truth.get("dropped_by"))
    shares = {kind: sum(found) / len(found) for kind, found in hits.items()}
    assert len(shares) == 20
    assert min(shares.values()) >= 0.95, shares


def test_the_text_of_good_pages_is_the_article(bare):
    """At least 95% of an article's paragraphs are there, and nothing of the page around it."""
    whole = {a.slug: a for language in languages() for a in articles(language)}
    around = ("Read next", "Powered by a small", "Log in or register", "Accept all", "All rights")
    checked = 0
    for doc in [*bare("02").documents("kept"), *bare("02").documents("removed/1_language")]:
        truth = TRUTH[doc["id"]]
        if len(truth.get("sources", ())) != 1:
            continue
        article = whole[truth["sources"][0]]
        lines = set(doc["text"].split("\n"))
        found = sum(" ".join(p.split()) in lines for p in article.paragraphs)
        assert found >= 0.95 * len(article.paragraphs), (truth["title"], truth["style"])
        assert not any(a in doc["text"] for a in around), (truth["title"], truth["style"])
        checked += 1
    assert checked > 150


def test_old_charsets_are_read_right(bare):
    docs = {d["id"]: d for d in bare("02").documents("removed/1_language")}
    old = [i for i, t in TRUTH.items() if t.get("charset", "utf-8") != "utf-8"]
    right = [
        i for i in old if i in docs and docs[i]["metadata"]["language"] == TRUTH[i]["language"]
    ]
    assert len(old) > 10
    assert len(right) >= 0.95 * len(old)


def test_the_funnel_adds_up(bare):
    done = bare("02")
    rows = dict(re.findall(r"^(\w[\w ]*?)  +(\d+ +\d+ +\d+)$", done.stdout, re.M))
    by = Counter(dropped_by(done).values())
    left = len(TRUTH) - by["WarcReader"]
    assert re.search(rf"^read as HTML +{left}$", done.stdout, re.M)
    for row, step in (("extracted", "Trafilatura"), *((f[2:], s) for f, s in STEPS.items())):
        assert list(map(int, rows[row].split())) == [left, by[step], left - by[step]]
        left -= by[step]
    assert left == len(done.documents("kept"))


def test_the_reasons_are_those_of_the_removed_documents(bare):
    done = bare("02")
    for folder in STEPS:
        why = Counter(
            d["metadata"].get("filter_reason") or f"is {d['metadata']['language']}"
            for d in done.documents(f"removed/{folder}")
        )
        for reason, count in why.items():
            assert re.search(rf"^{folder[2:]} +{reason} +{count}  ", done.stdout, re.M), reason


def test_a_second_run_is_the_same_with_other_tasks_too(bare, tmp_path):
    again = run_script(lesson("02"), "--tasks", 3, "--workers", 1, cwd=tmp_path)
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
        if mime == "text/html":
            (folder / f"{record_id[10:-1]}.html").write_bytes(body)
    runs = {}
    for source in (crawl, folder):
        done = run_script(
            lesson("02"), "--source", source, "--output", tmp_path / f"o{len(runs)}", cwd=tmp_path
        )
        assert done.code == 0, done.stderr[-2000:]
        runs[source] = sorted(d["text"] for d in read_documents(tmp_path / f"o{len(runs)}/kept"))
    assert len(runs[crawl]) > 30
    assert runs[crawl] == runs[folder]


@pytest.mark.parametrize("load", [6])
def test_nothing_is_lost_on_a_busy_machine(load, bare, tmp_path):
    """Under load DataTrove's default timeout of 1 s loses pages; the lesson's does not."""
    import multiprocessing

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
    assert "warning: " not in done.stderr
