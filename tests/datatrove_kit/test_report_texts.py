"""Marks, duplicates and tokens of the report: what DataTrove's own steps say of the same texts."""

from __future__ import annotations

import json
import random
import re
from functools import partial
from itertools import pairwise
from types import SimpleNamespace

import pytest
from datatrove.data import Document
from datatrove.executor.base import ExecutorJSONEncoder
from datatrove.io import strip_protocol
from datatrove.pipeline.dedup import (
    MinhashDedupBuckets,
    MinhashDedupCluster,
    MinhashDedupFilter,
    MinhashDedupSignature,
)
from datatrove.pipeline.filters import (
    C4BadWordsFilter,
    C4ParagraphFilter,
    C4QualityFilter,
    FineWebQualityFilter,
    GopherQualityFilter,
    GopherRepetitionFilter,
    LanguageFilter,
    URLFilter,
    c4_filters,
)
from datatrove.pipeline.writers import JsonlWriter
from huggingface_hub.utils import _cache_assets
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from datatrove_kit.fast.extraction import EarlyLanguageFilter
from datatrove_kit.report.duplicates import clusters, differences
from datatrove_kit.report.marks import mark
from datatrove_kit.report.model import Text
from datatrove_kit.report.tokens import find_tokenizer, in_tokens
from examples_common import language_model
from examples_common.samples.articles import ARTICLES

ENGLISH = [path.read_text(encoding="utf-8") for path in sorted(ARTICLES.glob("en/*.txt"))]

# ---- filters in which one rule alone is at work ------------------------------------------------

repetition = partial(
    GopherRepetitionFilter,
    **dict.fromkeys(["dup_line_frac", "dup_para_frac", "dup_line_char_frac", "dup_para_char_frac"]),
    top_n_grams=(),
    dup_n_grams=(),
)
quality = partial(
    GopherQualityFilter,
    **dict.fromkeys(["min_doc_words", "max_doc_words", "min_avg_word_length"]),
    **dict.fromkeys(["max_avg_word_length", "max_symbol_word_ratio", "max_bullet_lines_ratio"]),
    **dict.fromkeys(["max_ellipsis_lines_ratio", "max_non_alpha_words_ratio", "min_stop_words"]),
)
fineweb = partial(
    FineWebQualityFilter,
    line_punct_thr=0,
    short_line_thr=1,
    char_duplicates_ratio=1,
    new_line_ratio=99,
)

