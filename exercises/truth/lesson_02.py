"""The exercises of lesson 02: good German pages; pages that repeat what others say."""

from __future__ import annotations

import gzip
import io
import json
import math
import random
import shutil
from html import escape
from pathlib import Path

from . import Exercise, Findings, Ran, Verdict, content, count, documents, records

GOODS = (
    "Gartenschuhe", "Wanderstiefel", "Schreibtischlampe", "Kaffeemaschine", "Fahrradhelm",
    "Winterjacke", "Rasenmäher", "Bettwäsche", "Werkzeugkoffer", "Regenschirm",
)  # fmt: skip
FILLERS = (
    "günstig", "kaufen", "online", "Angebot", "Versand", "Rabatt", "Bestellung", "Lieferung",
    "Qualität", "Preise", "Auswahl", "Sonderpreis", "Neuheiten", "Bestseller", "Gutschein",
)  # fmt: skip
#: An English sentence with words that German has in each text: von, der, und, das, die.
NO_GERMAN = (
    "Their first keeper, Klaus von der Heide, wrote for Haus und Garten, called his hut das Nest, "
    "and used to say that plants die of being watched."
)
NOTE = (
    "This letter is written by its readers: send us your own story, by hand if you like, and we "
    "will print it in one of the next numbers, with your name or without it."
)


def make_german_pages(data: Path, out: Path) -> None:
    """Pages in several languages, with what each is in ``data.manifest.jsonl`` beside them."""
    from examples_common import language_model
    from examples_common.samples.articles import articles

    rng = random.Random("02a")
    paragraphs = [p for article in articles("de") for p in article.paragraphs]
    pages = [("long", "\n".join(rng.sample(paragraphs, rng.randint(3, 6)))) for _ in range(60)]
    pages += [("short", p) for p in paragraphs if 42 <= len(p.split()) <= 48]
    pages += [("stub", p) for p in paragraphs if len(p.split()) <= 36]
    for place in range(20):
        words = [rng.choice((GOODS[place % len(GOODS)], *FILLERS)) for _ in range(120)]
        pages.append(("search words", " ".join(words) + "."))
    for language in ("en", "fr", "pl", "it"):
        texts = [article.text for article in articles(language)]
        tail = f"\n{NO_GERMAN}" * (language == "en")
        pages += [("other language", text + tail) for text in rng.sample(texts, 7)]
    rng.shuffle(pages)
    with open(data.with_name("data.manifest.jsonl"), "w", encoding="utf-8") as manifest:
        for shard in range(2):
            file = f"pages-{shard:05d}.jsonl.gz"
            with gzip.open(data / file, "wt", encoding="utf-8") as lines:
                for number, (kind, text) in enumerate(pages[shard::2]):
                    lines.write(json.dumps({"text": text}, ensure_ascii=False) + "\n")
                    manifest.write(json.dumps({"id": f"{file}/{number}", "kind": kind}) + "\n")
    shutil.copy(language_model(), data)


#: How to call the pages of a kind, whether they are to be kept, and what to say if it went wrong.
KINDS = {
    "long": ("good German pages of 50 words or more", True, "Why does Gopher drop them?"),
    "short": ("good German pages of 40 to 49 words", True, "Which threshold counts words?"),
    "stub": ("German pages of less than 40 words", False, "Which threshold counts words?"),
    "search words": (
        "pages of German search words",
        False,
        "They have no stop words: the rule on stop words must be at work, with common words.",
    ),
    "other language": ("pages in other languages", False, "Which languages pass?"),
}


def judge_german(data: Path, out: Path, ran: Ran) -> Verdict:
    with open(data.with_name("data.manifest.jsonl"), encoding="utf-8") as manifest:
        kinds = {line["id"]: line["kind"] for line in map(json.loads, manifest)}
    read = {content(record): kinds[record["id"]] for record in records(data)}
    kept = documents(out / "kept") if (out / "kept").exists() else []  # the writer makes it
    kept, said = list(map(content, kept)), Findings()
    others = sum(kind == "other language" for kind in read.values())
    german = any(read.get(key, "other language") != "other language" for key in kept)
    # Of more pages than those in other languages some would be German.
    no_german = not german and forwarded_by_language(out) <= others
    for kind, (pages, wanted, advice) in KINDS.items():
        number = sum(one == kind for one in read.values())
        there = len({key for key in kept if read.get(key) == kind})
        if there == number * wanted:
            said.right(f"Right: {'all' if wanted else 'none'} of the {number} {pages} are kept.")
        else:
            if wanted and no_german:
                advice = ""
            elif wanted and there:  # the rule is right, and too strict
                advice = "Are your stop words the most common ones of German?"
            said.wrong(
                f"Of the {number} {pages} {there} {'are' if there != 1 else 'is'} kept, and "
                f"{'all' if wanted else 'none'} should be. {advice}".rstrip()
            )
    if no_german:
        said.wrong(
            "LanguageFilter keeps no German page. What does its model call German? (page 02, What "
            "goes wrong)"
        )
    if strange := [key for key in kept if key not in read]:
        said.wrong(f"kept/ has {count(len(strange))} whose text is not that of the input.")
    if len(kept) > len(set(kept)):
        said.wrong(f"kept/ has {count(len(kept) - len(set(kept)))} more than once.")
    return said.verdict()


