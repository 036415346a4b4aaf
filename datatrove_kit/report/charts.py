"""Small charts as SVG inside the page: text stays text, colours are the page's CSS variables."""

from __future__ import annotations

import io
import re
import warnings
from xml.etree import ElementTree

from markupsafe import Markup
from matplotlib import rc_context
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
    "text.parse_math": False,
    "font.size": 11,
    "text.color": INK,
    "hatch.linewidth": 1.2,
    "axes.edgecolor": LINE,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": LINE,
    "xtick.color": INK,
    "ytick.color": INK,
    "ytick.major.size": 0,
}
WIDTH = 300  # CSS pixels, about what a page of 360 has room for
BARS = 8  # in one chart
LABEL = 22  # characters
POINTS = 300  # of a curve


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
        root[0].text = content
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


def _compact(number: float, _: object = None) -> str:
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return (
                f"{number / size:.2g}{unit}"
                if number < 100 * size
                else f"{number / size:.0f}{unit}"
            )
    return f"{number:.3g}"


def _percent(share: float) -> str:
    return f"{share:.0f}%" if share >= 10 or not share else f"{share:.1f}%"


def _label(text: str) -> str:
    text = named(text)
    return text if len(text) <= LABEL else text[: LABEL - 1] + "…"


def _words(values: dict[str, float], unit: str) -> str:
    return ", ".join(f"{named(key)}: {value:.4g}{unit}" for key, value in values.items())


def step_times(stages: list[Stage], name: str) -> Markup:
    """Seconds of the slowest steps, summed over all tasks."""
    steps = [(step.seconds, stage.name, step.name) for stage in stages for step in stage.steps]
    steps = sorted(steps, reverse=True)[:BARS][::-1]
    title = "Seconds by step, all tasks together"
    with rc_context(STYLE):
        many = len(stages) > 1
        figure, axes = _axes(44 + (38 if many else 24) * len(steps))
        drawn = axes.barh(range(len(steps)), [s for s, *_ in steps], height=0.62, color=KEPT)
        axes.bar_label(drawn, [_compact(seconds) for seconds, *_ in steps], padding=4)
        names = [_label(step) for _, _, step in steps]
        axes.set_yticks(range(len(steps)), names, va="bottom" if many else "center")
        for row, (_, stage, _) in enumerate(steps if many else ()):
            place = {"xytext": (-3.5, -1), "textcoords": "offset points"}
            axes.annotate(_label(stage[::-1])[::-1], (0, row), ha="right", va="top", **place)
        axes.spines[["bottom"]].set_visible(False)
        axes.set_xticks([])
        axes.margins(x=0.16)
        numbers = {f"{step} of {stage}": seconds for seconds, stage, step in steps[::-1]}
        return _svg(figure, name, title, _words(numbers, " s"))


def task_times(stage: Stage, name: str) -> Markup:
    """Seconds of each task, the slowest first: a level line is work that is spread evenly."""
    seconds = sorted((task.seconds for task in stage.times), reverse=True)
    shown = seconds[:: max(1, len(seconds) // POINTS)]
    with rc_context(STYLE):
        figure, axes = _axes(150)
        edges = [i * len(seconds) / len(shown) for i in range(len(shown) + 1)]
        axes.stairs(shown, edges, fill=True, color=KEPT, alpha=0.9, linewidth=0)
        axes.set_xlim(0, len(seconds))
        axes.set_ylim(0)
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        axes.yaxis.set_major_locator(MaxNLocator(4))
        axes.yaxis.set_major_formatter(FuncFormatter(_compact))
        axes.grid(axis="y", linewidth=0.8)
        axes.set_axisbelow(True)
        axes.set_xlabel("tasks, slowest first")
        axes.set_ylabel("seconds")
        middle = seconds[len(seconds) // 2]
        words = f"Slowest {seconds[0]:.3g} s, median {middle:.3g} s, fastest {seconds[-1]:.3g} s"
        return _svg(figure, name, f"Seconds of each task: {named(stage.name)}", words)


def spread(distribution: Distribution, name: str) -> Markup:
    """Kept beside dropped documents of the sample, each as a share of its own."""
    sides = {"kept": distribution.kept, "dropped": distribution.dropped}
    keys = list({**distribution.kept, **distribution.dropped})
    shares = {
        side: [100 * counts.get(key, 0) / max(1, sum(counts.values())) for key in keys]
        for side, counts in sides.items()
    }
    looks = {
        "kept": {"facecolor": KEPT, "edgecolor": KEPT},
        "dropped": {"facecolor": "none", "edgecolor": DROPPED, "hatch": "////"},
    }
    with rc_context(STYLE):
        if distribution.kind == "histogram":
            figure, axes = _axes(190)
            for side, look in looks.items():
                fill = {"alpha": 0.55} if side == "kept" else {"linewidth": 1.4}
                axes.stairs(shares[side], fill=True, label=side, **look, **fill)
            every = max(1, len(keys) // 6)
            axes.set_xticks(range(0, len(keys), every), [_compact(float(k)) for k in keys[::every]])
            axes.set_xlim(0, len(keys))
            axes.yaxis.set_major_locator(MaxNLocator(4))
            axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.3g}%"))
            axes.grid(axis="y", linewidth=0.8)
            axes.set_axisbelow(True)
        else:
            figure, axes = _axes(48 + 30 * len(keys))
            for place, (side, look) in enumerate(looks.items()):
                rows = [row + 0.36 * place for row in range(len(keys))]
                bars = axes.barh(rows, shares[side], height=0.32, label=side, **look)
                axes.bar_label(bars, [_percent(share) for share in shares[side]], padding=4)
            axes.set_yticks([row + 0.18 for row in range(len(keys))], [_label(k) for k in keys])
            axes.invert_yaxis()
            axes.spines[["bottom"]].set_visible(False)
            axes.set_xticks([])
            axes.margins(x=0.16)
        figure.legend(loc="outside upper left", ncols=2, frameon=False, handlelength=1.6)
        words = "; ".join(
            f"{side}: {_words(dict(zip(keys, values, strict=True)), '%')}"
            for side, values in shares.items()
        )
        return _svg(figure, name, distribution.title, words)
