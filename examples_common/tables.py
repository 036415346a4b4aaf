"""Results for the reader's eyes: tables on stdout, charts as PNG files."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from tabulate import tabulate


def table(title: str, headers: Sequence[str], rows: Iterable[Sequence]) -> None:
    """Print a titled table; numbers align right, integers get no separators."""
    print(f"\n{title}\n")
    print(tabulate(list(rows), headers=headers, tablefmt="simple", floatfmt=".2f"))


def save_chart(figure, path: Path) -> None:
    """Save a matplotlib figure as PNG and name the file on stdout."""
    import matplotlib.pyplot as plt

    path.parent.mkdir(parents=True, exist_ok=True)
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    plt.close(figure)
    print(f"\nchart: {path}")