def forwarded_by_language(out: Path) -> float:
    """How many documents the language filter let through; infinity where no statistics say so."""
    return min(
        (
            step["stats"].get("forwarded", 0)
            for file in out.rglob("stats.json")
            for step in json.loads(file.read_text(encoding="utf-8"))
            if "Language ID" in step["name"]
        ),
        default=math.inf,
    )


def newsletter() -> list[tuple[str, list[str]]]:
    """The pages: address and paragraphs. Twenty stories with the note, eight at five addresses."""
    from examples_common.samples.articles import articles

    pages = []
    for number, article in enumerate(articles("en")[20:48]):
        story, copies = list(article.paragraphs[:4]), 5 if number < 8 else 1
        for copy in range(copies):
            url = f"https://letter.example.org/{copy + 1}/{article.slug}"
            pages.append((url, story if copies > 1 else [*story, NOTE]))
    random.Random("02b").shuffle(pages)
    return pages


def make_newsletter(data: Path, out: Path) -> None:
    """A WARC file of the pages."""
    from warcio.statusandheaders import StatusAndHeaders
    from warcio.warcwriter import WARCWriter

    html = [("Content-Type", "text/html; charset=utf-8")]
    with open(data / "letter.warc.gz", "wb") as stream:
        warc = WARCWriter(stream, gzip=True)
        for url, paragraphs in newsletter():
            page = io.BytesIO(page_of(paragraphs).encode())
            headers = StatusAndHeaders("200 OK", html, "HTTP/1.1")
            warc.write_record(
                warc.create_warc_record(url, "response", payload=page, http_headers=headers)
            )


def page_of(paragraphs: list[str]) -> str:
    text = "\n".join(f"<p>{escape(paragraph, quote=False)}</p>" for paragraph in paragraphs)
    menu = "\n".join(f'<a href="/{name}">{name}</a>' for name in ("News", "Letters", "Archive"))
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>Letter</title></head>'
        f"<body>\n<article>\n{text}\n</article>\n<nav>\n{menu}\n</nav>\n</body></html>"
    )


def judge_newsletter(data: Path, out: Path, ran: Ran) -> Verdict:
    pages, said = dict(newsletter()), Findings()
    texts: dict[str, list[str]] = {}
    for document in documents(out / "kept"):
        texts.setdefault(document["metadata"].get("url", ""), []).append(document["text"])
    gone = [url for url in pages if url not in texts]
    if gone:
        said.wrong(f"{count(len(gone), 'page')} of {len(pages)} became no document: {gone[0]}")
    if html := sum("<p>" in text for found in texts.values() for text in found):
        said.wrong(f"{count(html)} in kept/ still have the tags of HTML.")
    if twice := sum(len(found) - 1 for found in texts.values()):
        said.wrong(f"kept/ holds {count(twice)} more than once.")
    if strange := texts.keys() - pages.keys():
        said.wrong(f"kept/ holds {count(len(strange))} of no page: {min(strange)}")
    without_note = without_story = 0
    for url in pages.keys() & texts.keys():
        there = set(texts[url][0].split("\n"))
        without_note += NOTE in pages[url] and NOTE not in there
        without_story += not set(pages[url]) - {NOTE} <= there
    if without_note:
        said.wrong(f"{count(without_note)} of 20 lack the note of the editors.")
    if without_story:
        said.wrong(f"{count(without_story)} lack a paragraph of their story.")
    if (gone or without_note or without_story) and not html:
        said.wrong("What is missing stood in earlier pages. Which step remembers earlier pages?")
    if said.solved:
        said.right(
            f"All {len(pages)} pages are documents, each with its story, and 20 with the note."
        )
    return said.verdict()


EXERCISES = [
    Exercise(
        "02a",
        "keep good German pages, with thresholds and stop words that fit German",
        "write",
        [
            'The language model says "de". The Gopher filter has the arguments stop_words and '
            "min_doc_words.",
            "GopherQualityFilter wants two different stop words in a page. Its own are English. "
            "Give the most common words of German: der, die, das, und, ...",
            "min_doc_words=40, and a list of about ten stop words. If pages of search words stay, "
            "the rule is off (min_stop_words), or your list has words that are not common.",
        ],
        judge_german,
        prepare=make_german_pages,
    ),
    Exercise(
        "02b",
        "pages and paragraphs that vanish in extraction",
        "mend",
        [
            "Compare the first documents in kept/ with the last ones: which still have the note?",
            "Which step could know what stood in an earlier page? Look at the arguments that it "
            "has by default: python -c 'from datatrove.pipeline.extractors import Trafilatura; "
            "help(Trafilatura)'",
            "Trafilatura(deduplicate=True), the default, drops text that it has met before.",
        ],
        judge_newsletter,
        prepare=make_newsletter,
    ),
]
