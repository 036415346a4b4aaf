"""The fast steps give what DataTrove's own give: words, texts, decisions, statistics, files."""

from __future__ import annotations

import base64
import random
import re
import subprocess
import sys
from pathlib import Path

import dill
import pytest
from datatrove.data import Document
from datatrove.pipeline import filters
from datatrove.pipeline.dedup import MinhashConfig, MinhashDedupSignature
from datatrove.pipeline.extractors import Trafilatura
from datatrove.pipeline.readers import JsonlReader, WarcReader
from datatrove.pipeline.writers import JsonlWriter
from datatrove.utils.hashing import HashConfig
from datatrove.utils.text import PUNCTUATION, TextNormConfig
from datatrove.utils.word_tokenizers import load_word_tokenizer
from lxml import html

from datatrove_kit import KitError
from datatrove_kit.fast import early, extraction, fast, minhash, words
from datatrove_kit.fast.extraction import FORM, LISTS, RememberedXPath, visible_text
from datatrove_kit.fast.filtering import _domains_on_disk
from datatrove_kit.fast.words import RememberingTokenizer
from examples_common import language_model
from examples_common.samples import manifest, sample
from examples_common.samples.articles import ARTICLES

ENGLISH = [path.read_text(encoding="utf-8") for path in sorted(ARTICLES.glob("en/*.txt"))]
FOREIGN = [path.read_text(encoding="utf-8") for path in sorted(ARTICLES.glob("[!e]*/*.txt"))[::3]]
BLANKS = [chr(c) for c in range(0x3001) if chr(c).isspace()]
EXTRACTION = {"favour_precision": True, "timeout": 30, "deduplicate": False}


def language_filter(*languages: str) -> filters.LanguageFilter:
    step = filters.LanguageFilter(list(languages))
    step.model.MODEL_URL = str(language_model())
    return step


# ---- what is replaced ------------------------------------------------------------------------


def test_known_steps_are_replaced_and_left_as_they_were():
    class Own(filters.C4QualityFilter):
        """A filter of the user's."""

    writer = JsonlWriter("memory://dropped")
    steps = [
        WarcReader("memory://pages"),
        filters.URLFilter(soft_word_threshold=3, extra_domains=["a.org"], exclusion_writer=writer),
        Trafilatura(timeout=7, include_tables=False),
        language_filter("en"),
        filters.GopherRepetitionFilter(dup_line_frac=0.5, exclusion_writer=writer),
        filters.GopherQualityFilter(min_doc_words=9),
        Own(),
        filters.LambdaFilter(len),
        MinhashDedupSignature("memory://signatures", MinhashConfig(n_grams=3)),
        print,
    ]
    steps[2].name = "renamed"
    before = [dict(vars(step)) for step in steps[:-1]]
    quick = fast(steps)
    assert [dict(vars(step)) for step in steps[:-1]] == before
    replaced = [step is not other for step, other in zip(steps, quick, strict=True)]
    assert replaced == [step in (steps[1], steps[2], *steps[4:6], steps[8]) for step in steps]
    for step, other in zip(steps[:-1], quick, strict=False):
        assert isinstance(other, type(step)) and other.name == step.name
        differing = {name for name, value in vars(step).items() if vars(other)[name] != value}
        assert differing <= {"language", "word_tokenizer", "stats"}, differing
        assert (other.stats is step.stats) == (
            other is step
        ) and other.stats.name == step.stats.name
    assert fast(quick) == quick  # what is fast already stays


def test_other_languages_keep_their_tokenizer():
    steps = [
        filters.GopherQualityFilter(language="deu"),
        filters.FineWebQualityFilter(language="spa"),
    ]
    steps += [filters.GopherRepetitionFilter(language="deu")]
    steps += [MinhashDedupSignature("memory://signatures", language="deu")]
    assert fast(steps) == steps