# Reason; the filter by its limit; a limit; a text in which ⟦brackets⟧ stand around what is marked.
# The first numbers of the note are a part and a whole; the limit at which the text falls is their
# quotient, exactly.
SHARES = {
    "dup_para_frac": (
        lambda limit: repetition(dup_para_frac=limit),
        0.3,
        "\n\n Ask us.\n\nOpen daily.\n\n\n⟦Ask us.⟧\n\nAsk\nus.\n\n⟦Ask us.⟧\n",
    ),
    "dup_para_char_frac": (
        lambda limit: repetition(dup_para_char_frac=limit),
        0.2,
        "Ask us.\n\nOpen daily.\n\n⟦Ask us.⟧\n\n⟦Open daily.⟧\n \n\n",
    ),
    "dup_line_frac": (
        lambda limit: repetition(dup_line_frac=limit),
        0.3,
        "\nHome\nNews\n⟦Home⟧\n\n⟦News⟧\n News\n⟦Home⟧",
    ),
    "dup_line_char_frac": (
        lambda limit: repetition(dup_line_char_frac=limit),
        0.2,
        "Home\nA line about the news\n⟦A line about the news⟧\n\n",
    ),
    "top_2_gram": (
        lambda limit: repetition(top_n_grams=[(2, limit)]),
        0.2,
        "⟦click here⟧ and ⟦click \n here⟧ or click. And ⟦click here⟧, Click here.",
    ),
    "top_3_gram": (
        lambda limit: repetition(top_n_grams=[(2, 9), (3, limit)]),
        0.18,
        "So ⟦ha ha ha ha ha⟧ it went.",
    ),
    "duplicated_5_n_grams": (
        lambda limit: repetition(dup_n_grams=[(5, limit)]),
        0.15,
        "We say one  two three four five six. ⟦one two three four five⟧ six seven.",
    ),
    "gopher_too_many_hashes": (
        lambda limit: quality(max_symbol_word_ratio=limit),
        0.1,
        "⟦#⟧garden tips ⟦##⟧ more",
    ),
    "gopher_too_many_ellipsis": (
        lambda limit: quality(max_symbol_word_ratio=limit),
        0.1,
        "wait⟦...⟧ more⟦…⟧ and⟦...⟧. end",
    ),
    "gopher_too_many_bullets": (
        lambda limit: quality(max_bullet_lines_ratio=limit),
        0.7,
        "⟦-⟧ one - two\n  ⟦•⟧ three\x0b⟦-⟧four\r\nfive",
    ),
    "gopher_too_many_end_ellipsis": (
        lambda limit: quality(max_ellipsis_lines_ratio=limit),
        0.3,
        "read more⟦...⟧ \nnot... this\n\nsee⟦…⟧\x85and...⟦...⟧",
    ),
    "gopher_below_alpha_threshold": (
        lambda limit: quality(max_non_alpha_words_ratio=limit),
        0.8,
        "one ⟦2⟧ ⟦3.14⟧ four⟦!⟧ a1 是 ⟦-⟧",
    ),
    "line_punct_ratio": (
        lambda limit: fineweb(line_punct_thr=limit),
        0.9,
        'Titl⟦e⟧\nOne sentence.\nAnother with a blank.⟦ ⟧\n\n  \n这是一句话。\n"Is it?⟦"⟧',
    ),
    "short_line_ratio": (
        lambda limit: fineweb(short_line_thr=limit, short_line_length=7),
        0.67,
        "⟦Home⟧\n\n⟦News⟧\n \n⟦1234567⟧\n12345678\n⟦ ab ⟧",
    ),
    "char_dup_ratio": (
        lambda limit: fineweb(char_duplicates_ratio=limit),
        0.01,
        "Sign up\n \nA line of text\n \n⟦Sign up⟧\nSign up ",
    ),
    "list_ratio": (lambda limit: fineweb(new_line_ratio=limit), 0.3, "one\ntwo\n\nthree four"),
}
# Rules without a share, and what the note says.
RULES = [
    ("gopher_short_doc", quality(min_doc_words=5), "Three words -- here … !", "3 words"),
    (
        "gopher_long_doc",
        quality(max_doc_words=3),
        "Four words are here",
        "4 words without punctuation, at most 3",
    ),
    (
        "gopher_below_avg_threshold",
        quality(min_avg_word_length=3),
        "⟦I⟧ ⟦am⟧ on.to ⟦it⟧ -------- , ⟦so⟧ ⟦be⟧ ⟦it⟧",
        f"{(1 + 2 + 5 + 2 + 2 + 2 + 2) / 7:.2f} characters on average, at least 3",
    ),
    (
        "gopher_above_avg_threshold",
        quality(max_avg_word_length=5),
        "a ⟦extraordinary⟧ -- ⟦collection⟧ herbs",
        f"{(1 + 13 + 10 + 5) / 4:.2f} characters on average, at most 5",
    ),
    (
        "gopher_enough_stop_words",
        quality(min_stop_words=2),
        "⟦the⟧ cat sat on ⟦the⟧ mat And slept.",
        "1 of 8 stop words: the; at least 2",
    ),
    (
        "gopher_enough_stop_words",
        quality(min_stop_words=1, stop_words=["und"]),
        "the cat",
        "0 of 1 stop words; at least 1",
    ),
    (
        "lorem_ipsum",
        C4QualityFilter(),
        "A first line is fine.\n ⟦Now Lorem[3] IPSUM for you.⟧\nAnother lorem ipsum stands here.",
        "lorem ipsum",
    ),
    (
        "lorem_ipsum",
        C4QualityFilter(),
        "İİİ lorem ipsum\nİİİİİİ say ⟦lorem ipsum⟧ to you.",
        "lorem ipsum",
    ),
    (
        "curly_bracket",
        C4QualityFilter(),
        "This { has no end mark\nSet ⟦{⟧ and } in [12] code ⟦{⟧ please.\nAnother { is here.",
        "{",
    ),
    (
        "too_few_sentences",
        C4QualityFilter(),
        "⟦Menu⟧\nThis line stays. It has two.\r\n⟦No end mark is here⟧\n  ⟦We use cookies here.⟧\n"
        f"⟦Turn on Javascript to see it.⟧\n⟦Not here.⟧\n⟦{'w' * 1001} is too long.⟧\n\n"
        "⟦To be...⟧\n"
        "This ends in a citation.[1]\n",
        "3 sentences, at least 5",
    ),
    (
        "too_few_sentences",
        C4QualityFilter(split_paragraph=False),
        "This sentence stays here. ⟦Not this.⟧ And the next\none stays too. ⟦A title of words⟧",
        "2 sentences, at least 5",
    ),
    (
        "< 3 paragraphs",
        C4ParagraphFilter(),
        f"⟦Title⟧\n{'long ' * 40}\n\n⟦{'x' * 199}⟧\n{'y' * 200}",
        "2 of 5 lines",
    ),
]


