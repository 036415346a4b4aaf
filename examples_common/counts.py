"""What the tasks of a plain DataTrove run counted, from the statistics that they left."""

from __future__ import annotations

import json
from collections import Counter

from datatrove.executor.base import PipelineExecutor


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