def test_early_stands_before_the_extractor():
    steps = [Trafilatura(), language_filter("en", "de")]
    first, *others = early(steps, "en", 0.2)
    assert (first.languages, first.language_threshold) == (["en"], 0.2)
    assert first.model.MODEL_URL == steps[1].model.MODEL_URL
    assert steps[1].model.languages == ["en", "de"]
    assert [type(step) for step in others] == [type(step) for step in fast(steps)]
    with pytest.raises(KitError, match="before an extractor"):
        early([language_filter("en")], "en")


# ---- words -----------------------------------------------------------------------------------


STOCK = load_word_tokenizer("eng")


@pytest.fixture(scope="module")
def quick() -> RememberingTokenizer:
    return RememberingTokenizer("en")


def same_split(quick: RememberingTokenizer, text: str) -> None:
    assert quick.word_tokenize(text) == STOCK.word_tokenize(text)
    assert quick.span_tokenize(text) == STOCK.span_tokenize(text)
    assert quick.sent_tokenize(text) == STOCK.sent_tokenize(text)


def odd_text(rng: random.Random, rules: list[str]) -> str:
    """Special cases of spaCy, whole and cut, punctuation, scripts and blanks of all kinds."""
    signs = [*".,:;!?()[]{}'\"’‘“”—–-…*_/\\<>8DPpXx0^=|#@&%$€°~+", "\u200b", "\u0301", "é", "İ"]
    signs += ["文", "。", "！", "🙂", "km", "5kg", "U.S.", "http://a.b/c?d=e", "x@y.z", "p.m", "Mr"]
    parts = []
    for _ in range(rng.randrange(25)):
        part = rng.choice(rules)
        if rng.random() < 0.6:
            part = "".join(rng.choices(signs, k=rng.randint(1, 4)))
        parts.append(part[: rng.randint(0, len(part))] if rng.random() < 0.2 else part)
        parts.append(rng.choice(["", "  ", "\n", *BLANKS]) if rng.random() < 0.4 else " ")
    return "".join(parts)


def test_words_of_the_articles(quick):
    for text in ENGLISH + FOREIGN:
        assert quick.word_tokenize(text) == STOCK.word_tokenize(text)
        assert quick.span_tokenize(text) == STOCK.span_tokenize(text)
    for line in "\n".join(ENGLISH[::5]).splitlines():
        same_split(quick, line)


def test_words_of_odd_texts(quick, monkeypatch):
    rng = random.Random(8)
    monkeypatch.setattr(words, "REMEMBERED", len(quick.tokenizer.vocab) + 500)
    first, rules = quick.tokenizer, list(STOCK.tokenizer.tokenizer.rules)
    for _ in range(800):
        same_split(quick, odd_text(rng, rules))
        assert len(quick.tokenizer.vocab) <= words.REMEMBERED
    assert quick.tokenizer is not first  # it has started anew


@pytest.mark.parametrize("text", ["", " ", "\n", ". ", "a.  ", "(8) is :) not (8 )", "word): (8"])
def test_words_of_little(quick, text):
    same_split(quick, text)


def test_special_cases_without_punctuation_are_one_word():
    """The others could reach over a blank, and pieces of text would not be split alone."""
    rules = STOCK.tokenizer.tokenizer
    affixes = (rules.find_prefix, rules.find_suffix, rules.find_infix)
    several = {case for case in rules.rules if any(find(case) for find in affixes)}
    assert {case for case in several if not set(case) & set(PUNCTUATION)} <= {" ", "‘S", "‘s"}


# ---- MinHash ---------------------------------------------------------------------------------