def settings(step) -> dict:
    """Attributes of a step as ``executor.json`` has them."""
    return json.loads(json.dumps(step, cls=ExecutorJSONEncoder))


def bracketed(text: str) -> tuple[str, list[tuple[int, int]]]:
    """A text without its ⟦brackets⟧, and what stood between them."""
    plain, spans = "", []
    for part in re.split("(⟦.*?⟧)", text, flags=re.DOTALL):
        if part.startswith("⟦"):
            spans.append((len(plain), len(plain) + len(part) - 2))
        plain += part.strip("⟦⟧")
    return plain, spans


def spans(marks) -> list[tuple[int, int]]:
    return [(one.start, one.end) for one in marks]


def falls_by(step, text: str) -> str | None:
    """The reason for which DataTrove drops a text."""
    result = step.filter(Document(text, "id"))
    return result[1] if isinstance(result, tuple) else None


@pytest.mark.parametrize("reason", SHARES)
def test_share_that_made_a_text_fall(reason):
    make, limit, text = SHARES[reason]
    text, wanted = bracketed(text)
    assert falls_by(make(limit), text) == reason
    marks, note = mark(reason, text, settings(make(limit)))
    # neighbours may be marked one by one
    assert covered(spans(marks)) == covered(wanted)
    if reason != "list_ratio":
        assert marks
    share, side = note_share(note), -1 if "at least" in note else 1
    assert f"{share:.1%}, at {'most' if side > 0 else 'least'} {limit:.0%} pass" in note
    assert falls_by(make(share * (1 - side * 1e-9)), text) == reason
    assert falls_by(make(share * (1 + side * 1e-9)), text) is None


def covered(spans) -> set[int]:
    return {at for start, end in spans for at in range(start, end)}


def note_share(note: str) -> float:
    """Part by whole, as they stand before the percentage."""
    part, whole = re.search(r"([\d,]+)(?: of| \D+ for) ([\d,]+) ", note).groups()
    return int(part.replace(",", "")) / int(whole.replace(",", ""))


@pytest.mark.parametrize(("reason", "step", "text", "said"), RULES)
def test_rule_that_made_a_text_fall(reason, step, text, said):
    text, wanted = bracketed(text)
    assert falls_by(step, text) == reason
    marks, note = mark(reason, text, settings(step))
    assert spans(marks) == wanted
    assert said in note


