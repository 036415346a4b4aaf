"""Lesson 08: the stages, and how many documents of the sample flow between them."""

from __future__ import annotations

import re
from pathlib import Path

from matplotlib.patches import Rectangle
from style import (
    BLUE,
    BLUE_SOFT,
    GREEN,
    GREEN_SOFT,
    ORANGE,
    ORANGE_SOFT,
    PURPLE,
    PURPLE_SOFT,
    arrow,
    box,
    diagram,
    row,
    save,
    text,
)

FILTERS = ("url", "extraction", "language", "repetition", "quality", "c4", "fineweb")
PIXELS = 0.2  # of a band, for each document


def draw(run: Path, stdout: str) -> None:
    made, axes = diagram(412)
    funnel = {name: row(stdout, name) for name in (*FILTERS, "minhash")}
    tokens = re.search(r"Token files: (\d+) tokens", stdout)[1]
    small = {"fontsize": 11, "ha": "center"}

    def band(x: float, end: float, documents: str) -> None:
        height = PIXELS * int(documents)
        ground = Rectangle((x, 94 - height / 2), end - x, height, facecolor=BLUE_SOFT)
        axes.add_patch(ground)
        text(axes, (x + end) / 2, 94, f"{documents} texts", ha="center")

    band(262, 440, funnel["fineweb"][2])
    band(520, 598, funnel["minhash"][2])

    text(axes, 16, 18, "base", weight="bold", fontsize=13)
    text(axes, 262, 18, f"{funnel['url'][0]} pages in WARC files", ha="right")
    box(axes, 16, 34, 246, 210)
    text(axes, 196, 50, "kept", ha="right", fontsize=11, color=BLUE)
    text(axes, 252, 50, "dropped", ha="right", fontsize=11, color=ORANGE)
    scale = 84 / int(funnel["url"][0])
    for number, name in enumerate(FILTERS):
        y, (_, dropped, kept) = 74 + 25 * number, funnel[name]
        text(axes, 92, y, name, ha="right")
        width, lost = scale * int(kept), scale * int(dropped)
        bar = {"height": 16, "linewidth": 1}
        axes.add_patch(Rectangle((100, y - 8), width, facecolor=BLUE, edgecolor=BLUE, **bar))
        axes.add_patch(
            Rectangle((100 + width, y - 8), lost, facecolor=ORANGE_SOFT, edgecolor=ORANGE, **bar)
        )
        text(axes, 214, y, kept, ha="right", color=BLUE)
        text(axes, 252, y, dropped, ha="right", color=ORANGE)

    text(axes, 440, 18, "dedup", weight="bold", fontsize=13)
    box(axes, 440, 34, 80, 120, "one of each\ncluster\nstays", fontsize=11)
    text(axes, 351, 60, "filtered/", family="monospace", **small)
    text(axes, 598, 18, "final", weight="bold", fontsize=13)
    box(axes, 598, 34, 106, 120, "addresses\nreplaced,\ntokens counted", fontsize=11)

    purple = {"fill": PURPLE_SOFT, "edge": PURPLE}
    box(axes, 282, 172, 92, 32, "signatures", weight="bold", **purple)
    box(axes, 330, 222, 92, 32, "buckets", weight="bold", **purple)
    box(axes, 378, 272, 92, 32, "clusters", weight="bold", **purple)
    text(axes, 282, 276, "numbers flow\nhere, no texts", fontsize=11, color=PURPLE)
    for start, end in (
        ((312, 117), (312, 171)),
        ((352, 205), (352, 221)),
        ((400, 255), (400, 271)),
        ((460, 271), (460, 155)),
    ):
        arrow(axes, start, end, colour=PURPLE)

    box(axes, 598, 186, 72, 32, "stats", weight="bold")
    box(axes, 598, 250, 72, 50, fill=GREEN_SOFT, edge=GREEN)
    text(axes, 634, 266, "last", ha="center", weight="bold")
    text(axes, 634, 284, "verifies", ha="center")
    arrow(axes, (634, 155), (634, 185))
    arrow(axes, (634, 219), (634, 249))
    arrow(axes, (634, 301), (634, 331), colour=GREEN)
    arrow(axes, (688, 155), (688, 331), colour=GREEN)

    arrow(axes, (139, 245), (139, 331), colour=ORANGE, dashed=True)
    arrow(axes, (500, 155), (500, 331), colour=ORANGE, dashed=True)
    box(axes, 16, 332, 496, 68, fill=ORANGE_SOFT, edge=ORANGE, dashed=True)
    text(axes, 28, 352, "removed/", family="monospace", weight="bold")
    text(axes, 28, 376, "what each filter dropped, with the reason")
    text(axes, 500, 352, f"{funnel['minhash'][1]} near duplicates", ha="right")
    box(axes, 528, 332, 176, 68, fill=GREEN_SOFT, edge=GREEN)
    text(axes, 540, 348, "dataset/", family="monospace", weight="bold")
    text(axes, 540, 367, f"{funnel['minhash'][2]} documents, the card")
    text(axes, 540, 386, f"{tokens} tokens")
    save(
        made,
        "08_stages",
        "The stages, and what flows between them",
        "The stage base filters the pages of the WARC files and writes texts to filtered. The "
        "stages signatures, buckets and clusters find near duplicates and hand on numbers alone. "
        "The stage dedup reads the texts again and removes the duplicates. The stage final makes "
        "the data set; stats and last follow.",
        funnel | {"Parquet": [tokens]},
    )
