"""The exercises of lesson 07: buckets and hashes for a recall; the tasks of the last stage."""

from __future__ import annotations

import gzip
import json
import math
import random
from collections import Counter
from pathlib import Path

from . import Exercise, Findings, Ran, Unreadable, Verdict, content, count, documents, records

PAIRS = 150  # of each similarity
SHINGLES = 90  # of five words, in each text
NUMBERS = 200
AT_LEAST, AT_MOST = 0.95, 0.10  # at 0.8 and at 0.5


def write_shards(data: Path, texts: list[dict], shards: int) -> None:
    for shard in range(shards):
        with gzip.open(data / f"texts-{shard:05d}.jsonl.gz", "wt", encoding="utf-8") as lines:
            for text in texts[shard::shards]:
                lines.write(json.dumps(text, ensure_ascii=False) + "\n")


def make_pairs(data: Path, out: Path) -> None:
    """Pairs of texts whose shingles are as similar as they should be, exactly.

    Two texts of n shingles that begin with the same c shingles, and have no other in common, have a
    Jaccard similarity of c / (2n - c).
    """
    rng, texts = random.Random("07a"), []

    def words(number: int) -> list[str]:
        syllables = (
            "".join(rng.choices("bdfgklmnprst")) + rng.choice("aeiou") for _ in range(3 * number)
        )
        return ["".join(three) for three in zip(*[syllables] * 3, strict=True)]

    for similarity in (0.5, 0.8):
        common = round(2 * SHINGLES * similarity / (1 + similarity))
        for number in range(PAIRS):
            begin = words(common + 4)
            for side in "ab":
                text = " ".join(begin + words(SHINGLES - common))
                texts.append({"text": text, "id": f"{similarity}-{number:03d}-{side}"})
    rng.shuffle(texts)
    write_shards(data, texts, 2)


def formula(similarity: float, buckets: int, hashes: int) -> float:
    return 1 - (1 - similarity**hashes) ** buckets


#: What another formula gives, and what to say to its author.
MISREADINGS = [
    (
        lambda s, buckets, hashes: 1 - (1 - s**buckets) ** hashes,
        "Buckets and hashes have changed places in the formula.",
    ),
    (
        lambda s, buckets, hashes: s**hashes,
        "This is the chance of agreeing in one given bucket; any one of all the buckets is enough.",
    ),
    (
        lambda s, buckets, hashes: (1 - s**hashes) ** buckets,
        "This is the chance of agreeing in no bucket, so of not being found.",
    ),
    (
        lambda s, buckets, hashes: 100 * formula(s, buckets, hashes),
        "These are percent; write a share from 0 to 1.",
    ),
]


def read_prediction(file: Path) -> dict[float, float]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        return {similarity: float(found[str(similarity)]) for similarity in (0.5, 0.8)}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Unreadable(
            'OUT/prediction.json should hold {"0.5": a share, "0.8": a share}; '
            f"{type(error).__name__}: {error}"
        ) from error


def shape_of(signatures: Path, texts: int) -> tuple[int, int]:
    """Buckets and hashes of a run, from the files of its first stage.

    A text takes 8 bytes for each hash of a bucket, and 4 for its place.
    """
    buckets = sorted(signatures.glob("bucket_*"))
    if not buckets:
        raise Unreadable("OUT/signatures holds no signatures: did the first stage run?")
    size = sum(file.stat().st_size for file in buckets[0].iterdir())
    return len(buckets), round((size / texts - 4) / 8)


def judge_recall(data: Path, out: Path, ran: Ran) -> Verdict:
    said, read = Findings(), records(data)
    prediction = read_prediction(out / "prediction.json")
    buckets, hashes = shape_of(out / "signatures", len(read))
    theory = {s: formula(s, buckets, hashes) for s in (0.5, 0.8)}
    predicted = judge_prediction(prediction, theory, buckets, hashes, said)
    if predicted:
        said.right(
            f"{buckets} buckets of {hashes} hashes: by the formula {theory[0.8]:.1%} of the pairs "
            f"at 0.8 are found, and {theory[0.5]:.1%} of those at 0.5."
        )
    if theory[0.8] < AT_LEAST:
        said.wrong("At 0.8 it must be 95% or more. More buckets, or fewer hashes, find more pairs.")
    if theory[0.5] > AT_MOST:
        said.wrong(
            "At 0.5 it must be 10% or less. More hashes, or fewer buckets, find fewer pairs."
        )
    if buckets * hashes > NUMBERS:
        said.wrong(f"These are {buckets * hashes} numbers for a text, and 200 are allowed.")
    if (out / "prediction.json").stat().st_mtime > min(
        file.stat().st_mtime for file in (out / "signatures").glob("bucket_*/*")
    ):
        said.wrong("prediction.json is younger than the signatures: predict first, then run.")
    folders = {folder: documents(out / folder) for folder in ("kept", "removed")}
    written = Counter(content(document) for found in folders.values() for document in found)
    if written != Counter(map(content, read)):
        said.wrong("kept/ and removed/ together should hold each text of the input once.")
        return said.verdict()
    removed = {document["id"] for document in folders["removed"]}
    for s, expected in theory.items():
        found = sum(
            (f"{s}-{n:03d}-a" in removed) != (f"{s}-{n:03d}-b" in removed) for n in range(PAIRS)
        )
        line = f"At {s} {found} of {PAIRS} pairs were found, {found / PAIRS:.1%}."
        # Chance moves the share by four standard deviations once in 16,000 times.
        if abs(found / PAIRS - expected) <= 4 * (expected * (1 - expected) / PAIRS) ** 0.5 + 1e-9:
            if predicted:
                said.right(line)
        elif predicted:
            said.wrong(
                f"{line} The formula gives {expected:.1%}: are the four stages as they were?"
            )
        else:
            said.wrong(f"At {s} too many or too few were found: are the four stages as they were?")
    return said.verdict()