def test_lines_that_c4_cuts_are_marked_with_the_reason():
    *_, step, text, _ = next(rule for rule in RULES if rule[0] == "too_few_sentences")
    text, _ = bracketed(text)
    marks, note = mark("too_few_sentences", text, settings(step))
    assert [one.label for one in marks] == [
        "cut: no end mark",
        "cut: no end mark",
        "cut: cookies or terms of use",
        "cut: javascript",
        "cut: fewer than 3 words",
        "cut: a word of more than 1000 characters",
        "cut: no end mark",
    ]
    # DataTrove counts the empty line as well; nobody misses it here
    assert "3 no end mark, 1 cookies or terms of use" in note
    step = C4QualityFilter(min_num_sentences=0)
    document = Document(text, "id")
    assert step.filter(document) is True
    kept = [line.replace("[1]", "") for line in cut_out(text, marks).split("\n") if line.strip()]
    assert document.text == "\n".join(line.strip() for line in kept)


def cut_out(text: str, marks) -> str:
    gone = covered(spans(marks))
    return "".join(letter for at, letter in enumerate(text) if at not in gone)


def test_random_texts_fall_by_what_is_marked():
    """The limit of the real filter lies at the share that is said."""
    rng, seen = random.Random(1), set()
    steps = [GopherRepetitionFilter(), GopherQualityFilter(min_doc_words=5), FineWebQualityFilter()]
    for _ in range(300):
        words = rng.choices(["garden", "#", "the", "tea", "...", "5", "İs", "Gießen", "."], k=12)
        blanks = rng.choices([" ", " ", "\n", "\n\n", "\n- "], k=60)
        text = "".join(rng.choice(words) + blank for blank in blanks)
        for step in steps:
            reason = falls_by(step, text)
            if reason not in SHARES or reason == "short_line_ratio":
                continue
            marks, note = mark(reason, text, settings(step))
            assert marks
            share, side, make = note_share(note), -1 if "at least" in note else 1, SHARES[reason][0]
            if share:
                assert falls_by(make(share * (1 - side * 1e-9)), text) == reason
            assert falls_by(make(share * (1 + side * 1e-9)), text) != reason
            seen.add(reason)
    assert len(seen) > 5, seen


def test_blocked_words_are_those_of_the_list_that_datatrove_fetched(tmp_path, monkeypatch):
    monkeypatch.setattr(_cache_assets, "HF_ASSETS_CACHE", str(tmp_path))
    step = C4BadWordsFilter()
    text, wanted = bracketed("İ DARN! ⟦Heck⟧ ⟦heck⟧, checks, oh ⟦darn it⟧.")
    marks, note = mark("document_removed_with_badwords", text, settings(step))
    assert not marks and "not here" in note
    assert not list(tmp_path.rglob("*.lock")), "nothing is fetched"
    english, chinese = c4_filters._EN_BADWORDS_URL, f"{c4_filters._BADWORDS_URL}zh"
    folder = tmp_path / "datatrove" / "filters" / "c4_badwords"
    for words, address in {"heck\ndarn it\n": english, "坏话\n": chinese}.items():
        file = folder / strip_protocol(address).replace("/", "_")
        file.write_text(words, encoding="utf-8")
        file.with_name(f"{file.name}.completed").touch()
    assert falls_by(step, text) == "document_removed_with_badwords"
    marks, note = mark("document_removed_with_badwords", text, settings(step))
    assert spans(marks) == wanted
    assert "darn it, heck" in note
    text, wanted = bracketed("这是⟦坏话⟧吗")
    metadata = {"language": "zh"}
    assert step.filter(Document(text, "id", metadata=metadata))[0] is False
    marks, _ = mark("document_removed_with_badwords", text, settings(step), metadata)
    assert spans(marks) == wanted


