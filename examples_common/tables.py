"""Results for the reader's eyes: tables on stdout, charts as PNG files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from tabulate import tabulate


def table(title: str, headers: Sequence[str], rows: Iterable[Sequence], missing: str = "") -> None:
    """Print a titled table; numbers align right, integers get no separators.

    A cell that is None shows ``missing``.
    """
    print(f"\n{title}\n")
    print(
        tabulate(list(rows), headers=headers, tablefmt="simple", floatfmt=".2f", missingval=missing)
    )


def save_chart(figure, path: Path) -> None:
    """Save a matplotlib figure as PNG and name the file on stdout."""
    import matplotlib.pyplot as plt

    path.parent.mkdir(parents=True, exist_ok=True)
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    plt.close(figure)
    print(f"\nchart: {path}")


def bar_chart(
    path: Path, ylabel: str, series: Sequence[str], groups: Mapping[str, Sequence[float]]
) -> None:
    """Save a chart of groups of bars, each with one bar a series, and name the file on stdout."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4))
    axes = figure.subplots()
    width = 0.8 / len(series)
    for i, name in enumerate(series):
        heights = [group[i] for group in groups.values()]
        axes.bar([x + i * width for x in range(len(groups))], heights, width, label=name)
    slant = {"rotation": 30, "ha": "right"} if sum(map(len, groups)) > 90 else {}
    axes.set_xticks([x + 0.4 - width / 2 for x in range(len(groups))], list(groups), **slant)
    axes.set_ylabel(ylabel)
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=len(series), frameon=False)
    save_chart(figure, path)
