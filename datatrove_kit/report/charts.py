"""Small charts as SVG inside the page: text stays text, colours are the page's CSS variables."""

from __future__ import annotations

import io
import re
import warnings
from xml.etree import ElementTree

from markupsafe import Markup
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from datatrove_kit.report.escape import named
from datatrove_kit.report.model import Distribution, Stage

SVG = "{http://www.w3.org/2000/svg}"
#: What is drawn in one of these colours takes its CSS variable in the page.
INK, LINE, KEPT, DROPPED = "#010101", "#020202", "#030303", "#040404"
VARIABLES = {INK: "muted", LINE: "line", KEPT: "kept", DROPPED: "dropped"}
STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "report",  # the same page from the same run
    "text.parse_math": False,
    "font.size": 11,
    "text.color": INK,
    "hatch.linewidth": 1.2,
    "axes.edgecolor": LINE,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": LINE,
    "xtick.color": INK,
    "ytick.color": INK,
    "ytick.major.size": 0,
}
WIDTH = 300  # CSS pixels, about what a page of 360 has room for
BARS = 8  # in one chart
LABEL = 22  # characters
BIN = 10**0.2  # from edge to edge where there is one bin alone, as sampling.py has them


def _svg(figure: Figure, name: str, title: str, description: str) -> Markup:
    """The figure for the page: no style sheet, ids of its own, told in words too."""
    stream = io.BytesIO()
    with warnings.catch_warnings():  # of glyphs that its own font lacks; the browser has them
        warnings.simplefilter("ignore", UserWarning)
        figure.savefig(stream, format="svg", transparent=True, metadata={"Date": None})
    text = stream.getvalue().decode()
    for colour, variable in VARIABLES.items():
        text = text.replace(colour, f"var(--{variable})")
    text = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", text)
    root = ElementTree.fromstring(text)
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag == f"{SVG}style" or child.tag.endswith("metadata"):
                parent.remove(child)
        # As attributes, for the page's policy refuses style attributes.
        rules = parent.attrib.pop("style", "")
        for key, value in re.findall(r"([\w-]+): *([^;]+)", rules):
            if key == "font":  # size and families; the families are the page's
                key, value = "font-size", value.split()[0]
            parent.set(key, value)
    for tag, content in (("desc", description), ("title", title)):
        root.insert(0, ElementTree.Element(SVG + tag, id=f"{name}-{tag}"))
        root[0].text = named(content)
    root.attrib = {
        "viewBox": root.attrib["viewBox"],
        "role": "img",
        "aria-labelledby": f"{name}-title {name}-desc",
    }
    ElementTree.register_namespace("", SVG[1:-1])
    return Markup(ElementTree.tostring(root, encoding="unicode"))


def _axes(height: int) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(WIDTH / 72, height / 72), layout="constrained")
    return figure, figure.add_subplot()


def _compact(number: float) -> str:
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.{0 if number >= 10 * size else 1}f}{unit}".replace(".0", "")
    return f"{number:.3g}"


def _percent(share: float) -> str:
    return f"{share:.0f}%" if share >= 10 or not share else f"{share:.1f}%"


def _label(text: str) -> str:
    text = named(text)
    return text if len(text) <= LABEL else text[: LABEL - 1] + "…"


def _words(values: dict[str, float], unit: str) -> str:
    return ", ".join(f"{key}: {value:.4g}{unit}" for key, value in values.items())


def _as_bars(axes: Axes, rows: list[float], names: list[str], widest: float) -> None:
    """A name to each row, the first on top; the numbers stand at the bars, not at an axis."""
    axes.set_yticks(rows, [_label(name) for name in names])
    axes.invert_yaxis()
    axes.spines["bottom"].set_visible(False)
    axes.set_xticks([])
    axes.set_xlim(0, 1.25 * widest or 1)


def _as_curve(axes: Axes, right: int, unit: str) -> None:
    axes.set_xlim(0, right)
    axes.set_ylim(0)
    axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{_compact(value)}{unit}"))
    axes.grid(axis="y")