@pytest.mark.parametrize("early", [False, True])
def test_language_and_score_are_those_of_the_filter(early):
    step = (EarlyLanguageFilter if early else LanguageFilter)(["en", "fr"], 0.7)
    step.model.MODEL_URL = str(language_model())
    german = next(iter(sorted(ARTICLES.glob("de/*.txt")))).read_text(encoding="utf-8")
    document = Document(f"<p>{german}</p>" if early else german, "id")
    result = step.filter(document)
    reason = result[1] if early else ""
    assert result == (False, "early_language") if early else not result
    marks, note = mark(reason, document.text, settings(step), document.metadata)
    assert not marks
    score = document.metadata["language_score"]
    assert note.startswith(f"Language de, score {score:.2f}; en, fr with more than 0.7")


@pytest.mark.parametrize(
    ("reason", "address", "said"),
    [
        ("domain", "https://www.blocked.com/tea", "Its domain is blocked"),
        ("subdomain", "https://ads.fine.com/tea", "Its subdomain is blocked"),
        ("url", "https://fine.com/page", "It is blocked"),
        ("hard_blacklisted", "https://fine.com/very/bad-page", "Blocked words in it: bad"),
        (
            "soft_blacklisted",
            "https://fine.com/cheap/pills-now",
            "Blocked words in it: cheap, pills",
        ),
        ("blacklisted_subword", "https://fine.com/pre-fo.Op", "Blocked words in it: foo"),
    ],
)
def test_what_of_an_address_is_blocked(reason, address, said):
    step = URLFilter(
        extra_domains=["blocked.com", "ads.fine.com"],
        extra_urls=["https://fine.com/page"],
        banned_words=["bad"],
        soft_banned_words=["cheap", "pills"],
        banned_subwords=["foo"],
        use_integrated_lists=False,
    )
    document = Document("text", "id", metadata={"url": address})
    assert step.filter(document) == (False, reason)
    marks, note = mark(reason, "text", settings(step), document.metadata)
    assert (marks, note) == ([], f'The address is "{address}". {said}.')


def test_words_of_the_integrated_lists_are_named():
    step = URLFilter()
    metadata = {"url": "https://fine.com/xxx/casino-porn"}
    assert step.filter(Document("text", "id", metadata=metadata)) == (False, "hard_blacklisted")
    _, note = mark("hard_blacklisted", "text", settings(URLFilter()), metadata)
    assert note.endswith("Blocked words in it: porn, xxx.")


def test_marks_end_where_the_shown_text_ends():
    text = "Home\n" * 1000
    step = settings(GopherRepetitionFilter())
    every, note = mark("dup_line_frac", text, step)
    few, same = mark("dup_line_frac", text, step, shown=12)
    assert len(every) == 999 and spans(few) == [(5, 9), (10, 12)]
    assert note == same
    none, note = mark("dup_line_frac", text, step, shown=4)
    assert not none and note == f"{same} All of that stands behind the part that is shown."


@pytest.mark.parametrize("text", ["(" * 200_000, "a " * 2_500_000, "#" * 5_000_000, "“”" * 9000])
def test_texts_that_would_take_minutes_are_not_split_into_words(text):
    for reason, step in [
        ("top_2_gram", GopherRepetitionFilter()),
        ("gopher_too_many_hashes", GopherQualityFilter()),
        ("too_few_sentences", C4QualityFilter()),
        ("list_ratio", FineWebQualityFilter()),
    ]:
        marks, note = mark(reason, text, settings(step))
        assert not marks and "too long" in note


def test_what_is_not_known_is_not_marked():
    step = settings(GopherRepetitionFilter())
    assert mark("my own rule", "text", step) == ([], "")
    assert mark("gopher_short_doc", "text", step) == ([], "")
    assert mark("", "text", step, {"language": "de", "language_score": 0.9}) == ([], "")
    assert mark("top_7_gram", "text", step) == ([], "")
    assert mark("domain", "text", settings(URLFilter(use_integrated_lists=False))) == ([], "")
    marks, note = mark("top_2_gram", "ein Text", step | {"language": "no-such-language"})
    assert not marks and "not installed" in note