def signatures(step: MinhashDedupSignature, texts: list[str], folder: Path) -> tuple[dict, dict]:
    step.run((Document(text, str(i)) for i, text in enumerate(texts)), 3, 4)
    files = {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*.sig")}
    return files, step.stats.to_dict()["stats"]


def both_signatures(texts: list[str], folder: Path, config: MinhashConfig | None = None) -> list:
    found = []
    for name, change in (("stock", list), ("quick", fast)):
        [step] = change([MinhashDedupSignature(str(folder / name), config)])
        found.append(signatures(step, texts, folder / name))
    return found


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"n_grams": 3, "num_buckets": 5, "hashes_per_bucket": 4, "seed": 7},
        {"hash_config": HashConfig(precision=32)},
        {"hash_config": HashConfig(hash_fc="sha1")},
        {"norm_config": TextNormConfig(False, True, False, False, False)},
        {"norm_config": TextNormConfig(norm_weekdays=True, norm_monthnames=True)},
    ],
)
def test_signatures(config, tmp_path, monkeypatch):
    monkeypatch.setattr(minhash, "REMEMBERED", 3000)
    monkeypatch.setattr(minhash, "BATCH", 16)
    rng = random.Random(5)
    rules = list(STOCK.tokenizer.tokenizer.rules)
    texts = [*ENGLISH[::8], *FOREIGN[::8], "", "four words of text", " ".join(["same"] * 9)]
    texts += ["ΟΔΥΣΣΕΥΣ και ΟΔΟΣ, 1.234,5 ٣٫٥ ½ − ½am \u0301 Å ﬁ Ça on Monday, 3 May\n"]
    texts += [odd_text(rng, rules) for _ in range(60)]
    stock, quick = both_signatures(texts, tmp_path, MinhashConfig(**config))
    assert stock == quick
    assert all(stock[0].values())


def test_signatures_of_nothing(tmp_path):
    stock, quick = both_signatures(["", "too short"], tmp_path)
    assert stock == quick and len(quick[0]) == 14 and not any(quick[0].values())


def test_signatures_that_are_there(tmp_path):
    stock, _ = signatures(MinhashDedupSignature(str(tmp_path)), ENGLISH[:5], tmp_path)
    [step] = fast([MinhashDedupSignature(str(tmp_path), skip_existing_sigs=True)])
    assert signatures(step, ["other " * 50], tmp_path)[0] == stock


def test_signatures_of_the_planted_clusters(tmp_path):
    texts = [doc.text for doc in JsonlReader(str(sample("near")))(None, 0, 1)][:300]
    stock, quick = both_signatures(texts, tmp_path)
    assert stock == quick


# ---- filters ---------------------------------------------------------------------------------


def test_repetition():
    rng = random.Random(2)
    words = ["ab", "a", "b", "ba", "c", "word", "other"]
    texts = ENGLISH[::10] + ["", "x", "a b", "\n\n\n"]
    for _ in range(150):
        some = rng.choices(words, k=rng.randint(1, 7)) + rng.choices(ENGLISH[0].split(), k=20)
        texts.append(" ".join(rng.choices(some, k=rng.randint(1, 150))))
        phrases = [" ".join(rng.choices(some, k=rng.randint(3, 25))) for _ in range(9)]
        texts.append(" ".join(rng.choices(phrases, k=12)))
    reasons = set()
    others = {"top_n_grams": ((4, 0.3),), "dup_n_grams": ((7, 0.3), (5, 0.2))}
    few = {"dup_para_frac": 0, "dup_line_frac": None, "dup_para_char_frac": 0.1}
    for arguments in ({}, {"top_n_grams": ()}, others, few):
        stock = filters.GopherRepetitionFilter(**arguments)
        [quick] = fast([stock])
        for text in texts:
            result = stock.filter(Document(text, ""))
            assert quick.filter(Document(text, "")) == result
            reasons.add(str(result))
    assert len(reasons) >= 10


def test_datatrove_calls_the_functions_that_are_replaced():
    called = {"get_n_grams", "find_all_duplicate"}
    assert called < set(filters.GopherRepetitionFilter.filter.__code__.co_names)
    assert "get_list" in filters.URLFilter.download_data.__code__.co_names