def judge_prediction(
    prediction: dict[float, float],
    theory: dict[float, float],
    buckets: int,
    hashes: int,
    said: Findings,
) -> bool:
    """Whether a prediction is the formula's; if not, name the formula that was used instead.

    The right figures are not told before the reader has them.
    """

    def is_like(other: dict[float, float]) -> bool:
        return all(math.isclose(prediction[s], other[s], rel_tol=0.01) for s in theory)

    written = f"{prediction[0.8]:.3f} at 0.8 and {prediction[0.5]:.3f} at 0.5"
    if is_like(theory):
        said.right(f"You predict {written}, as the formula does.")
        return True
    said.wrong(
        f"You predict {written}. That is not what the formula on page 07 gives for {buckets} "
        f"buckets of {hashes} hashes."
    )
    for other, sentence in MISREADINGS:
        if is_like({s: other(s, buckets, hashes) for s in theory}):
            said.wrong(sentence)
            break
    return False


def make_stories(data: Path, out: Path) -> None:
    """Paragraphs, a third of them with copies that MinHash takes for the same text."""
    from examples_common.samples.articles import articles

    rng, texts = random.Random("07b"), []
    paragraphs = (
        p for article in articles("en") for p in article.paragraphs if len(p.split()) > 30
    )
    changes = [str.upper, lambda text: text.replace(" ", "  "), lambda text: f"*** {text} ***"]
    for number in range(200):
        text = next(paragraphs)
        copies = [text, *(change(text) for change in rng.sample(changes, (0, 0, 1, 2)[number % 4]))]
        texts += [{"text": t, "id": f"story-{number:03d}-{'abc'[i]}"} for i, t in enumerate(copies)]
    rng.shuffle(texts)
    write_shards(data, texts, 8)


def story(key: tuple[str, str]) -> str:
    return key[0].rpartition("-")[0]


def judge_stories(data: Path, out: Path, ran: Ran) -> Verdict:
    said, read = Findings(), set(map(content, records(data)))
    kept = list(map(content, documents(out / "kept")))
    stories, there = (
        {story(key) for key in read},
        Counter(story(key) for key in kept if key in read),
    )
    if gone := stories - there.keys():
        said.wrong(
            f"kept/ lacks {len(gone)} of {len(stories)} stories altogether, such as {min(gone)}: "
            "other texts were removed than the copies."
        )
    if more := there.total() - len(there):
        often = max(there, key=lambda name: (there[name], name))
        said.wrong(
            f"kept/ holds {count(more, 'text')} too many: {often} stands there "
            f"{there[often]} times, for example."
        )
    if strange := [key for key in kept if key not in read]:
        said.wrong(f"kept/ holds {count(len(strange), 'text')} that the input does not hold.")
    if said.solved:
        said.right(f"kept/ holds each of the {len(stories)} stories once.")
    return said.verdict()


EXERCISES = [
    Exercise(
        "07a",
        "buckets and hashes for a recall, which you predict",
        "write",
        [
            "Two texts agree in one hash with the probability s, in all hashes of one bucket with "
            "s to the power of HASHES. They are found if one bucket agrees.",
            "1 - (1 - s**HASHES) ** BUCKETS. Write it, and print it for some buckets and hashes "
            "before you run anything.",
            "More buckets raise both shares, more hashes lower both. Keep the 8 hashes, and try "
            "other numbers of buckets.",
        ],
        judge_recall,
        prepare=make_pairs,
    ),
    Exercise(
        "07b",
        "copies that stay, and stories that are gone",
        "mend",
        [
            "Count the texts in removed/, and look at some: has each another copy in kept/?",
            "Stage 3 hands on what to remove: text 17 of task 3. Which stages cut the input into "
            "tasks?",
            "The last stage must read the files in as many tasks as the first one.",
        ],
        judge_stories,
        prepare=make_stories,
    ),
]