def _edges(left: list[float], every: int) -> list[float]:
    """The edges of a histogram's bins from the left ones, equal steps of a log scale; so many more
    at the right that a tick at ``every`` edge stands at both ends."""
    step = (left[-1] / left[0]) ** (1 / (len(left) - 1)) if len(left) > 1 else BIN
    return [*left, *(left[-1] * step**k for k in range(1, -len(left) % every + 2))]


def step_times(stages: list[Stage], name: str) -> Markup:
    """Seconds of the slowest steps, summed over all tasks."""
    steps = [(step, stage) for stage in stages for step in stage.steps if step.seconds]
    found = [(step.seconds, step.name, stage.name) for step, stage in steps]
    found = sorted(found, reverse=True)[:BARS]
    seconds, names = [each[0] for each in found], [each[1] for each in found]
    several = len(stages) > 1
    with style.context(["default", STYLE]):
        figure, axes = _axes(44 + (38 if several else 24) * len(found))
        bars = axes.barh(range(len(found)), seconds, height=0.62, color=KEPT)
        axes.bar_label(bars, map(_compact, seconds), padding=4)
        _as_bars(axes, range(len(found)), names, max(seconds, default=0))
        if several:
            for tick in axes.get_yticklabels():
                tick.set_verticalalignment("bottom")
            place = {
                "xytext": (-3.5, -1),
                "textcoords": "offset points",
                "ha": "right",
                "va": "top",
            }
            for row, (*_, stage) in enumerate(found):
                axes.annotate(_label(stage[::-1])[::-1], (0, row), **place)
        numbers = {f"{step} of {stage}": seconds for seconds, step, stage in found}
        return _svg(figure, name, "Seconds by step, all tasks together", _words(numbers, " s"))


def spread(distribution: Distribution, name: str) -> Markup:
    """Kept beside dropped documents, each as a share of its own."""
    sides = {"kept": distribution.kept, "dropped": distribution.dropped}
    sides = {side: counts for side, counts in sides.items() if any(counts.values())} or sides
    keys = list({**distribution.kept, **distribution.dropped})
    shares = {
        side: {key: 100 * counts.get(key, 0) / max(1, sum(counts.values())) for key in keys}
        for side, counts in sides.items()
    }
    looks = {
        "kept": {"facecolor": KEPT, "edgecolor": KEPT},
        "dropped": {"facecolor": "none", "edgecolor": DROPPED, "hatch": "////"},
    }
    with style.context(["default", STYLE]):
        if distribution.kind == "histogram":
            figure, axes = _axes(190)
            for side, look in ((side, looks[side]) for side in sides):
                fill = {"alpha": 0.55} if side == "kept" else {"linewidth": 1.4}
                axes.stairs(list(shares[side].values()), fill=True, label=side, **look, **fill)
            every = max(1, len(keys) // 6)
            edges = _edges([float(key) for key in keys], every)
            axes.set_xticks(range(len(edges))[::every], map(_compact, edges[::every]))
            _as_curve(axes, len(edges) - 1, "%")
        else:
            figure, axes = _axes(48 + 30 * len(keys))
            for place, (side, look) in enumerate((side, looks[side]) for side in sides):
                rows = [row + 0.36 * place for row in range(len(keys))]
                widths = list(shares[side].values())
                bars = axes.barh(rows, widths, height=0.32, label=side, **look)
                axes.bar_label(bars, map(_percent, widths), padding=4)
            widest = max((width for side in shares.values() for width in side.values()), default=0)
            _as_bars(axes, [row + 0.18 for row in range(len(keys))], keys, widest)
        figure.legend(loc="outside upper left", ncols=2, frameon=False, handlelength=1.6)
        words = "; ".join(f"{side}: {_words(share, '%')}" for side, share in shares.items())
        return _svg(figure, name, distribution.title, words)