def test_domains_on_disk(tmp_path):
    lines = "b.org\n# c.org\n a.com \r\nä.de\n\nlast.net"
    (tmp_path / "domains").write_text(lines, encoding="utf-8")
    domains = _domains_on_disk(str(tmp_path), "domains", {"more.org"}, False)
    for again in (domains, dill.loads(dill.dumps(domains))):
        assert all(domain in again for domain in ("b.org", "a.com", "ä.de", "", "last.net"))
        assert not any(domain in again for domain in ("c.org", "# c.org", "org", "last"))
        assert "more.org" in again
    assert "more.org" not in _domains_on_disk(str(tmp_path), "domains", set(), False)


def test_url_decisions():
    arguments = {"extra_domains": ["blocked.example.com"], "soft_word_threshold": 2}
    stock = filters.URLFilter(**arguments)
    [quick] = fast([stock])
    stock.download_data()
    quick.download_data()
    rng = random.Random(3)
    domains = sorted(stock.block_listed_domains)[::1500]
    urls = [f"https://{d}/page" for d in domains] + [f"http://{d[1:]}/" for d in domains]
    urls += rng.sample(sorted(stock.block_listed_url), 300) + ["http://192.0.2.1/", "nothing"]
    for some in (stock.banned_words, stock.soft_banned_words, stock.banned_subwords):
        urls += ["http://a.example.com/" + "-".join(rng.sample(sorted(some), 2)) for _ in range(99)]
    reasons = set()
    for url in [*urls, *(line["url"] for line in manifest(sample("web")))]:
        doc = Document("", "", metadata={"url": url})
        result = stock.filter(doc)
        assert quick.filter(doc) == result, url
        reasons.add(str(result))
    assert len(reasons) == 7 and len(quick.block_listed_domains) > 4_000_000


def base() -> list:
    """FineWeb's steps up to the last quality filter."""
    return [
        WarcReader(str(sample("web")), glob_pattern="*-00000.warc.gz"),
        # The domains have a test of their own.
        filters.URLFilter(use_integrated_lists=False),
        Trafilatura(**EXTRACTION),
        language_filter("en"),
        filters.GopherRepetitionFilter(),
        filters.GopherQualityFilter(),
        filters.C4QualityFilter(filter_no_terminal_punct=False),
        filters.FineWebQualityFilter(),
    ]


def run(steps: list) -> list[Document]:
    data = None
    for step in steps:
        data = step(data, 0, 1)
    return list(data)


def test_base_stage():
    stock, quick = base(), fast(base())
    assert run(quick) == run(stock)
    stats = [[step.stats.to_dict()["stats"] for step in steps] for steps in (stock, quick)]
    assert stats[0] == stats[1]
    assert sum("dropped_" in key for step in stats[0] for key in step) >= 8


# ---- extraction ------------------------------------------------------------------------------


def pages(number: int) -> list[Document]:
    return list(WarcReader(str(sample("web")), limit=number)(None, 0, 1))


def test_extraction_of_attributes():
    """Elements with the words that the expressions look for, alone, in parts and in pairs."""
    rng = random.Random(4)
    expressions = [x for found in LISTS for x in found if FORM.fullmatch(x.path)]
    assert len(expressions) == 17
    words = sorted({w for x in expressions for w in re.findall(r"[\"'](.+?)[\"']", x.path)})
    names = ["class", "id", "role", "style", "itemprop", "aria-hidden", "data-component"]
    names.append("data-lp-replacement-content")
    for _ in range(15):
        root = html.fromstring("<body></body>")
        places = [root]
        for _ in range(300):
            tag = rng.choice(["div", "p", "span", "section", "article", "main", "list", "a", "li"])
            element = html.Element(tag)
            for name in rng.sample(names, rng.choice([0, 1, 1, 2])):
                word = rng.choice(words)
                word = word[rng.choice([0, 0, 1]) :].title() if rng.random() < 0.3 else word
                element.set(name, rng.choice(["", "x ", "x"]) + word + rng.choice(["", " y", "y"]))
            rng.choice(places).append(element)
            places.append(element)
        for expression in expressions:
            every, stock = RememberedXPath(expression)(root), expression(root)
            assert every == stock if "[1]" not in expression.path else every[:1] == stock[:1]


