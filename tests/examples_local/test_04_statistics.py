"""Lesson 04 against plain Python, spaCy, tokenizers and fastText, each called directly."""

from __future__ import annotations

import gzip
import json
import re
import statistics
from collections import Counter
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from conftest import lesson, run_script

from examples_common import language_model
from examples_common.profiles import Profile
from examples_common.samples import manifest, sample

DOCS = 400
ROW = re.compile(r"^ *(\S+)(?: %)?((?: +-?\d+(?:\.\d+)?)+)$", re.M)
STOP_WORDS = {"the", "be", "to", "of", "and", "that", "have", "with"}
POLICY = ("terms of use", "privacy policy", "cookie policy", "uses cookies", "use cookies")
POLICY += ("use of cookies",)
BINS = [0, 50, 100, 200, 300, 400, 500, float("inf")]


def rows(output: str, title: str) -> dict[str, list[float]]:
    """The rows of a table of the output, by their first cell."""
    block = output.partition(f"{title}\n\n")[2].split("\n\n")[0]
    return {name: list(map(float, cells.split())) for name, cells in ROW.findall(block)}


def read(docs: int) -> list[tuple[dict, dict]]:
    """All documents of the sample with their lines of the manifest."""
    folder = sample("c4", docs)
    documents = []
    for path in sorted(folder.iterdir()):
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            documents += map(json.loads, lines)
    return list(zip(documents, manifest(folder), strict=True))


def repeats_lines(text: str) -> bool:
    """The one rule that some good documents fall to: GopherRepetitionFilter's on lines."""
    lines = re.split("\n+", text)
    return 1 - len(set(lines)) / len(lines) > 0.3


def c4_lines(text: str) -> str:
    """What C4QualityFilter leaves of a good document, without its rule on punctuation."""
    kept = []
    for line in map(str.strip, text.splitlines()):
        low = line.lower()
        if len(line.split()) >= 3 and "javascript" not in low and not any(p in low for p in POLICY):
            kept.append(re.sub(r"\[\d*]|\[edit]|\[citation needed]", "", line))
    return "\n".join(kept).strip()


def split_sample(docs: int) -> tuple[list[dict], list[dict]]:
    """Documents before and after the filters, by the manifest."""
    documents = read(docs)
    good = [d for d, truth in documents if truth["kind"] == "good" and not repeats_lines(d["text"])]
    assert len(good) >= 0.95 * sum(truth["kind"] == "good" for _, truth in documents)
    return [d for d, _ in documents], [{**d, "text": c4_lines(d["text"])} for d in good]


@lru_cache
def tools(tokenizer: str):
    import spacy
    from fasttext.FastText import _FastText
    from tokenizers import Tokenizer

    model = _FastText(str(language_model()))
    return spacy.blank("en"), model, Tokenizer.from_file(tokenizer)


def measure(text: str, tokenizer: str) -> dict[str, float]:
    """Every statistic that the lesson prints, for one text."""
    nlp, model, bpe = tools(tokenizer)
    words = [w for w in (token.text.strip() for token in nlp.tokenizer(text)) if w]
    lines = text.split("\n")
    labels, scores = model.predict(text.replace("\n", " "), k=-1)
    bullets = [s for s in map(str.strip, lines) if s and s[0] in "-*•"]
    ends = (".", "?", "!", '"', "'")
    return {
        "length": len(text),
        "n_lines": len(lines),
        "n_words": len(words),
        "token_count": len(bpe.encode(text).ids),
        "avg_word_length": sum(map(len, words)) / len(words),
        "fasttext_en": dict(zip(labels, scores, strict=True)).get("__label__en", 0.0),
        "stop_word_ratio": sum(w in STOP_WORDS for w in words) / len(words),
        "type_token_ratio": len(set(words)) / len(words),
        "uppercase_ratio": sum(map(str.isupper, text)) / len(text),
        "digit_ratio": sum(map(str.isdigit, text)) / len(text),
        "bullet_point_lines_ratio": len(bullets) / len(lines),
        "lines_ending_with_terminal_mark_ratio": sum(s.endswith(ends) for s in lines) / len(lines),
    }


