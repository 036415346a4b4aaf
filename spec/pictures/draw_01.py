"""Lesson 01: which files each task reads, and when which worker is at it."""

from __future__ import annotations

import re
from pathlib import Path

from style import (
    BLUE,
    BLUE_SOFT,
    GREEN,
    GREEN_SOFT,
    HEAD,
    MUTED,
    ORANGE,
    ORANGE_SOFT,
    PAPER,
    PURPLE,
    PURPLE_SOFT,
    arrow,
    box,
    diagram,
    row,
    save,
    text,
)

TASKS = ((BLUE_SOFT, BLUE), (ORANGE_SOFT, ORANGE), (GREEN_SOFT, GREEN), (PURPLE_SOFT, PURPLE))
LANES = ("first worker", "second worker")


def draw(run: Path, stdout: str) -> None:
    table = stdout[stdout.index("What each task did") :]
    files = [re.findall(rf"^ +{task}  .*", table, re.M)[0].split()[1:3] for task in range(4)]
    names = [[name.removesuffix(".jsonl.gz") for name in pair] for pair in files]
    made, axes = diagram(388)
    head = {"fontsize": HEAD, "weight": "bold"}

    text(axes, 16, 18, "The folder: eight files, dealt out to four tasks", **head)
    for number in range(8):
        task, x = number % 4, 16 + number * 87
        fill, edge = TASKS[task]
        box(axes, x, 36, 79, 46, fill=fill, edge=edge)
        text(axes, x + 39.5, 51, names[task][number // 4], ha="center", family="monospace")
        text(axes, x + 39.5, 68, f"task {task}", ha="center", color=edge, weight="bold")

    text(axes, 16, 122, "The run: two workers; one that is free takes the next task", **head)
    facts = {}
    for lane, worker in enumerate(LANES):
        top = 142 + lane * 112
        box(axes, 16, top, 688, 98, fill=PAPER)
        text(axes, 66, top + 49, worker.replace(" ", "\n"), ha="center")
        for turn in range(2):
            task, x = lane + 2 * turn, 116 + turn * 292
            fill, edge = TASKS[task]
            read, kept = row(stdout, str(task), below="What each task did")[-2:]
            box(axes, x, top + 10, 280, 78, fill=fill, edge=edge)
            text(axes, x + 12, top + 26, f"task {task}", color=edge, weight="bold")
            for place, name in enumerate(names[task]):
                box(
                    axes, x + 12 + 92 * place, top + 42, 76, 34, name, edge=edge, family="monospace"
                )
            arrow(axes, (x + 90, top + 59), (x + 102, top + 59), colour=edge)
            text(axes, x + 268, top + 50, f"{read} read", ha="right")
            text(axes, x + 268, top + 68, f"{kept} kept", ha="right")
            numbers = [re.search(r"\d{5}", name)[0] for name in names[task]]
            facts[str(task)] = [*numbers, read, kept]
    arrow(axes, (116, 376), (690, 376))
    text(axes, 108, 376, "time", ha="right", color=MUTED)
    save(
        made,
        "01_tasks",
        "Files, tasks and workers",
        "Eight files are dealt out to four tasks: task 0 reads the files 0 and 4, task 1 the files "
        "1 and 5, and so on. Two workers run the tasks, two at a time: a worker that is free takes "
        "the next task.",
        facts,
    )
