"""The exercises of lesson 01: a filter on the most frequent word; two runs and their folders."""

from __future__ import annotations

import gzip
import json
import random
import re
from collections import Counter
from pathlib import Path
from string import punctuation

from . import (
    Exercise,
    Findings,
    Ran,
    Verdict,
    content,
    count,
    differences,
    documents,
    id_of,
    records,
)

MAX_SHARE = 0.15
MIN_CHARS = 600


def make_stuffed_pages(data: Path, out: Path) -> None:
    """Articles, pages stuffed with one word in all its cases, and texts at the limits."""
    from examples_common.samples.articles import articles

    rng, texts = random.Random("01a"), [article.text for article in articles("en")]
    for place in range(60):
        words = rng.choice(texts[:100]).split()[: rng.randrange(60, 250)]
        stuffed = rng.choice(("kettle", "mattress", "scooter", "lamp"))
        stuffed = rng.choice(((stuffed,), (stuffed, stuffed.title(), stuffed.upper())))
        share = 0.02 + 0.3 * place / 60
        while max(Counter(" ".join(words).lower().split()).values()) / len(words) < share:
            words.insert(rng.randrange(len(words)), rng.choice(stuffed))
        texts.append(" ".join(words))
    # Exactly the limit, and just above it, with few words and with many.
    for often, others in ((3, 17), (4, 17), (60, 340), (61, 339)):
        rest = [f"{word}{i}" for i, word in enumerate(["tea", "milk"] * (others // 2 + 1))][:others]
        texts.append(" ".join(["teapot"] * often + rest))
    # Above the limit only where "kettle" and "kettle," are taken for one word.
    for bare, comma, others in ((8, 8, 84), (10, 10, 80), (12, 11, 77), (30, 25, 190)):
        words = ["kettle"] * bare + ["kettle,"] * comma + [f"cup{i}" for i in range(others)]
        rng.shuffle(words)
        texts.append(" ".join(words))
    texts += [" ", "\n\n", " \n "]
    rng.shuffle(texts)
    for shard in range(2):
        with gzip.open(data / f"pages-{shard:05d}.jsonl.gz", "wt", encoding="utf-8") as lines:
            for text in texts[shard::2]:
                lines.write(json.dumps({"text": text}, ensure_ascii=False) + "\n")


def reason(text: str) -> str | None:
    """Why a text is to be dropped, or None."""
    if not text.split():
        return "no_words"
    return "common_word" if share(text) > MAX_SHARE else None


def share(text: str) -> float:
    """The share of the most frequent word among all words."""
    words = text.lower().split()
    return Counter(words).most_common(1)[0][1] / len(words)


def share_as_written(text: str) -> float:
    words = text.split()
    return Counter(words).most_common(1)[0][1] / len(words)


def share_of_different_words(text: str) -> float:
    words = text.lower().split()
    return Counter(words).most_common(1)[0][1] / len(set(words))


def share_of_characters(text: str) -> float:
    word, often = Counter(text.lower().split()).most_common(1)[0]
    return often * len(word) / len(text)


def share_of(words: list[str]) -> float:
    return max(Counter(words).values(), default=0) / (len(words) or 1)


ONE_WORD = "The filter takes kettle and kettle, for one word."
#: Whether a filter that was written otherwise drops a text, and what to say to its author.
MISREADINGS = [
    (
        lambda text: share_as_written(text) > MAX_SHARE,
        "The filter takes Kettle and kettle for two words: lower the case first.",
    ),
    (
        lambda text: share(text) >= MAX_SHARE,
        "The filter drops documents whose share is exactly MAX_SHARE, too: it must be *more*.",
    ),
    (
        lambda text: share_of_different_words(text) > MAX_SHARE,
        "The filter divides by the number of different words: divide by the number of all words.",
    ),
    (
        lambda text: share_of_characters(text) > MAX_SHARE,
        "The filter compares characters: count words, and divide by the number of words.",
    ),
    (
        lambda text: share_of(re.findall(r"\w+", text.lower())) > MAX_SHARE,
        ONE_WORD,
    ),
    (
        lambda text: share_of([w.strip(punctuation) for w in text.lower().split()]) > MAX_SHARE,
        ONE_WORD,
    ),
]


def judge_common_word(data: Path, out: Path, ran: Ran) -> Verdict:
    read, said = records(data), Findings()
    wanted = {content(record): reason(record["text"]) for record in read}
    kept = documents(out / "kept")
    to_drop = [key for key, why in wanted.items() if why]
    if not list(out.glob("dropped/*")):
        said.wrong(
            f"Nothing was dropped; {count(len(to_drop))} of {len(read)} should be. What the filter "
            "drops goes to its exclusion writer, and from there to dropped/."
        )
        return said.verdict()
    dropped = documents(out / "dropped")
    to_keep = [key for key, why in wanted.items() if not why]
    said.wrong(*differences(to_keep, map(content, kept), "kept/", id_of))
    said.wrong(*differences(to_drop, map(content, dropped), "dropped/", id_of))
    texts = {record["id"]: record["text"] for record in read if record["text"].split()}
    found = {document["id"] for document in dropped} & texts.keys()
    if found != {key[0] for key in to_drop} & texts.keys():
        for drops, sentence in MISREADINGS:
            if found == {name for name, text in texts.items() if drops(text)}:
                said.wrong(sentence)
                break
    reasons = Counter(
        (document["metadata"].get("filter_reason"), wanted[content(document)])
        for document in dropped
        if wanted.get(content(document))
    )
    for (given, right), number in sorted(reasons.items(), key=str):
        if given != right:
            said.wrong(
                f"{count(number)} in dropped/ should have the reason {right} and "
                f"{'has' if number == 1 else 'have'} "
                + (f"{given}." if given else "none: return False, and the reason.")
            )
    if said.solved:
        said.right(
            f"kept/ holds the {count(len(kept))} that belong there, dropped/ the other "
            f"{len(dropped)}, each with its reason."
        )
    return said.verdict()


def judge_two_days(data: Path, out: Path, ran: Ran) -> Verdict:
    long = [record for record in records(data) if len(record["text"]) >= MIN_CHARS]
    kept, said = Counter(map(content, documents(out / "kept"))), Findings()
    for day, shards in {"Monday": "0123", "Tuesday": "4567"}.items():
        keys = [content(record) for record in long if record["id"][len("c4-0000")] in shards]
        there = sum(key in kept for key in keys)
        (said.right if there == len(keys) else said.wrong)(
            f"Of {day}'s {count(len(keys))} kept/ holds {'all' if there == len(keys) else there}."
        )
    said.wrong(*differences(map(content, long), kept.elements(), "kept/", id_of))
    if len({key[0][len("c4-0000")] in "0123" for key in kept}) == 1:
        days = ["Tuesday's run did nothing, or wrote elsewhere: read the last lines of its log."]
        if min(kept)[0] >= "c4-00004":
            days = ["Tuesday's files have the names of Monday's, and took their place."]
        said.wrong(*days)
    if any(len({name in "0123" for name in files}) == 2 for files in files_of_tasks(out)):
        said.wrong(
            "One task read files of both days: on Monday nobody has Tuesday's files. Keep two runs."
        )
    return said.verdict()


def files_of_tasks(out: Path) -> list[set[str]]:
    """For each task of each run the last digits of the files that it read, by its log."""
    launches = [
        launch
        for log in out.rglob("task_*.log")
        # Runs that share a logging_dir share its logs.
        for launch in log.read_text(encoding="utf-8").split("Launching pipeline for rank=")
    ]
    return [set(re.findall(r"Reading input file \S*c4-0000(\d)", log)) for log in launches]


EXERCISES = [
    Exercise(
        "01a",
        "a filter on the share of the most frequent word, with a reason",
        "write",
        [
            "A filter gives True, or False and a reason: ListFilter on page 01 does both.",
            "doc.text.lower().split() gives the words; collections.Counter counts them.",
            'Look at the empty list first: `return False, "no_words"`. Then compare the highest '
            "count, divided by the number of words, with MAX_SHARE.",
        ],
        judge_common_word,
        prepare=make_stuffed_pages,
    ),
    Exercise(
        "01b",
        "two runs, and half of the documents",
        "mend",
        [
            "Which files do the ids in kept/ come from? An id is the name of a file and a line.",
            "Read the last lines of the log. What does logs/completions hold when Tuesday begins?",
            "Tuesday needs a logging_dir of its own. Then look again: what are the files called "
            "that each day writes to kept/?",
        ],
        judge_two_days,
        sample="c4",
    ),
]
