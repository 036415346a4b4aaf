"""Lesson 06: from the script by way of the queue to the nodes, and what lies on the shared disk."""

from __future__ import annotations

import re
from pathlib import Path

from matplotlib.axes import Axes
from style import (
    BLUE,
    BLUE_SOFT,
    GREEN,
    GREEN_SOFT,
    GROUND,
    HEAD,
    MUTED,
    PAPER,
    PURPLE,
    PURPLE_SOFT,
    SMALL,
    YELLOW,
    YELLOW_SOFT,
    arrow,
    box,
    diagram,
    row,
    save,
    text,
)

#: For each of three nodes the elements that it runs, one after the other.
NODES = ((0,), (1,), (2, 3))


def elbow(axes: Axes, *points: tuple[float, float], colour: str) -> None:
    """An arrow with corners."""
    axes.plot(*zip(*points[:-1], strict=True), color=colour, lw=1.4, solid_joinstyle="miter")
    arrow(axes, points[-2], points[-1], colour=colour)


def draw(run: Path, stdout: str) -> None:
    made, axes = diagram(566)
    small = {"fontsize": SMALL, "color": MUTED}
    head = {"fontsize": HEAD, "weight": "bold"}

    text(axes, 16, 20, "Login node", **head)
    box(axes, 16, 40, 152, 84, fill=YELLOW_SOFT, edge=YELLOW)
    text(axes, 92, 60, "your script", ha="center", weight="bold")
    text(axes, 92, 83, "executor.run()", ha="center", family="monospace")
    text(axes, 92, 105, "comes back at once", ha="center", fontsize=SMALL)

    text(axes, 240, 20, "Slurm's queue", **head)
    box(axes, 240, 40, 142, 238)
    text(axes, 252, 58, "an array of jobs", **small)
    for task in range(4):
        words, waits = f"element {task}", task == NODES[-1][-1]
        place = (252, 74 + 48 * task, 118, 48 if waits else 38)
        box(axes, *place, "" if waits else words, fill=BLUE_SOFT, edge=BLUE, dashed=waits)
        if waits:
            text(axes, 311, place[1] + 15, words, ha="center")
            text(axes, 311, place[1] + 33, "waits first", ha="center", fontsize=SMALL)
    arrow(axes, (169, 82), (239, 82), colour=YELLOW)
    text(axes, 204, 70, "sbatch", ha="center", family="monospace", fontsize=SMALL)

    text(axes, 446, 20, "Nodes", **head)
    box(axes, 446, 40, 258, 294, fill=GROUND)
    facts = {}
    for place, tasks in enumerate(NODES):
        top = 48 + 84 * place
        box(axes, 454, top, 242, 78)
        for turn, task in enumerate(tasks):
            x = 462 + 120 * turn
            read, kept = row(stdout, f"task {task}")[-2:]
            box(axes, x, top + 7, 106, 64, fill=BLUE_SOFT, edge=BLUE)
            text(axes, x + 53, top + 20, f"task {task}", ha="center", weight="bold")
            text(axes, x + 53, top + 48, f"{read} read,\n{kept} kept", ha="center", fontsize=SMALL)
            end = (461, top + 39) if turn == 0 else (453, top + 66)
            arrow(axes, (371, 93 + 48 * task), end, colour=BLUE, dashed=turn == 1)
            name = re.search(rf"^task {task}  c4-(\d+)", stdout, re.M)[1]
            facts[f"task {task}"] = [name, read, kept]
        if len(tasks) > 1:
            arrow(axes, (568, top + 39), (581, top + 39), colour=BLUE)
        elif place == 0:
            text(axes, 582, top + 39, "a node with\nroom takes\nan element", **small)
    text(axes, 462, 318, "time", **small)
    arrow(axes, (500, 318), (690, 318))

    box(axes, 16, 370, 688, 108, fill=PAPER)
    mono = {"family": "monospace", "fontsize": SMALL}
    box(axes, 28, 386, 112, 40, "executor.pik", fill=YELLOW_SOFT, edge=YELLOW, **mono)
    for task in range(4):
        name = facts[f"task {task}"][0]
        box(axes, 176 + 52 * task, 386, 48, 40, name, fill=GREEN_SOFT, edge=GREEN, **mono)
    box(axes, 396, 386, 128, 40, "kept/, dropped/", fill=BLUE_SOFT, edge=BLUE, **mono)
    box(axes, 534, 386, 58, 40, "stats/", fill=PURPLE_SOFT, edge=PURPLE, **mono)
    box(axes, 602, 386, 92, 40, "stats.json", fill=PURPLE_SOFT, edge=PURPLE, **mono)
    text(axes, 28, 461, "Disk that all nodes share", **head)
    text(axes, 278, 440, "a completion for each task", ha="center", fontsize=SMALL)
    text(axes, 460, 440, "documents", ha="center", fontsize=SMALL)
    text(axes, 612, 440, "statistics", ha="center", fontsize=SMALL)
    arrow(axes, (56, 125), (56, 385), colour=YELLOW)
    elbow(axes, (112, 386), (112, 306), (445, 306), colour=YELLOW)
    text(axes, 278, 294, "each node gets the executor", ha="center", fontsize=SMALL)
    elbow(axes, (470, 335), (470, 352), (278, 352), (278, 385), colour=GREEN)
    arrow(axes, (500, 335), (500, 385), colour=BLUE)
    arrow(axes, (563, 335), (563, 385), colour=PURPLE)
    box(axes, 404, 504, 300, 50, fill=PURPLE_SOFT, edge=PURPLE)
    words = "a last job merges the statistics,\nonce every task has ended well"
    text(axes, 554, 529, words, ha="center")
    arrow(axes, (556, 427), (556, 503), colour=PURPLE)
    arrow(axes, (672, 503), (672, 427), colour=PURPLE)
    save(
        made,
        "06_array",
        "From the script to the completions",
        "The script on the login node writes executor.pik to the shared disk and submits an array "
        "with one element for each task. Nodes with room take the elements and get the executor "
        "from executor.pik. One element waits first, and runs once a node is free. The nodes write "
        "documents, statistics, and at the end of each task a completion. When all tasks have "
        "ended well, a last job merges the statistics.",
        facts,
    )