def assert_profile(folder: Path, texts: list[dict[str, float]], printed: list[list[float]]) -> None:
    """The merged files of one side, and its columns of the table, say what the texts do."""
    profile = Profile(folder)
    assert profile.documents == len(texts)
    for name, (mean, deviation) in zip(texts[0], printed, strict=True):
        values = [text[name] for text in texts]
        found = profile.summary(name)
        assert found.n == len(texts)
        assert found.total == pytest.approx(sum(values))
        assert found.mean == pytest.approx(statistics.fmean(values))
        assert found.standard_deviation == pytest.approx(statistics.stdev(values), abs=1e-9)
        scale = 100 if name.endswith("ratio") or name == "fasttext_en" else 1
        assert mean == pytest.approx(scale * statistics.fmean(values), abs=0.00501)
        assert deviation == pytest.approx(scale * statistics.stdev(values), abs=0.00501)
        counts = {key: stat.total for key, stat in profile.metric("histogram", name).items()}
        assert counts == Counter(str(round(value, 3)) for value in values), name


def assert_domains(done, before: list[dict], after: list[dict]) -> None:
    hosts, left = (Counter(urlsplit(d["url"]).hostname for d in side) for side in (before, after))
    assert Profile(done.folder / "merged/before").domains() == dict(hosts)
    assert Profile(done.folder / "merged/after").domains() == dict(left)
    largest = sorted(hosts, key=lambda host: (-hosts[host], host))[:8]
    printed = rows(done.stdout, "Where they are from")
    assert printed == {host: [hosts[host], left[host]] for host in largest}
    assert list(printed) == largest


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A run on DOCS documents."""
    done = run_script(lesson("04"), "--docs", DOCS, cwd=tmp_path_factory.mktemp("small"))
    assert done.code == 0, done.stderr[-3000:]
    return done


def test_all_statistics_of_a_small_sample(small):
    sides = split_sample(DOCS)
    tokenizer = str(small.folder / "tokenizer.json")
    before, after = ([measure(d["text"], tokenizer) for d in side] for side in sides)
    assert len(before) == DOCS
    title = f"{DOCS} documents before the filters, {len(after)} after them"
    printed = rows(small.stdout, title)
    assert list(printed) == list(before[0])
    columns = list(printed.values())
    assert_profile(small.folder / "merged/before", before, [[c[0], c[2]] for c in columns])
    assert_profile(small.folder / "merged/after", after, [[c[1], c[3]] for c in columns])
    assert_domains(small, *sides)
    bins = rows(small.stdout, "How long they are")
    for low, high in pairwise(BINS):
        expected = [sum(low <= t["n_words"] < high for t in side) for side in (before, after)]
        assert bins[str(low)] == expected
    files = sorted({truth["file"] for _, truth in read(DOCS)})
    shares = [
        [t["n_words"] for t, (_, m) in zip(before, read(DOCS), strict=True) if m["file"] in part]
        for part in (files[rank::4] for rank in range(4))
    ]
    names = ["0", "1", "2", "3", "merged"]
    merged = rows(small.stdout, "How n_words was merged")
    for name, values in zip(names, [*shares, [n for share in shares for n in share]], strict=True):
        expected = [len(values), statistics.fmean(values), statistics.stdev(values), max(values)]
        assert merged[name] == pytest.approx(expected, abs=0.00501)


def test_the_bare_run(bare):
    """Everything but words, tokens and language, on all of the default sample."""
    done = bare("04")
    before, after = split_sample(5000)
    printed = rows(done.stdout, f"5000 documents before the filters, {len(after)} after them")
    for side, documents in (("before", before), ("after", after)):
        lengths = [len(d["text"]) for d in documents]
        column = 0 if side == "before" else 1
        assert printed["length"][column] == pytest.approx(statistics.fmean(lengths), abs=0.00501)
        digits = [sum(map(str.isdigit, d["text"])) / len(d["text"]) for d in documents]
        assert printed["digit_ratio"][column + 2] == pytest.approx(
            100 * statistics.stdev(digits), abs=0.00501
        )
        assert sum(row[column] for row in rows(done.stdout, "How long they are").values()) == len(
            documents
        )
    assert_domains(done, before, after)
    for name in ("domains", "histograms"):
        assert f"chart: output/04_statistics/{name}.png" in done.stdout
        assert (done.folder / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_one_task_gives_the_same(small, tmp_path):
    done = run_script(lesson("04"), "--docs", DOCS, "--tasks", 1, cwd=tmp_path)
    last = "How n_words was merged"
    assert done.stdout.partition(last)[0] == small.stdout.partition(last)[0]
    one, four = (rows(d.stdout, last) for d in (done, small))
    assert one == {"0": four["merged"], "merged": four["merged"]}
    merged = sorted((small.folder / "merged").rglob("metric.json"))
    assert len(merged) > 100
    again = done.folder / "tokenizer.json"
    assert again.read_bytes() == (small.folder / "tokenizer.json").read_bytes()


def write(folder: Path, files: dict[str, list[dict]]) -> Path:
    folder.mkdir()
    for name, documents in files.items():
        lines = (json.dumps(document) + "\n" for document in documents)
        (folder / name).write_text("".join(lines), encoding="utf-8")
    return folder


def test_a_task_of_zeros_counts_in_the_mean(run, tmp_path):
    """DataTrove writes a bare 0 for it and loses how many documents it had; the lesson does not."""
    _, good = split_sample(DOCS)
    none = [{"text": re.sub(r"\d", "", d["text"])} for d in good[:30]]
    some = [{"text": d["text"] + " That was in 1999."} for d in good[30:50]]
    write(tmp_path / "mine", {"a.jsonl": none, "b.jsonl": some})
    done = run("04", "--source", "mine", "--workers", 1)
    assert done.code == 0, done.stderr[-2000:]
    profile = Profile(done.folder / "merged/before")
    assert json.loads(
        (done.folder / "parts/before/summary/digit_ratio/00000.json").read_text()
    ) == {"summary": 0}
    assert profile.metric("summary", "digit_ratio")["summary"].n == 1 + len(some)
    values = [sum(map(str.isdigit, d["text"])) / len(d["text"]) for d in none + some]
    found = profile.summary("digit_ratio")
    assert (found.n, found.min) == (50, 0)
    assert found.mean == pytest.approx(statistics.fmean(values))
    assert found.standard_deviation == pytest.approx(statistics.stdev(values))


def test_everything_is_measured_afresh(run, tmp_path):
    """Metadata that DataTrove would take over, documents without a url, a tokenizer of one's own
    that asks for texts to be cut."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    letters = Tokenizer(models.WordLevel({"a": 0, "?": 1}, unk_token="?"))
    letters.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    letters.enable_truncation(10)
    letters.save(str(tmp_path / "letters.json"))
    documents, _ = split_sample(DOCS)
    texts = [d["text"] for d in documents[:60]]
    stale = {"token_count": 7, "language": "en", "language_score": 0.5, "lines": ["x"], "fqdn": "z"}
    some = [
        {"text": text, "url": url, "metadata": stale}
        for text, url in zip(texts, 30 * ["https://a.example.org/1", None], strict=True)
    ]
    write(tmp_path / "mine", {"a.jsonl": some})
    done = run("04", "--source", "mine", "--tokenizer", "letters.json")
    assert done.code == 0, done.stderr[-2000:]
    profile = Profile(done.folder / "merged/before")
    expected = [measure(text, str(done.folder / "tokenizer.json")) for text in texts]
    for name in ("token_count", "n_lines", "fasttext_en"):
        mean = statistics.fmean(text[name] for text in expected)
        assert profile.summary(name).mean == pytest.approx(mean), name
    assert profile.summary("token_count").total == sum(map(len, texts))
    assert profile.domains() == {"(no url)": 30, "a.example.org": 30}
    assert "30 documents have no url, and so no domain" in done.stderr


