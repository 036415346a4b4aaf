"""Lesson 02: the funnel. What each filter dropped and why, with some words of one such page."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from datatrove.pipeline.readers import JsonlReader
from style import (
    BLUE,
    BLUE_SOFT,
    HEAD,
    MUTED,
    ORANGE,
    SMALL,
    arrow,
    diagram,
    quote,
    row,
    save,
    text,
)

#: What to quote for a reason: the place that made the page fall, else how it begins.
TELLING = {
    "top_2_gram": r", ((\w+ \w+ \w+) and more, \2.*)",
    "gopher_too_many_bullets": r"^(- .*\n- .*)",
    "gopher_too_many_hashes": r"(#\w+ #\w+.*)",
    "gopher_below_alpha_threshold": r"^([A-Z][\w ]+\d\.\d\d .*\n.*)",
    "lorem_ipsum": r"(Lorem ipsum.*)",
    "curly_bracket": r"(def .*\{.*)",
    "line_punct_ratio": r"\A(.*\n.*)",
    "short_line_ratio": r"\A(.*\n.*\n.*)",
}
TWICE = ("dup_line_frac", "char_dup_ratio")  # a line that comes again
PAIRS = ("gopher_too_many_bullets", "line_punct_ratio")  # the beginnings of two lines
LETTERS = 31
SHOWN = ("pl", "de", "ru")  # of the languages the largest, and two of the next
X, WIDE, STEP = 196, 152, 22  # where the list begins, the funnel's top, from row to row


def cut(words: str, letters: int = LETTERS) -> str:
    """Words on one line, with a slash where a line ended, of at most so many letters."""
    words = words.strip().replace("\n", " / ")
    return words if len(words) <= letters else f"{words[: letters - 1].rpartition(' ')[0]} …"


def excerpt(doc_text: str, reason: str) -> str:
    """Some telling words of a page, or "" if it has none."""
    if reason in TWICE:
        lines = Counter(doc_text.split("\n"))
        line, times = lines.most_common(1)[0]
        return f"{cut(doc_text, 15)} / {times} × {cut(line, 13)}"
    found = re.search(TELLING.get(reason, r"\A((?s:.*))"), doc_text, re.M)
    if not found:
        return ""
    lines = found[1].split("\n")
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


def fell_as(stdout: str, folder: str) -> dict[str, str]:
    """Language and pages of each that a step dropped, the largest first."""
    found = re.findall(rf"^{folder} +is (\w+) +(\d+) ", stdout, re.M)
    return dict(sorted(found, key=lambda language: -int(language[1])))


def draw(run: Path, stdout: str) -> None:
    texts, facts = pages(run), {"WarcReader": row(stdout, "WarcReader")}
    steps = re.findall(r"^((?:Trafilatura|\w+Filter)(?:, \w+)?)  ", stdout, re.M)
    most = int(facts["WarcReader"][0])
    made, axes = diagram(674)
    middle, y = 16 + WIDE / 2, 48
    text(axes, 16, 20, f"{most} pages of a crawl", fontsize=HEAD, weight="bold")
    text(axes, X + 40, 20, "what fell, why, and one page of each", fontsize=HEAD, weight="bold")
    edges = [(y - 10, WIDE)]
    for step in steps:
        came, dropped, kept = row(stdout, step)
        facts[step] = [came, dropped, kept]
        name, _, folder = step.partition(", ")
        top, rows, others = y, {}, ""
        text(axes, X, y, name, weight="bold")
        text(axes, 704, y, f"{dropped} dropped", ha="right", color=ORANGE, weight="bold")
        if name == "Trafilatura":
            others = "pages without a text: galleries of pictures"
        elif name == "LanguageFilter":
            languages = fell_as(stdout, folder)
            facts |= {f"{folder}    is {code}": [count] for code, count in languages.items()}
            rows = {f"is {code}": languages.pop(code) for code in SHOWN}
            others = ", ".join(f"{count} {code}" for code, count in languages.items())
        else:
            rows = dict(reasons(stdout, step))
            facts |= {reason: [count] for reason, count in rows.items()}
        for reason, count in rows.items():
            y += STEP
            text(axes, X + 22, y, count, ha="right", color=ORANGE)
            text(axes, X + 30, y, reason)
            quote(axes, 466, y, texts[folder, reason], fontsize=SMALL, color=MUTED)
        if others:
            y += STEP
            text(axes, X + 30, y, others, color=MUTED)
        edge = middle + WIDE / 2 * int(came) / most
        arrow(axes, (edge + 2, top), (X - 6, top), colour=ORANGE)
        y += 34
        edges.append((y - 17, WIDE * int(kept) / most))
        if step != steps[-1]:
            text(axes, middle, y - 17, kept, ha="center", fontsize=HEAD)
    right = [(middle + wide / 2, place) for place, wide in edges]
    left = [(middle - wide / 2, place) for place, wide in edges]
    axes.fill(*zip(*right, *left[::-1], strict=True), fc=BLUE_SOFT, ec=BLUE, lw=1.2)
    text(axes, middle, y + 6, f"{kept} pages kept", ha="center", fontsize=HEAD, weight="bold")
    begins = next(iter(JsonlReader(str(run / "kept"))())).text
    quote(axes, X + 30, y + 6, cut(begins, 60), fontsize=SMALL, color=MUTED)
    save(
        made,
        "02_funnel",
        "What fell where, and why",
        "A funnel of pages through the steps of lesson 02. Beside each step how many pages it "
        "dropped, for which reasons, and a few words of one page for each: a Polish page, a German "
        "one, a Russian one, a line that comes six times, a list of prices, hashtags, bullets, one "
        "endless sentence, lorem ipsum, code, headlines.",
        facts,
    )
