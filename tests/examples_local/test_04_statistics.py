"""Lesson 04 against plain Python, spaCy and fastText, each called directly."""

from __future__ import annotations

import gzip
import json
import re
import statistics
from collections import Counter
from functools import lru_cache
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from conftest import lesson, run_script

from examples_common import language_model
from examples_common.samples import build, manifest, sample

STOP_WORDS = {"the", "be", "to", "of", "and", "that", "have", "with"}
POLICY = ("terms of use", "privacy policy", "cookie policy", "uses cookies", "use cookies")
POLICY += ("use of cookies",)
#: Digits that the histograms of a figure are rounded to; 3 where it is not here.
DIGITS = dict.fromkeys(
    ("n_words", "avg_word_length", "fasttext_en", "stop_word_ratio", "type_token_ratio"), 2
)


def rows(output: str, title: str) -> dict[str, list[float]]:
    """The rows of a table of the output, by their first cell."""
    block = output.partition(f"{title}\n\n")[2].split("\n\n")[0]
    found = re.findall(r"^(\S+)((?: +-?\d+(?:\.\d+)?)+)$", block, re.M)
    return {name: list(map(float, cells.split())) for name, cells in found}


def read() -> list[tuple[dict, dict]]:
    """All documents of the sample with their lines of the manifest."""
    documents = []
    for path in sorted(sample("c4").iterdir()):
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            documents += map(json.loads, lines)
    return list(zip(documents, manifest(sample("c4")), strict=True))


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


@lru_cache
def split_sample() -> tuple[list[dict], list[dict]]:
    """Documents before and after the filters, by the manifest."""
    documents = read()
    good = [d for d, truth in documents if truth["kind"] == "good" and not repeats_lines(d["text"])]
    assert len(good) >= 0.95 * sum(truth["kind"] == "good" for _, truth in documents)
    return [d for d, _ in documents], [{**d, "text": c4_lines(d["text"])} for d in good]


@lru_cache
def tools():
    import spacy
    from fasttext.FastText import _FastText

    return spacy.blank("en"), _FastText(str(language_model()))


def measure(text: str) -> dict[str, float]:
    """The statistics that the lesson prints, and two more, for one text."""
    nlp, model = tools()
    words = [w for w in (token.text.strip() for token in nlp.tokenizer(text)) if w]
    lines = text.split("\n")
    labels, scores = model.predict(text.replace("\n", " "), k=-1)
    bullets = [s for s in map(str.strip, lines) if s and s[0] in "-*•"]
    return {
        "length": len(text),
        "n_lines": len(lines),
        "n_words": len(words),
        "fasttext_en": dict(zip(labels, scores, strict=True)).get("__label__en", 0.0),
        "stop_word_ratio": sum(w in STOP_WORDS for w in words) / len(words),
        "type_token_ratio": len(set(words)) / len(words),
        "avg_word_length": sum(map(len, words)) / len(words),
        "uppercase_ratio": sum(map(str.isupper, text)) / len(text),
        "bullet_point_lines_ratio": len(bullets) / len(lines),
    }


def merged(done, side: str, group: str, name: str) -> dict:
    file = done.folder / "merged" / side / group / name / "metric.json"
    return json.loads(file.read_text(encoding="utf-8"))


def documents_of(stat: dict | int) -> int:
    """How many documents an entry of a metric.json is of, by DataTrove's rules for leaving out."""
    return stat.get("n", stat["total"] if stat.get("mean", 1) == 1 else 1)


def test_all_figures_before_and_after(bare):
    done, sides = bare("04"), split_sample()
    printed = rows(done.stdout, "The mean per document")
    for column, (side, documents) in enumerate(zip(("before", "after"), sides, strict=True)):
        figures = [measure(doc["text"]) for doc in documents]
        for name in figures[0]:
            values = [found[name] for found in figures]
            mean = statistics.fmean(values)
            found = merged(done, side, "summary", name)["summary"]
            assert found["total"] == pytest.approx(sum(values))
            if name in printed:
                assert printed[name][column] == pytest.approx(mean, abs=0.00501)
                assert found["n"] == len(values)
                assert found["mean"] == pytest.approx(mean)
                assert found["std_dev"] == pytest.approx(statistics.stdev(values), abs=1e-9)
            bins = merged(done, side, "histogram", name)
            counted = {value: stat["total"] for value, stat in bins.items()}
            assert counted == Counter(str(round(v, DIGITS.get(name, 3))) for v in values), name
    assert len(printed) == 6


def test_the_file_that_is_shown(bare):
    file = r"^The file \S+/summary/n_words/metric.json\n\n(\{.*?^\})$"
    shown = re.search(file, bare("04").stdout, re.M | re.S)
    words = [measure(doc["text"])["n_words"] for doc in split_sample()[0]]
    found = json.loads(shown[1])["summary"]
    assert (found["total"], found["n"]) == (sum(words), len(words))
    assert (found["min"], found["max"]) == (min(words), max(words))
    assert found["variance"] == pytest.approx(statistics.variance(words))


def test_hosts(bare):
    done, texts = bare("04"), Counter()
    hosts = [Counter(urlsplit(d["url"]).hostname for d in side) for side in split_sample()]
    for doc in split_sample()[0]:
        texts[urlsplit(doc["url"]).hostname] += len(doc["text"])
    for side, counts in zip(("before", "after"), hosts, strict=True):
        found = merged(done, side, "fqdn", "length")
        assert {host: documents_of(stat) for host, stat in found.items()} == counts
    printed = rows(done.stdout, "Documents of the hosts with most text")
    largest = [host for host, _ in texts.most_common(8)]
    assert printed == {host: [side[host] for side in hosts] for host in largest}
    assert list(printed) == largest
    assert (done.folder / "histograms.png").read_bytes().startswith(b"\x89PNG")