def test_a_tokenizer_that_is_none(run, tmp_path):
    (tmp_path / "mine.json").write_text("{}")
    done = run("04", "--tokenizer", "mine.json")
    assert (done.code, done.stdout) == (1, "")
    assert "no tokenizer can be loaded from mine.json" in done.stderr
    assert not (done.folder / "_SUCCESS").exists()


def test_nothing_left_is_an_error(run, tmp_path):
    foreign = [d for d, truth in read(DOCS) if truth["kind"] == "foreign"]
    write(tmp_path / "mine", {"a.jsonl": foreign})
    done = run("04", "--source", "mine")
    assert (done.code, done.stdout) == (1, "")
    assert "the filters dropped every document" in done.stderr
    assert not (done.folder / "_SUCCESS").exists()


def test_resume_measures_only_what_is_missing(small):
    """A task that is marked as not done runs again; the merge is then marked so as well."""
    measured = small.folder / "logs/measure/completions"
    (measured / "00002").unlink()
    (small.folder / "logs/merge/completions/00000").unlink()
    times = {p.name: p.stat().st_mtime_ns for p in measured.iterdir()}
    again = run_script(lesson("04"), "--docs", DOCS, "--resume", cwd=small.folder.parent.parent)
    assert again.code == 0, again.stderr[-2000:]
    assert again.stdout == small.stdout
    after = {p.name: p.stat().st_mtime_ns for p in measured.iterdir()}
    assert {name: after[name] for name in times} == times
    assert set(after) - set(times) == {"00002"}
