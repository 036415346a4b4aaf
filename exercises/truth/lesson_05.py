"""The exercises of lesson 05: the newest copy of each text; finders that are too few."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from . import Exercise, Findings, Ran, Verdict, count, documents, records


def judge_texts(said: Findings, data: Path, kept: list[dict]) -> None:
    """Each text of the input must be there once."""
    texts, found = {r["text"] for r in records(data)}, Counter(d["text"] for d in kept)
    lost = texts - found.keys()
    left = sum(number - 1 for number in found.values())
    if strange := found.keys() - texts:
        said.wrong(f"kept/ holds {count(len(strange), 'text')} that the input does not have.")
    if lost:
        said.wrong(f"{count(len(lost), 'text')} of {len(texts):,} are lost: no copy is in kept/.")
    if left:
        said.wrong(f"kept/ holds {count(left)} too many, beside another with the same text.")
    if lost and left:
        said.wrong("Wrong documents were removed: which tasks read which files, in which stage?")
    if not (lost or left or strange):
        said.right(f"kept/ holds each of the {len(texts):,} texts once.")


def judge_newest(data: Path, out: Path, ran: Ran) -> Verdict:
    said, kept = Findings(), documents(out / "kept")
    judge_texts(said, data, kept)
    times: dict[str, list[str]] = {}
    for record in records(data):
        times.setdefault(record["text"], []).append(record["timestamp"])
    several = {text for text, found in times.items() if len(set(found)) > 1}
    given = {d["text"]: d["metadata"].get("timestamp", "") for d in kept if d["text"] in several}
    older = {text for text, time in given.items() if time != max(times[text])}
    if not older:
        said.right(
            f"Of the {len(several)} texts with copies of different dates the newest is kept."
        )
        return said.verdict()
    said.wrong(
        f"{len(several)} texts have copies of different dates. Of {len(older)} of them an older "
        "copy is kept."
    )
    if all(given[text] == min(times[text]) for text in given):
        said.wrong("It is always the oldest: the highest priority stays.")
    elif all(given[text] == times[text][0] for text in given):
        said.wrong("It is always the first in the data: all copies have the same priority.")
    elif all(given[text][:10] == max(times[text])[:10] for text in older):
        said.wrong("The day is right, and the time of day is not looked at.")
    return said.verdict()


def judge_copies_left(data: Path, out: Path, ran: Ran) -> Verdict:
    said = Findings()
    judge_texts(said, data, documents(out / "kept"))
    ranges = [folder for folder in (out / "signatures").glob("*") if any(folder.iterdir())]
    if said.solved and len(ranges) < 2:
        said.wrong("But signatures/ has one range of hashes: the finders do not share the work.")
    return said.verdict()


EXERCISES = [
    Exercise(
        "05a",
        "keep the newest copy of a text, not the first",
        "write",
        [
            "doc.metadata['timestamp'] is a string. Make a number of it that is higher for a later "
            "time. How many minutes has a month?",
            "datetime.strptime(..., '%Y-%m-%dT%H:%M:%SZ') reads it. The minutes since the first of "
            "May are at most 44,640. A priority of 0 is refused.",
        ],
        judge_newest,
        sample="exact",
    ),
    Exercise(
        "05b",
        "copies that stay in the data",
        "mend",
        [
            "A third of the duplicates stays. Into how many ranges did stage 1 cut the hashes? "
            "Look into signatures/.",
            "Stage 2 needs a task for each range.",
        ],
        judge_copies_left,
        sample="exact",
    ),
]
