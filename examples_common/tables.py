"""What the tasks counted, for the reader's eyes: tables on stdout, charts as PNG files."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from datatrove.executor.base import PipelineExecutor
from datatrove.pipeline.readers.base import BaseReader
from datatrove.pipeline.writers.disk_base import DiskWriter
from tabulate import tabulate

#: Documents that an extractor loses, by the names of its statistics.
LOST = ("timeout", "broken_process", "clean_error")

#: Of the two series of a chart: hues after Okabe and Ito (2008), for colour-blind readers too.
COLOURS = "#0067a3", "#b84c00"


def counts(executor: PipelineExecutor, rank: int | None = None) -> list[Counter]:
    """What each step counted, one Counter a step, summed over all tasks or for one ``rank``.

    Read from ``stats/RANK.json``, which every task saves: what ``run()`` returns, and
    ``stats.json``, lack the tasks that an earlier run completed.
    """
    totals: list[Counter] = [Counter() for _ in executor.pipeline]
    counting = [i for i, step in enumerate(executor.pipeline) if hasattr(step, "stats")]
    for task in range(executor.world_size) if rank is None else [rank]:
        steps = json.loads(executor.logging_dir.read_text(f"stats/{task:05d}.json"))
        for index, step in zip(counting, steps, strict=True):
            for name, value in step["stats"].items():
                totals[index][name] += value["total"] if isinstance(value, dict) else value
    return totals


def table(title: str, headers: Sequence[str], rows: Iterable[Sequence], missing: str = "") -> None:
    """Print a titled table; numbers align right, integers get no separators.

    A cell that is None shows ``missing``.
    """
    print(f"\n{title}\n")
    how = {"tablefmt": "simple", "floatfmt": ".2f", "missingval": missing}
    print(tabulate(list(rows), headers=headers, **how))


def funnel(executor: PipelineExecutor, title: str = "What each step kept") -> None:
    """Print what each step of a pipeline got, dropped (and why) and kept, over all its tasks."""
    rows = []
    for step, count in zip(executor.pipeline, counts(executor), strict=True):
        name = type(step).__name__
        if writer := getattr(step, "exclusion_writer", None):
            name += f", {Path(writer.output_folder.path).name}"
        if isinstance(step, BaseReader):
            rows.append([name, None, None, count["documents"]])
        elif not isinstance(step, DiskWriter) and count["forwarded"] + count["dropped"]:
            reasons = {r.removeprefix("dropped_"): n for r, n in count.items() if "dropped_" in r}
            reasons |= {reason: count[reason] for reason in LOST if count[reason]}
            dropped = count["dropped"] + sum(count[reason] for reason in LOST)
            rows.append([name, count["total"], dropped, count["forwarded"]])
            rows += [[f"- {r}", None, n] for r, n in sorted(reasons.items(), key=lambda r: -r[1])]
    table(title, ["step", "documents in", "dropped", "kept"], rows)


def chart(path: str, panels: Mapping[str, Mapping], kind: str = "bar") -> None:
    """Save a chart as PNG and name the file on stdout.

    Args:
        panels: for each panel its title and what to draw: for ``bar`` a value by label, else for
            each of at most two series y by x.
        kind: ``bar``, the longest at the top; ``line``, a line and points on it; ``step``,
            histograms, x being the left edge of a bin (the last one ends it, with 0).
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5 * len(panels) + 1, 4.2), layout="constrained")
    grid = figure.subplots(1, len(panels), squeeze=False).flat
    for axes, (title, series) in zip(grid, panels.items(), strict=True):
        axes.set_title(title, loc="left", weight="bold")
        axes.spines[["top", "right"]].set_visible(False)
        if kind == "bar":
            labels = sorted(series, key=series.__getitem__)
            bars = axes.barh(labels, [series[label] for label in labels], color=COLOURS[0])
            axes.bar_label(bars, fmt="%.2f", padding=3)
            continue
        for i, (label, points) in enumerate(series.items()):
            x, y, colour = list(points), list(points.values()), COLOURS[i]
            if kind == "step":  # a light ground and a hatch: both are seen where they overlap
                look = {"fc": ["#d3e7f6", "none"][i], "hatch": ["", "////"][i], "fill": True}
                axes.stairs(y[:-1], x, label=label, ec=colour, lw=1, **look)
                axes.set(yscale="log", ylabel="documents, on a log scale")
                axes.yaxis.set_major_formatter("{x:.0f}")
            else:
                axes.plot(x, y, ["-", "o"][i], color=colour, label=label)
        axes.legend(frameon=False)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    print(f"\nchart: {path}")