@pytest.mark.parametrize("reason", SHARES)
def test_a_share_that_passes_is_not_what_made_a_text_fall(reason):
    """As of a filter of the user's own that has the same reason."""
    make, limit, text = SHARES[reason]
    text, _ = bracketed(text)
    share = note_share(mark(reason, text, settings(make(limit)))[1])
    at_most = not falls_by(make(2 * share), text)
    passing = make(share * (1.01 if at_most else 0.99))
    assert falls_by(passing, text) is None
    assert mark(reason, text, settings(passing)) == ([], "")


@pytest.mark.parametrize(
    ("reason", "step", "metadata"),
    [
        ("gopher_short_doc", GopherQualityFilter(), {}),
        ("gopher_long_doc", GopherQualityFilter(), {}),
        ("gopher_below_avg_threshold", GopherQualityFilter(), {}),
        ("gopher_above_avg_threshold", GopherQualityFilter(), {}),
        ("gopher_enough_stop_words", GopherQualityFilter(), {}),
        ("too_few_sentences", C4QualityFilter(), {}),
        ("lorem_ipsum", C4QualityFilter(), {}),
        ("< 3 paragraphs", C4ParagraphFilter(), {}),
        ("", LanguageFilter("en"), {"language": "en", "language_score": 0.9}),
        ("hard_blacklisted", URLFilter(use_integrated_lists=False), {"url": "https://a.example"}),
        (
            "soft_blacklisted",
            URLFilter(soft_banned_words=["tea", "cup"], use_integrated_lists=False),
            {"url": "https://a.example/tea"},
        ),
    ],
)
def test_a_rule_that_passes_is_not_what_made_a_text_fall(reason, step, metadata):
    line = "The boats that have left the harbour with the ferry are to be back for the evening. "
    text = "\n".join([line * 3] * 5)
    if not metadata:
        assert step.filter(Document(text, "id")) is True
    assert mark(reason, text, settings(step), metadata) == ([], "")


# ---- duplicates ----------------------------------------------------------------------------------


def record(text: str, name: str, **metadata) -> SimpleNamespace:
    return SimpleNamespace(id=name, text=text, place=name, metadata=metadata)


def shown(record) -> Text:
    return Text(record.id, record.text, len(record.text), record.place, record.metadata)


def edited(text: str, every: int) -> str:
    """A text in which each so many words one is another."""
    words = text.split(" ")
    words[::every] = [f"{word}x" for word in words[::every]]
    return " ".join(words)


@pytest.fixture(scope="module")
def deduplicated(tmp_path_factory):
    """What MinHash removes and keeps of texts of which some are copies with few changes."""
    folder = tmp_path_factory.mktemp("minhash")
    texts = {f"{n}": text for n, text in enumerate(ENGLISH[:8])}
    texts |= {f"{n} edited": edited(ENGLISH[n], 150) for n in range(4)}
    texts |= {f"{n} copied": ENGLISH[n] for n in (0, 5)}
    documents = [Document(text, name) for name, text in texts.items()]
    signatures, buckets, remove = (str(folder / name) for name in ("1", "2", "3"))
    removed = []

    class Removed(JsonlWriter):
        def write(self, document, rank=0, **kwargs):
            removed.append(document)

    list(MinhashDedupSignature(signatures).run(documents) or [])
    for rank in range(14):
        MinhashDedupBuckets(signatures, buckets).run(None, rank, 14)
    MinhashDedupCluster(buckets, remove, save_cluster_id=True, save_cluster_size=True).run(None)
    step = MinhashDedupFilter(
        remove,
        exclusion_writer=Removed(str(folder / "removed")),
        load_cluster_ids=True,
        load_cluster_sizes=True,
    )
    kept = list(step.run(iter(documents)))
    return [
        [record(document.text, document.id, **document.metadata) for document in side]
        for side in (removed, kept)
    ]


