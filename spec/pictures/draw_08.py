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
    HEAD,
    ORANGE,
    ORANGE_SOFT,
    PURPLE,
    PURPLE_SOFT,
    SMALL,
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
    made, axes = diagram(464)
    funnel = {name: row(stdout, name) for name in (*FILTERS, "minhash")}
    tokens = re.search(r"Token files: (\d+) tokens", stdout)[1]
    head = {"fontsize": HEAD, "weight": "bold"}

    def band(x: float, end: float, documents: str) -> None:
        height = PIXELS * int(documents)
        ground = Rectangle((x, 94 - height / 2), end - x, height, facecolor=BLUE_SOFT)
        axes.add_patch(ground)
        text(axes, (x + end) / 2, 94, f"{documents} texts", ha="center")

    band(286, 436, funnel["fineweb"][2])
    band(530, 614, funnel["minhash"][2])

    text(axes, 16, 20, "base", **head)
    text(axes, 286, 20, f"{funnel['url'][0]} pages in WARC files", ha="right")
    box(axes, 16, 36, 270, 222)
    text(axes, 216, 54, "kept", ha="right", fontsize=SMALL, color=BLUE)
    text(axes, 276, 54, "dropped", ha="right", fontsize=SMALL, color=ORANGE)
    scale = 70 / int(funnel["url"][0])
    for number, name in enumerate(FILTERS):
        y, (_, dropped, kept) = 79 + 27 * number, funnel[name]
        text(axes, 104, y, name, ha="right")
        width, lost = scale * int(kept), scale * int(dropped)
        bar = {"height": 18, "linewidth": 1}
        axes.add_patch(Rectangle((112, y - 9), width, facecolor=BLUE, edgecolor=BLUE, **bar))
        axes.add_patch(
            Rectangle((112 + width, y - 9), lost, facecolor=ORANGE_SOFT, edgecolor=ORANGE, **bar)
        )
        text(axes, 216, y, kept, ha="right", color=BLUE)
        text(axes, 276, y, dropped, ha="right", color=ORANGE)

    text(axes, 436, 20, "dedup", **head)
    box(axes, 436, 36, 94, 120, "one of each\ncluster\nstays", fontsize=SMALL)
    text(axes, 361, 62, "filtered/", family="monospace", ha="center", fontsize=SMALL)
    text(axes, 614, 20, "final", **head)
    box(axes, 614, 36, 90, 120, "addresses\nreplaced,\ntokens\ncounted", fontsize=SMALL)

    purple = {"fill": PURPLE_SOFT, "edge": PURPLE}
    box(axes, 304, 176, 108, 34, "signatures", weight="bold", **purple)
    box(axes, 344, 228, 108, 34, "buckets", weight="bold", **purple)
    box(axes, 384, 280, 108, 34, "clusters", weight="bold", **purple)
    text(axes, 262, 295, "numbers flow\nhere, no texts", fontsize=SMALL, color=PURPLE)
    for start, end in (
        ((330, 119), (330, 175)),
        ((378, 211), (378, 227)),
        ((418, 263), (418, 279)),
        ((472, 279), (472, 157)),
    ):
        arrow(axes, start, end, colour=PURPLE)

    box(axes, 598, 192, 80, 34, "stats", weight="bold")
    box(axes, 598, 258, 80, 52, fill=GREEN_SOFT, edge=GREEN)
    text(axes, 638, 274, "last", ha="center", weight="bold")
    text(axes, 638, 294, "verifies", ha="center")
    arrow(axes, (638, 157), (638, 191))
    arrow(axes, (638, 227), (638, 257))
    arrow(axes, (638, 311), (638, 347), colour=GREEN)
    arrow(axes, (692, 157), (692, 347), colour=GREEN)

    arrow(axes, (151, 259), (151, 347), colour=ORANGE, dashed=True)
    arrow(axes, (512, 157), (512, 347), colour=ORANGE, dashed=True)
    box(axes, 16, 348, 520, 104, fill=ORANGE_SOFT, edge=ORANGE, dashed=True)
    text(axes, 28, 384, "removed/", family="monospace", weight="bold")
    text(axes, 28, 414, "what each filter dropped, with the reason")
    text(axes, 524, 384, f"{funnel['minhash'][1]} near duplicates", ha="right")
    box(axes, 552, 348, 152, 104, fill=GREEN_SOFT, edge=GREEN)
    text(axes, 564, 370, "dataset/", family="monospace", weight="bold")
    words = f"{funnel['minhash'][2]} documents\n{tokens} tokens\nthe card"
    text(axes, 564, 414, words)
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