def test_the_funnel(bare):
    before, after = split_sample()
    kinds = Counter(truth["kind"] for _, truth in read())
    assert re.search(rf"^JsonlReader +{len(before)}$", bare("04").stdout, re.M)
    assert re.search(rf"^LanguageFilter +1000 +{kinds['foreign']} ", bare("04").stdout, re.M)
    assert re.search(rf"^FineWebQualityFilter .* {len(after)}$", bare("04").stdout, re.M)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A run on 200 documents in four files: the run, its working folder, its input."""
    cwd = tmp_path_factory.mktemp("small")
    data = build("c4", cwd / "mine", docs=200, shards=4)
    done = run_script(lesson("04"), "--input", data, cwd=cwd)
    assert done.code == 0, done.stderr[-2000:]
    return done, cwd, data


def test_one_task_gives_the_same(small, tmp_path):
    four, _, data = small
    one = run_script(lesson("04"), "--input", data, cwd=tmp_path, changes={"TASKS": 1})
    assert one.code == 0, one.stderr[-2000:]
    for title in ("The mean per document", "Documents of the hosts with most text"):
        assert rows(one.stdout, title) == rows(four.stdout, title) != {}
    both = [merged(done, "before", "summary", "n_words")["summary"] for done in (one, four)]
    assert both[0] == pytest.approx(both[1])


def write(folder: Path, files: dict[str, list[dict]]) -> Path:
    folder.mkdir()
    for name, documents in files.items():
        lines = (json.dumps(document) + "\n" for document in documents)
        (folder / name).write_text("".join(lines), encoding="utf-8")
    return folder


def test_a_task_of_zeros_counts_in_the_mean(run, tmp_path):
    """DataTrove writes a bare 0 for it, and its merged mean is too high; the lesson's is not."""
    plain = [{"text": f"We know nothing at all about it, {n} times."} for n in range(30)]
    some = [{"text": f"The end of the road and the bridge to it, {n} times."} for n in range(20)]
    write(tmp_path / "mine", {"a.jsonl": plain, "b.jsonl": some})
    done = run("04", "--input", "mine", changes={"WORKERS": 1})
    assert done.code == 0, done.stderr[-2000:]
    part = done.folder / "parts/before/summary/stop_word_ratio/00000.json"
    assert json.loads(part.read_text()) == {"summary": 0}
    values = [measure(d["text"])["stop_word_ratio"] for d in plain + some]
    assert rows(done.stdout, "The mean per document")["stop_word_ratio"] == [
        pytest.approx(statistics.fmean(values), abs=0.00501)
    ]
    wrong = merged(done, "before", "summary", "stop_word_ratio")["summary"]
    assert (wrong["n"], wrong["mean"] > 2 * statistics.fmean(values)) == (21, True)


def test_everything_is_measured_afresh(run, tmp_path):
    """Metadata that DataTrove would take over, and documents without a url."""
    texts = [d["text"] for d in split_sample()[0][:60]]
    stale = {"language": "en", "language_score": 0.5, "lines": ["x"], "fqdn": "z"}
    some = [
        {"text": text, "url": url, "metadata": stale}
        for text, url in zip(texts, 30 * ["https://a.example.org/1", None], strict=True)
    ]
    write(tmp_path / "mine", {"a.jsonl": some})
    done = run("04", "--input", "mine")
    assert done.code == 0, done.stderr[-2000:]
    for name in ("n_lines", "fasttext_en"):
        mean = statistics.fmean(measure(text)[name] for text in texts)
        assert merged(done, "before", "summary", name)["summary"]["mean"] == pytest.approx(mean)
    hosts = merged(done, "before", "fqdn", "length")
    assert {host: stat["n"] for host, stat in hosts.items()} == {"": 30, "a.example.org": 30}
    assert re.search(r"^\(none\) +30 ", done.stdout, re.M)


def test_when_nothing_is_left_the_profile_before_is_shown(run, tmp_path):
    foreign = [d for d, truth in read() if truth["kind"] == "foreign"]
    write(tmp_path / "mine", {"a.jsonl": foreign})
    done = run("04", "--input", "mine")
    assert done.code == 0, done.stderr[-2000:]
    assert re.search(rf"^LanguageFilter +{len(foreign)} +{len(foreign)} +0$", done.stdout, re.M)
    mean = statistics.fmean(len(d["text"]) for d in foreign)
    printed = rows(done.stdout, "The mean per document")
    assert printed["length"] == [pytest.approx(mean, abs=0.00501)]


def test_resume_measures_only_what_is_missing(small):
    """A task that is marked as not done runs again; the merge is then marked so as well."""
    first, cwd, data = small
    measured = first.folder / "logs/measure/completions"
    (measured / "00002").unlink()
    (first.folder / "logs/merge/completions/00000").unlink()
    times = {p.name: p.stat().st_mtime_ns for p in measured.iterdir()}
    again = run_script(lesson("04"), "--input", data, "--resume", cwd=cwd)
    assert again.code == 0, again.stderr[-2000:]
    assert again.stdout == first.stdout
    after = {p.name: p.stat().st_mtime_ns for p in measured.iterdir()}
    assert {name: after[name] for name in times} == times
    assert set(after) - set(times) == {"00002"}