@pytest.mark.parametrize("recorded", [True, False])
def test_clusters_are_those_of_minhash(deduplicated, recorded):
    removed, kept = ([record(r.text, r.id, **r.metadata) for r in side] for side in deduplicated)
    assert len(removed) == 6
    if not recorded:
        for one in removed + kept:
            one.metadata = {}
    found = clusters(removed, iter(kept), shown)
    names = {
        frozenset({one.kept.id, *(text.id for text in one.removed)}): (one.kind, one.size)
        for one in found
    }
    assert names == {
        frozenset({"0", "0 edited", "0 copied"}): ("near", 3 if recorded else None),
        frozenset({"1", "1 edited"}): ("near", 2 if recorded else None),
        frozenset({"2", "2 edited"}): ("near", 2 if recorded else None),
        frozenset({"3", "3 edited"}): ("near", 2 if recorded else None),
        frozenset({"5", "5 copied"}): ("exact", 2 if recorded else None),
    }
    assert len(found[0].removed) == 2, "the largest stands first"


def test_share_of_shingles_and_the_kept_one_that_is_most_alike():
    words = [f"w{chr(97 + n % 26)}{chr(97 + n // 26)}" for n in range(104)]
    text = " ".join(words)
    # 100 shingles, of which one word that is another touches five
    almost = " ".join([*words[:50], "other", *words[51:]])
    half = " ".join([*words[:60], *(word[::-1] for word in words[60:])])
    more = f"{text} " + " ".join(word[::-1] for word in words[:50])
    others = [record("Nothing in common with the other ones at all", "none"), record("", "empty")]
    for kept, wanted, share in [
        ([half, more, almost], almost, 0.95),
        ([half, more], more, 1.0),
        ([half], None, None),
        ([text.upper() + "!", almost], text.upper() + "!", 1.0),
        ([almost, text], text, 1.0),
    ]:
        candidates = [*others, *(record(one, "kept") for one in kept)]
        (found,) = clusters([record(text, "removed")], candidates, shown, "exact")
        assert (found.kept and found.kept.text) == wanted
        assert found.shared == share
        assert found.kind == ("exact" if wanted in (None, text) else "near")


def test_minhash_cluster_beats_likeness_and_exact_dedup_counts_the_others():
    text = ENGLISH[0]
    removed = [record(edited(text, 9), "removed", minhash_cluster_id=7)]
    kept = [
        record(removed[0].text, "alike", minhash_cluster_id=8),
        record(text, "same cluster", minhash_cluster_id=7),
    ]
    (found,) = clusters(removed, kept, shown)
    assert found.kept.id == "same cluster"
    (found,) = clusters([record(text, "removed")], [record(text, "kept", duplicate_count=4)], shown)
    assert (found.kind, found.size) == ("exact", 5)


def test_numbers_are_alike_and_scripts_without_blanks_have_shingles():
    (found,) = clusters(
        [record("On 12 May 2024 the price of tea was 3 pounds", "removed")],
        [record("On 7 May 1999 the price of tea was 250 pounds", "kept")],
        shown,
    )
    assert found.shared == 1
    (found,) = clusters(
        [record("今天天气很好我们去公园散步吧", "removed")],
        [record("今天天气很好我们去公园散步吗", "kept")],
        shown,
    )
    assert found.shared == 9 / 10  # of 14 characters ten shingles, the last of which is another


# ---- differences ---------------------------------------------------------------------------------


def common_words(first: list[str], second: list[str]) -> int:
    """Length of the longest common subsequence, by the table of the textbooks."""
    row = [0] * (len(second) + 1)
    for word in first:
        above, row = row, [0]
        for at, other in enumerate(second):
            best = above[at] + 1 if word == other else max(above[at + 1], row[-1])
            row.append(best)
    return row[-1]


