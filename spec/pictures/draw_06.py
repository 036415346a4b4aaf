"""Lesson 06: from the script by way of the queue to the nodes, and what lies on the shared disk."""

from __future__ import annotations

import re
from pathlib import Path

from style import (
    BLUE,
    BLUE_SOFT,
    GREEN,
    GREEN_SOFT,
    MUTED,
    PAPER,
    PURPLE,
    PURPLE_SOFT,
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


def draw(run: Path, stdout: str) -> None:
    made, axes = diagram(446)
    small = {"fontsize": 11, "color": MUTED}

    text(axes, 16, 18, "Login node", weight="bold", fontsize=13)
    box(axes, 16, 38, 134, 78, fill=YELLOW_SOFT, edge=YELLOW)
    text(axes, 83, 60, "your script", ha="center", weight="bold")
    text(axes, 83, 82, "executor.run()", ha="center", family="monospace")
    text(axes, 83, 101, "comes back at once", ha="center", fontsize=11)

    text(axes, 228, 18, "Slurm's queue", weight="bold", fontsize=13)
    box(axes, 228, 38, 144, 188)
    text(axes, 240, 55, "an array of jobs", **small)
    for task in range(4):
        y = 68 + 38 * task
        words = f"element {task}" + (" waits" if task == 3 else "")
        box(axes, 240, y, 120, 30, words, fill=BLUE_SOFT, edge=BLUE, dashed=task == 3)
    arrow(axes, (151, 77), (227, 77), colour=YELLOW)
    text(axes, 189, 66, "sbatch", ha="center", family="monospace", fontsize=11)

    text(axes, 440, 18, "Nodes", weight="bold", fontsize=13)
    facts = {}
    for place, tasks in enumerate(NODES):
        top = 38 + 64 * place
        box(axes, 440, top, 264, 56)
        for turn, task in enumerate(tasks):
            x = 450 + 126 * turn
            read, kept = row(stdout, f"task {task}")[-2:]
            box(axes, x, top + 7, 118, 42, fill=BLUE_SOFT, edge=BLUE)
            text(axes, x + 59, top + 20, f"task {task}", ha="center", weight="bold")
            text(axes, x + 59, top + 37, f"{read} read, {kept} kept", ha="center", fontsize=11)
            end = (449, top + 28) if turn == 0 else (439, top + 44)
            arrow(axes, (361, 83 + 38 * task), end, colour=BLUE, dashed=turn == 1)
            name = re.search(rf"^task {task}  c4-(\d+)", stdout, re.M)[1]
            facts[f"task {task}"] = [name, read, kept]
    text(axes, 704, 19, "one with room takes an element", ha="right", **small)

    box(axes, 16, 272, 688, 88, fill=PAPER)
    mono = {"family": "monospace", "fontsize": 11}
    box(axes, 28, 284, 110, 40, "executor.pik", fill=YELLOW_SOFT, edge=YELLOW, **mono)
    for task in range(4):
        name = facts[f"task {task}"][0]
        box(axes, 228 + 52 * task, 284, 46, 40, name, fill=GREEN_SOFT, edge=GREEN, **mono)
    box(axes, 440, 284, 110, 40, "kept/, dropped/", fill=BLUE_SOFT, edge=BLUE, **mono)
    box(axes, 556, 284, 52, 40, "stats/", fill=PURPLE_SOFT, edge=PURPLE, **mono)
    box(axes, 614, 284, 84, 40, "stats.json", fill=PURPLE_SOFT, edge=PURPLE, **mono)
    text(axes, 28, 343, "Disk that all nodes share", weight="bold", fontsize=13)
    text(axes, 329, 343, "a completion for each task", ha="center", fontsize=11)
    text(axes, 495, 343, "documents", ha="center", fontsize=11)
    text(axes, 620, 343, "statistics", ha="center", fontsize=11)
    arrow(axes, (83, 117), (83, 283), colour=YELLOW)
    arrow(axes, (139, 290), (227, 215), colour=YELLOW)
    arrow(axes, (456, 223), (407, 283), colour=GREEN)
    arrow(axes, (495, 223), (495, 283), colour=BLUE)
    arrow(axes, (582, 223), (582, 283), colour=PURPLE)
    box(axes, 440, 388, 264, 46, fill=PURPLE_SOFT, edge=PURPLE)
    text(axes, 572, 403, "a last job merges the statistics,", ha="center")
    text(axes, 572, 420, "once every task has ended well", ha="center")
    arrow(axes, (582, 325), (582, 387), colour=PURPLE)
    arrow(axes, (656, 387), (656, 325), colour=PURPLE)
    save(
        made,
        "06_array",
        "From the script to the completions",
        "The script on the login node writes executor.pik to the shared disk and submits an array "
        "with one element for each task. Nodes with room take the elements; one waits until a node "
        "is free. Each task writes its documents and, at its end, a completion. When all have "
        "ended well, a last job merges the statistics.",
        facts,
    )
