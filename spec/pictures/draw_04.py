"""Lesson 04: histograms of two figures before and after the filters, from the merged statistics."""

from __future__ import annotations

import json
from pathlib import Path

from matplotlib.axes import Axes
from style import BLUE, BLUE_SOFT, CHART, GRID, INK, MUTED, ORANGE, figure, row, save

TITLES = {
    "stop_word_ratio": "How much of a text is stop words",
    "fasttext_en": "How likely a text is English",
}


def histogram(run: Path, side: str, name: str) -> dict[float, int]:
    """Documents by left edge of a bin, of 0.01 each; a bare number in the file is a sum of ones."""
    path = run / "merged" / side / "histogram" / name / "metric.json"
    bins = json.loads(path.read_text(encoding="utf-8"))
    return {float(x): int(n["total"] if isinstance(n, dict) else n) for x, n in bins.items()}


def draw_bins(axes: Axes, run: Path, name: str) -> None:
    before, after = (histogram(run, side, name) for side in ("before", "after"))
    last = round(100 * max(before))
    edges = [x / 100 for x in range(last + 2)]
    for bins, label, look in (
        (before, "before the filters", {"fc": BLUE_SOFT, "ec": BLUE, "lw": 1.2}),
        (after, "after", {"fc": "none", "ec": ORANGE, "lw": 1.2, "hatch": "////"}),
    ):
        values = [bins.get(x, 0) for x in edges[:-1]]
        axes.stairs(values, edges, fill=True, label=label, **look)
    axes.set(yscale="log", ylim=(0.7, 2000), xlabel=name)
    axes.yaxis.set_major_formatter("{x:.0f}")
    axes.minorticks_off()
    axes.grid(axis="y", color=GRID)
    axes.set_title(TITLES[name])


def name_hill(axes: Axes, words: str, x: float, y: float, at: tuple[float, float]) -> None:
    how = {"arrowstyle": "-", "color": MUTED, "shrinkA": 1, "shrinkB": 2}
    axes.annotate(words, at, (x, y), color=INK, arrowprops=how, ha="center", va="bottom")


def draw(run: Path, stdout: str) -> None:
    made = figure(640)
    words, english = made.subplots(2)
    draw_bins(words, run, "stop_word_ratio")
    draw_bins(english, run, "fasttext_en")
    made.supylabel("documents, on a log scale", fontsize=CHART)
    words.set_xlim(-0.006, 0.29)
    words.legend(loc="upper right", borderaxespad=0, handlelength=1.6)
    name_hill(words, "other languages", 0.026, 150, (0.008, 42))
    name_hill(words, "price lists", 0.051, 36, (0.051, 12))
    name_hill(words, "adverts", 0.085, 130, (0.092, 50))
    name_hill(words, "texts of two or\nthree sentences", 0.25, 16, (0.246, 3.3))
    mean = row(stdout, "fasttext_en")[0]
    english.axvline(float(mean), ymax=0.8, color=INK, lw=1.2, ls=(0, (4, 3)))
    english.annotate(
        f"the mean before, {mean}:\nhardly a document is there",
        (float(mean), 260),
        (0.9, 260),
        ha="right",
    )
    name_hill(english, "price lists", 0.76, 16, (0.81, 4.4))
    name_hill(english, "other languages", 0.12, 100, (0.015, 42))
    save(
        made,
        "04_histograms",
        "Two figures before and after the filters",
        "Two histograms. Before the filters the ratio of stop words has small hills left of the "
        "large one (other languages at zero, price lists, adverts) and a low one right of it: "
        "texts of two or three sentences. After the filters the large hill alone is left, nearly "
        "as high. The score for English has a hill near one, a low one of price lists left of it, "
        "and one at zero: the filters leave the first alone. The mean before the filters lies "
        "where hardly a document is.",
        {"fasttext_en": [mean]},
    )