def test_differences_leave_the_most_words_in_common():
    rng = random.Random(3)
    for _ in range(200):
        sides = [
            "".join(
                rng.choice(["tea", "kettle", "steam,", "é", "\u202e", "<b>"])
                + rng.choice([" ", "\n", "  "])
                for _ in range(rng.randrange(30))
            )
            for _ in "ab"
        ]
        parts = differences(*sides)
        for side, text in zip(parts, sides, strict=True):
            assert "".join(part for _, part in side) == text
            assert all(before[0] != after[0] for before, after in pairwise(side))
        same = [
            [w for kind, part in side if kind == "same" for w in part.split()] for side in parts
        ]
        assert same[0] == same[1]
        assert len(same[0]) == common_words(*(side.split() for side in sides))


def test_differences_of_huge_and_of_empty_texts():
    long = "a" * 5_000_000
    assert differences(long, f"{long}b") == ([("only here", long)], [("only here", f"{long}b")])
    assert differences("", "") == ([], [])
    assert differences("", "new") == ([], [("only here", "new")])
    many = "tea and kettle " * 300_000
    first, second = differences(many, f"{many[:-1]}s")
    assert first[0][0] == "same" and first[-1][0] == "not compared"
    assert "".join(part for _, part in second) == f"{many[:-1]}s"


def test_differences_at_the_end_of_a_cut_text_are_not_told():
    assert differences("new one two three", "one two three four", cut=True) == (
        [("only here", "new "), ("same", "one two three")],
        [("same", "one two three "), ("not compared", "four")],
    )


# ---- tokens --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    made.train_from_iterator(
        ENGLISH, trainers.BpeTrainer(vocab_size=600, initial_alphabet=alphabet)
    )
    return made


def test_pieces_are_the_characters_of_the_tokens(tokenizer):
    text = "Tea & kéttle, 茶 🫖 in the \n garden שלום " * 3
    found = in_tokens("made", tokenizer, shown(record(text, "id")), text)
    ids = tokenizer.encode(text).ids
    assert [number for *_, number in found.pieces] == ids
    # where a token's bytes begin and end in the text; a character has as many as UTF-8 gives it
    character_of = [at for at, letter in enumerate(text) for _ in letter.encode()]
    place = 0
    for start, end, number in found.pieces:
        size = len(tokenizer.id_to_token(number))  # a character of the alphabet for each byte
        assert (start, end) == (character_of[place], character_of[place + size - 1] + 1)
        place += size
    assert place == len(character_of)


def test_tokens_of_a_text_that_is_cut_are_those_of_the_whole(tokenizer):
    whole = ENGLISH[0]
    cut = Text("id", whole[:1001], len(whole), "place", {})
    pieces = in_tokens("made", tokenizer, cut, whole).pieces
    encoded = tokenizer.encode(whole)
    assert pieces == [
        (*place, number)
        for place, number in zip(encoded.offsets, encoded.ids, strict=True)
        if place[1] <= 1001
    ]
    huge = "a" * 5_000_000
    assert in_tokens("made", tokenizer, Text("id", huge[:50], len(huge), "", {}), huge).pieces


def test_tokenizer_is_found_where_the_run_lies_now(tokenizer, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    run = tmp_path / "moved" / "run"
    (run / "models").mkdir(parents=True)
    named = [{"limit": -1}, {"tokenizer_name_or_path": "/gone/run/models/small.json"}]
    assert find_tokenizer(named, str(run)) is None
    tokenizer.save(str(run / "models" / "small.json"))
    name, found = find_tokenizer(named, str(run))
    assert name == "small.json"
    assert found.to_str() == tokenizer.to_str()
    assert find_tokenizer([], str(run)) is None
    (run / "models" / "tokenizer.json").write_text("{}")
    assert find_tokenizer([], str(run)) is None, "a broken file"
    tokenizer.save(str(run / "models" / "tokenizer.json"))
    assert find_tokenizer([], str(run))[0] == "models/tokenizer.json"
    assert find_tokenizer([{"tokenizer_name_or_path": "org/none"}], "s3://bucket/run") is None
