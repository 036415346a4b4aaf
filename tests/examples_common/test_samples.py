"""The sample data: the same bytes every time, true to its manifest, and treated as real text is."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections import Counter, defaultdict
from itertools import combinations

import pytest
from conftest import REPO, read_documents
from warcio.archiveiterator import ArchiveIterator

from examples_common.samples.articles import articles, good_piece, languages
from examples_common.samples.builder import (
    JACCARD_TARGETS,
    SETS,
    build,
    content_hashes,
    jaccard,
    manifest,
    sample,
)

HASHES = REPO / "data" / "sample-hashes.json"


def test_enough_articles():
    english = articles("en")
    assert len(english) >= 120
    assert sum(len(a.text.split()) for a in english) >= 40_000
    assert len({a.topic for a in english}) >= 12
    assert len({a.register for a in english}) >= 10
    assert len(languages()) == 12
    assert all(len(articles(language)) >= 6 for language in languages())


def test_no_two_articles_share_a_sentence():
    seen: dict[str, str] = {}
    for language in languages():
        for article in articles(language):
            for paragraph in article.paragraphs:
                for sentence in re.split(r"(?<=[.!?。！？।]) ?", paragraph):
                    if len(sentence) > 40:
                        assert seen.setdefault(sentence, article.slug) == article.slug


def test_sets_are_the_committed_ones(tmp_path, pytestconfig):
    """Built twice: the hashes of what the files hold are equal, and equal to the committed ones."""
    hashes = {name: content_hashes(build(name, tmp_path / "a" / name)) for name in SETS}
    if pytestconfig.getoption("--update-specs"):
        HASHES.write_text(json.dumps(hashes, indent=1, sort_keys=True) + "\n")
    assert hashes == json.loads(HASHES.read_text())
    for name in SETS:
        again = build(name, tmp_path / "b" / name)
        for path in again.iterdir():
            assert path.read_bytes() == (tmp_path / "a" / name / path.name).read_bytes()


@pytest.mark.parametrize("version", ["3.10", "3.11", "3.12", "3.13"])
def test_same_on_every_python(version, tmp_path):
    """The sets that need no library (all but web), built by each Python on this machine."""
    python = f"python{version}"
    if sys.version_info[:2] == tuple(map(int, version.split("."))):
        python = sys.executable
    elif subprocess.run(f"{python} -c ''", shell=True, capture_output=True).returncode:
        pytest.skip(f"no Python {version} on this machine")
    code = (
        "import json, sys; from pathlib import Path;"
        "from examples_common.samples.builder import build, content_hashes;"
        "build_one = lambda n: content_hashes(build(n, Path(sys.argv[1]) / n));"
        "print(json.dumps({n: build_one(n) for n in ('c4', 'exact', 'near')}))"
    )
    # The package's own __init__ imports DataTrove, which other Pythons need not have.
    stub = tmp_path / "stub" / "examples_common"
    stub.mkdir(parents=True)
    (stub / "__init__.py").write_text(f"__path__ = [{str(REPO / 'examples_common')!r}]\n")
    done = subprocess.run(
        [python, "-c", code, str(tmp_path / "sets")],
        env={**os.environ, "PYTHONPATH": str(stub.parent)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    committed = json.loads(HASHES.read_text())
    assert json.loads(done.stdout) == {name: committed[name] for name in ("c4", "exact", "near")}


@pytest.mark.parametrize("name", SETS)
def test_the_manifest_has_the_mix(name):
    kinds = Counter(m["kind"] for m in manifest(sample(name)))
    assert kinds == {k: n * SETS[name].docs // 100 for k, n in SETS[name].mix.items()}


@pytest.mark.parametrize("name", [n for n in SETS if n != "web"])
def test_the_manifest_is_in_step_with_the_files(name):
    records = read_documents(sample(name))
    assert [m["url"] for m in manifest(sample(name))] == [r["url"] for r in records]
    assert len({r["url"] for r in records}) == len(records)


def test_copies_are_exact_and_nothing_else_is():
    groups = defaultdict(set)
    for truth, record in zip(
        manifest(sample("exact")), read_documents(sample("exact")), strict=True
    ):
        groups[record["text"]].add((truth["kind"] != "almost", truth["group"]))
    assert all(len(members) == 1 for members in groups.values())
    exact = {next(iter(m))[1] for m in groups.values() if next(iter(m))[0]}
    assert len(exact) == 1400


def test_near_duplicates_have_the_similarity_that_is_said():
    records = read_documents(sample("near"))
    truths = manifest(sample("near"))
    text = dict(enumerate(r["text"] for r in records))
    base = {t["cluster"]: i for i, t in enumerate(truths) if t["kind"] == "base"}
    targets = set()
    for i, truth in enumerate(truths):
        if truth["kind"] == "variant":
            true = jaccard(text[i], text[base[truth["cluster"]]])
            assert true == pytest.approx(truth["jaccard"], abs=1e-4)
            assert truth["target"] - 0.05 <= true <= truth["target"]
            targets.add(truth["target"])
    assert targets == set(JACCARD_TARGETS)


def test_unrelated_documents_are_far_apart():
    texts = [good_piece(n).text for n in range(0, 3000, 20)]
    assert max(jaccard(a, b) for a, b in combinations(texts, 2)) < 0.5


def test_mirrors_and_pages_fetched_again_have_the_similarity_of_duplicates():
    """Each is a copy of a good page before it; unrelated pages stay as far apart as they were."""
    truths = manifest(sample("web"))
    bodies = {}
    for path in sorted(sample("web").iterdir()):
        with open(path, "rb") as stream:
            for record in ArchiveIterator(stream):
                if record.rec_type == "response":
                    id, date = (record.rec_headers[f"WARC-{n}"] for n in ("Record-ID", "Date"))
                    bodies[id] = date, record.content_stream().read()
    clusters = defaultdict(list)
    for truth in truths:
        if "cluster" in truth:
            clusters[truth["cluster"]].append(truth)
    assert sum(map(len, clusters.values())) - len(clusters) == 20
    assert {len(members) for members in clusters.values()} >= {2, 3}
    for first, *copies in clusters.values():
        assert first["kind"] == "good" and copies
        paragraphs = text_of(bodies[first["id"]][1])
        for copy in copies:
            date, body = bodies[copy["id"]]
            again = copy["kind"] == "recrawl"
            assert copy["dropped_by"] == "MinhashDedupFilter"
            assert (copy["url"] == first["url"]) == again == (date > bodies[first["id"]][0])
            assert again or copy["url"].split("/")[2] != first["url"].split("/")[2]
            assert paragraphs != text_of(body)
            assert 0.85 < jaccard(paragraphs, text_of(body)) < 1


def text_of(body: bytes) -> str:
    """The paragraphs of a page of the sample."""
    return "\n".join(re.findall(r"<p>(.*)</p>", body.decode()))


def test_good_documents_survive_the_filters():
    """At DataTrove's default thresholds, 95% of the good English documents pass all filters."""
    from datatrove.data import Document
    from datatrove.pipeline.filters import (
        C4QualityFilter,
        FineWebQualityFilter,
        GopherQualityFilter,
        GopherRepetitionFilter,
    )

    filters = [f() for f in (GopherRepetitionFilter, GopherQualityFilter)]
    filters += [f() for f in (C4QualityFilter, FineWebQualityFilter)]
    good = [
        Document(text=record["text"], id=truth["url"])
        for truth, record in zip(manifest(sample("c4")), read_documents(sample("c4")), strict=True)
        if truth["kind"] == "good"
    ]
    passed = sum(all(f.filter(doc) is True for f in filters) for doc in good)
    assert passed >= 0.95 * len(good)


def test_memory_does_not_grow_with_the_set(tmp_path):
    import tracemalloc

    build("c4", tmp_path / "warm", docs=2_000)  # what is remembered of the articles
    peaks = []
    for docs in (2_000, 8_000):
        tracemalloc.start()
        build("c4", tmp_path / str(docs), docs=docs)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.5 * peaks[0]


def test_a_set_of_any_size_from_the_command_line(tmp_path):
    done = subprocess.run(
        f"{sys.executable} -m examples_common web --docs 120 --shards 3".split()
        + ["--output", str(tmp_path / "crawl")],
        capture_output=True,
        text=True,
        cwd=REPO,
    )
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "crawl").glob("*.warc.gz"))) == 3
    assert len(manifest(tmp_path / "crawl")) == 120


@pytest.mark.parametrize("wrong", [{"name": "c5"}, {"name": "c4", "docs": -1}])
def test_no_such_set(wrong, tmp_path):
    with pytest.raises(ValueError):
        build(folder=tmp_path / "x", **wrong)
    assert not (tmp_path / "x").exists()