def test_texts_of_pages(monkeypatch):
    monkeypatch.setattr(extraction, "REMEMBERED", 40)
    stock, found = Trafilatura(**EXTRACTION), pages(60)
    texts = [stock.extract(doc.text) for doc in found]
    before = [list(expressions) for expressions in LISTS]
    extraction.remember_xpaths.cache_clear()
    try:
        [quick] = fast([stock])
        assert [quick.extract(doc.text) for doc in found] == texts
        assert LISTS[1] != before[1]
    finally:
        for expressions, stock in zip(LISTS, before, strict=True):
            expressions[:] = stock


def test_early_language():
    late, extractor = language_filter("en"), Trafilatura(**EXTRACTION)
    first, *_ = early([extractor, late], ["en"])
    truth = {line["url"]: line for line in manifest(sample("web"))}
    dropped = 0
    for doc in pages(300):
        url, page = doc.metadata["url"], doc.text
        if first.filter(doc) is True:
            assert doc.text == page and "language" not in doc.metadata
            continue
        dropped += 1
        assert truth[url]["language"] != "en" or truth[url]["kind"] == "gibberish"
        assert doc.metadata["language_score"] and doc.text in visible_text(page)
        assert not late.filter(Document(extractor.extract(page) or "", ""))
    assert dropped >= 30


def test_visible_text():
    page = "<nav>menu</nav><p>A &lt;b&gt; <b>c</b></p><script>x<y></script>d<STYLE>e</style > f"
    assert visible_text(page) == "A <b> c d f"
    assert visible_text(f"<p>{'x' * 3000}</p>") == "x" * 2000
    assert visible_text("<p>seen<script>never closed</p> not") == "seen"
    hidden = "<svg><text>b</text></svg><select><option>c</select><noscript>d</noscript>"
    assert visible_text(f"<p>a</p><img alt=no>{hidden}<iframe>e</iframe><p>f") == "a f"
    assert visible_text("") == ""
    for part in ("<div>", "<b>x", "<", "<script ", "<table><td>", "<select><option>"):
        visible_text(part * 100_000)  # in linear time


def test_in_another_process(tmp_path):
    """The steps reach a process that was started afresh, as a node of Slurm, with dill."""
    steps = [
        filters.URLFilter(use_integrated_lists=False, extra_domains=["example.com"]),
        Trafilatura(**EXTRACTION),
        filters.GopherRepetitionFilter(),
        MinhashDedupSignature(str(tmp_path)),
    ]
    text, page = ENGLISH[0], f"<html><body><article><p>{ENGLISH[1]}</p></article></body></html>"
    text_end, steps = steps[1].extract(page)[-9:], fast(steps)
    expected, _ = signatures(steps[3], [text], tmp_path)  # what it remembers does not travel
    [first, *_] = expected
    (tmp_path / first).write_bytes(b"")
    code = (
        "import base64, dill, sys\n"
        "from datatrove.data import Document\n"
        "*steps, text, page = dill.loads(base64.b64decode(sys.stdin.read()))\n"
        "url, extract, repetition, sign = steps\n"
        "print(url.filter(Document('', '', metadata={'url': 'http://www.example.com/'})))\n"
        "print(extract.extract(page)[-9:])\n"
        "print(repetition.filter(Document(text, '')), '_normalized' in vars(sign))\n"
        "sign.run(iter([Document(text, '0')]), 3, 4)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        input=base64.b64encode(dill.dumps([*steps, text, page])).decode(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == f"(False, 'domain')\n{text_end}\nTrue False\n"
    assert {name: (tmp_path / name).read_bytes() for name in expected} == expected
