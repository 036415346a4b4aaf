"""Lesson 02: the funnel. What each filter dropped and why, with some words of one such page."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from datatrove.pipeline.readers import JsonlReader
from style import BLUE, BLUE_SOFT, MUTED, ORANGE, arrow, diagram, quote, row, save, text

#: What to quote for a reason: the place that made the page fall, else how it begins.
TELLING = {
    "dup_line_frac": r"^(.{30}).*\n(?s:.*?)^\1",
    "top_2_gram": r", ((\w+ \w+ \w+) and more, \2.*)",
    "gopher_too_many_bullets": r"^(- .*\n- .*)",
    "gopher_too_many_hashes": r"(#\w+ #\w+.*)",
    "gopher_below_alpha_threshold": r"^([A-Z][\w ]+\d\.\d\d .*\n.*)",
    "lorem_ipsum": r"(Lorem ipsum.*)",
    "curly_bracket": r"(def .*\{.*)",
    "line_punct_ratio": r"\A(.*\n.*)",
    "short_line_ratio": r"\A(.*\n.*\n.*)",
    "char_dup_ratio": r"^(.{30}).*\n(?s:.*?)^\1",
}
TWICE = ("dup_line_frac", "char_dup_ratio")  # a line that comes again
PAIRS = (*TWICE, "gopher_too_many_bullets", "line_punct_ratio")  # the beginnings of two lines
LETTERS = 37
SHOWN = ("is de", "is ru", "is en")  # of the languages
X, WIDE = 236, 200  # where the list begins; the width of the funnel at the top


def cut(words: str, letters: int = LETTERS) -> str:
    """Words on one line, with a slash where a line ended, of at most so many letters."""
    words = words.strip().replace("\n", " / ")
    return words if len(words) <= letters else f"{words[: letters - 1].rpartition(' ')[0]} …"


def excerpt(doc_text: str, reason: str) -> str:
    """Some telling words of a page, or "" if it has none."""
    found = re.search(TELLING.get(reason, r"\A((?s:.*))"), doc_text, re.M)
    if not found:
        return ""
    lines = found[1].split("\n") * (2 if reason in TWICE else 1)
    return (
        " / ".join(cut(line, LETTERS // 2) for line in lines) if reason in PAIRS else cut(found[1])
    )


def pages(run: Path) -> dict[tuple[str, str], str]:
    """An excerpt by filter and reason, of the first page that has one."""
    found: dict[tuple[str, str], str] = {}
    for folder in sorted((run / "dropped").iterdir()):
        for doc in JsonlReader(str(folder))():
            reason = doc.metadata.get("filter_reason") or f"is {doc.metadata['language']}"
            found[folder.name, reason] = found.get((folder.name, reason)) or excerpt(
                doc.text, reason
            )
    return found


def reasons(stdout: str, step: str) -> Iterator[tuple[str, str]]:
    """Name and pages of each reason that stands below a step in the table."""
    lines = stdout.splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith(step))
    for line in lines[start + 1 :]:
        if not line.startswith("- "):
            return
        name, count = line.removeprefix("- ").split()
        yield name, count


def draw(run: Path, stdout: str) -> None:
    texts, facts = pages(run), {"WarcReader": row(stdout, "WarcReader")}
    steps = re.findall(r"^((?:Trafilatura|\w+Filter)(?:, \w+)?)  ", stdout, re.M)
    most = int(facts["WarcReader"][0])
    made, axes = diagram(648)
    middle, y = 16 + WIDE / 2, 44
    text(axes, middle, 18, f"{most} pages of a crawl", ha="center", fontsize=13, weight="bold")
    text(axes, X, 18, "what fell, why, and one page of each", fontsize=13, weight="bold")
    edges = [(y - 10, WIDE)]
    for step in steps:
        came, dropped, kept = row(stdout, step)
        facts[step] = [came, dropped, kept]
        name, _, folder = step.partition(", ")
        top = y
        text(axes, X, y, name, weight="bold")
        text(axes, 704, y, f"{dropped} dropped", ha="right", color=ORANGE, weight="bold")
        if name == "Trafilatura":
            rows = []
            text(axes, X + 34, y + 20, "pages without a text: galleries of pictures", color=MUTED)
            y += 20
        elif name == "LanguageFilter":
            rows = [
                (f"{folder}    {code}", row(stdout, f"{folder}    {code}")[0]) for code in SHOWN
            ]
        else:
            rows = list(reasons(stdout, step))
        for label, count in rows:
            y, reason = y + 20, label.removeprefix(f"{folder}    ")
            facts[label] = [count]
            text(axes, X + 24, y, count, ha="right", color=ORANGE)
            text(axes, X + 34, y, reason)
            quote(axes, 472, y, texts[folder, reason], fontsize=11, color=MUTED)
        if name == "LanguageFilter":
            y += 20
            text(axes, X + 34, y, "and pages in more languages", color=MUTED)
        edge = middle + WIDE / 2 * int(came) / most
        arrow(axes, (edge + 2, top), (X - 6, top), colour=ORANGE)
        y += 32
        edges.append((y - 16, WIDE * int(kept) / most))
        if step != steps[-1]:
            text(axes, middle, y - 16, kept, ha="center", fontsize=13)
    right = [(middle + wide / 2, place) for place, wide in edges]
    left = [(middle - wide / 2, place) for place, wide in edges]
    axes.fill(*zip(*right, *left[::-1], strict=True), fc=BLUE_SOFT, ec=BLUE, lw=1.2)
    text(axes, middle, y + 4, f"{kept} pages kept", ha="center", fontsize=13, weight="bold")
    begins = next(iter(JsonlReader(str(run / "kept"))())).text
    quote(axes, X + 34, y + 4, cut(begins, 72), fontsize=11, color=MUTED)
    save(
        made,
        "02_funnel",
        "What fell where, and why",
        "A funnel of pages through the steps of lesson 02. Beside each step how many pages it "
        "dropped, for which reasons, and a few words of one page for each: a German page, a "
        "Russian one, letters that are no language, lines that come twice, a list of "
        "prices, hashtags, bullets, one endless sentence, lorem ipsum, code, headlines.",
        facts,
    )
