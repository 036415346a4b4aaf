"""How the pictures of the pages look: sizes, colours, SVG files that are light or dark.

A picture is drawn with matplotlib in pixels: one unit is one pixel of a picture 720 pixels wide.
"""

from __future__ import annotations

import itertools
import json
import re
import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from matplotlib.text import Text

IMAGES = Path(__file__).resolve().parents[1] / "images"
WIDTH = 720
# Sizes of letters in pixels, large for this width: on a telephone the picture is half as wide.
HEAD, BODY, SMALL = 15, 14, 13  # in a diagram
CHART = 16

# The light value of a colour is its name to matplotlib; save() makes it a variable of the SVG.
# Hues after Okabe and Ito (2008), which colour-blind readers tell apart; a mark needs a word too.
INK, INK_DARK = "#1f2328", "#e6edf3"  # text
MUTED, MUTED_DARK = "#59636e", "#a7b1bc"  # text that is less important, arrows
LINE, LINE_DARK = "#aeb6bf", "#59626c"  # borders, axes
GRID, GRID_DARK = "#dde2e7", "#31383f"  # grid lines
GROUND, GROUND_DARK = "#fefefe", "#0d1117"  # the card under each picture, whatever the page is
PAPER, PAPER_DARK = "#f5f7f9", "#1a2129"  # the ground of a box
BLUE, BLUE_DARK = "#0067a3", "#62b8f0"  # what is kept; the first series
ORANGE, ORANGE_DARK = "#a84400", "#f2a058"  # what is dropped; the second series
GREEN, GREEN_DARK = "#006b4f", "#45c9a0"
PURPLE, PURPLE_DARK = "#8c4181", "#d99bd0"
YELLOW, YELLOW_DARK = "#806600", "#e3cb4e"
BLUE_SOFT, BLUE_SOFT_DARK = "#d3e7f6", "#133c58"  # grounds on which INK is legible
ORANGE_SOFT, ORANGE_SOFT_DARK = "#fbe1cd", "#5b3314"
GREEN_SOFT, GREEN_SOFT_DARK = "#cfeee3", "#114737"
PURPLE_SOFT, PURPLE_SOFT_DARK = "#f0dcec", "#4d2a49"
YELLOW_SOFT, YELLOW_SOFT_DARK = "#f7edbb", "#4d430f"
COLOURS = {
    name.lower().replace("_", "-"): (value, globals()[f"{name}_DARK"])
    for name, value in list(globals().items())
    if f"{name}_DARK" in globals()
}

SANS = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Noto Sans', 'DejaVu Sans', sans-serif"
MONO = "ui-monospace, 'SF Mono', Menlo, Consolas, 'DejaVu Sans Mono', monospace"
SVG = "http://www.w3.org/2000/svg"
XLINK = "http://www.w3.org/1999/xlink"

matplotlib.rcParams.update(
    {
        "svg.fonttype": "none",  # text stays text
        "svg.hashsalt": "pictures",  # the same ids each time
        # Widths are measured in DejaVu, the widest of the fonts above: others leave slack.
        "font.sans-serif": ["DejaVu Sans", "Noto Sans", "Noto Sans CJK SC"],
        "font.monospace": ["DejaVu Sans Mono"],
        "font.size": CHART,
        "axes.titlesize": CHART + 1,
        "axes.titleweight": "bold",
        "axes.titlelocation": "left",
        "axes.labelsize": CHART,
        "axes.edgecolor": LINE,
        "axes.labelcolor": INK,
        "axes.titlecolor": INK,
        "axes.facecolor": "none",
        "axes.axisbelow": True,
        "axes.prop_cycle": matplotlib.cycler(color=[BLUE, ORANGE, GREEN, PURPLE, YELLOW]),
        "axes.spines.top": False,
        "axes.spines.right": False,
        "figure.facecolor": "none",
        "figure.dpi": 72,
        "grid.color": GRID,
        "hatch.linewidth": 1.2,
        "legend.frameon": False,
        "legend.fontsize": CHART,
        "text.color": INK,
        "xtick.color": LINE,
        "ytick.color": LINE,
        "xtick.labelcolor": MUTED,
        "ytick.labelcolor": MUTED,
        "xtick.labelsize": CHART - 1,
        "ytick.labelsize": CHART - 1,
    }
)


def figure(height: float) -> Figure:
    """A figure ``WIDTH`` pixels wide, for charts: ``figure(300).subplots(1, 2)``."""
    made = Figure(figsize=(WIDTH / 72, height / 72), layout="constrained")
    made.get_layout_engine().set(w_pad=12 / 72, h_pad=12 / 72)
    return made


def diagram(height: float) -> tuple[Figure, Axes]:
    """A figure without axes to draw in pixels: (0, 0) is at the top left, y grows downwards."""
    made = Figure(figsize=(WIDTH / 72, height / 72))
    axes = made.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, WIDTH), ylim=(height, 0))
    axes.set_axis_off()
    return made, axes


def text(axes: Axes, x: float, y: float, words: str, **how) -> list[Text]:
    """Lines of words in a diagram, the middle of them all at ``y``; ``how`` as in ``Axes.text``.

    Each line is a text of its own, so that it is aligned in the reader's font as well.
    """
    lines, how = words.split("\n"), {"va": "center_baseline", "fontsize": BODY, **how}
    step = how["fontsize"] * 1.4
    top = y - step * (len(lines) - 1) / 2
    return [axes.text(x, top + step * i, line, **how) for i, line in enumerate(lines)]


def quote(axes: Axes, x: float, y: float, words: str, **how) -> list[Text]:
    """Lines taken from a document or a file of the run: numbers in them need not be facts."""
    made = text(axes, x, y, words, **how)
    for line in made:
        line.set_gid("quote")
    return made


def box(
    axes: Axes,
    x: float,
    y: float,
    width: float,
    height: float,
    words: str = "",
    *,
    fill: str = PAPER,
    edge: str = LINE,
    hatch: str = "",
    dashed: bool = False,
    **how,
) -> FancyBboxPatch:
    """A box whose top left is at (x, y), with words in its middle; ``how`` as in ``Axes.text``."""
    made = FancyBboxPatch(
        (x, y),
        width,
        height,
        boxstyle="round,pad=0,rounding_size=5",
        facecolor=fill,
        edgecolor=edge,
        hatch=hatch,
        linestyle=(0, (4, 3)) if dashed else "-",
        linewidth=1.2,
    )
    axes.add_patch(made)
    if words:
        text(axes, x + width / 2, y + height / 2, words, **{"ha": "center", **how})
    return made


def arrow(
    axes: Axes,
    start: tuple[float, float],
    end: tuple[float, float],
    *,
    colour: str = MUTED,
    width: float = 1.4,
    dashed: bool = False,
    bend: float = 0,
) -> FancyArrowPatch:
    """An arrow from ``start`` to ``end``, in pixels; ``bend`` as a part of its length."""
    made = FancyArrowPatch(
        start,
        end,
        arrowstyle="-|>,head_length=6,head_width=3.2",
        mutation_scale=1,
        connectionstyle=f"arc3,rad={bend}",
        shrinkA=0,
        shrinkB=0,
        color=colour,
        linewidth=width,
        linestyle=(0, (4, 3)) if dashed else "-",
        capstyle="butt",
        joinstyle="miter",
    )
    axes.add_patch(made)
    return made


def row(stdout: str, label: str, below: str = "") -> list[str]:
    """The numbers behind a row label in what a lesson printed, as printed: ``["1000", "67"]``.

    Args:
        below: the title of the table, where more than one table has such a row.

    Raises:
        ValueError: no line begins with the label.
    """
    lines = stdout[stdout.index(below) :].splitlines()
    for line in lines:
        if begins_with(line, label):
            return re.findall(r"(?<![\w.-])-?\d+(?:\.\d+)?%?(?![\w.-])", line.strip()[len(label) :])
    raise ValueError(f"no line begins with {label!r}")


def begins_with(line: str, label: str) -> bool:
    """Whether a line of an output block is the row with this label."""
    return re.match(rf"\s*{re.escape(label)}(?=\s|$)", line) is not None


def save(
    made: Figure, name: str, title: str, description: str, facts: Mapping[str, Sequence]
) -> None:
    """Write ``spec/images/NAME.svg``.

    Args:
        name: begins with the number of the lesson, such as ``01_tasks``.
        title: what the picture is, in a few words.
        description: what it shows, for who does not see it.
        facts: the numbers in the picture: for a row label of a block of the lesson's page the
            numbers that this row shows, as shown there. tests/test_pictures.py compares.
    """
    raw = BytesIO()
    made.savefig(raw, format="svg", metadata={"Date": None, "Creator": None})
    for prefix, address in (("", SVG), ("xlink", XLINK)):
        ET.register_namespace(prefix, address)
    root = ET.fromstring(raw.getvalue())
    height = float(root.get("height").removesuffix("pt"))
    root.attrib |= {"width": f"{WIDTH}", "height": f"{height:g}", "role": "img"}
    root.remove(root.find(f"{{{SVG}}}metadata"))
    head = [ET.Element(f"{{{SVG}}}{tag}") for tag in ("title", "desc", "metadata", "style")]
    head[0].text, head[1].text = title, description
    shown = {label: list(map(str, numbers)) for label, numbers in facts.items()}
    head[2].text = json.dumps({"matplotlib": matplotlib.__version__, "facts": shown})
    head[3].text = _sheet()
    card = {"x": "0.5", "y": "0.5", "width": f"{WIDTH - 1}", "height": f"{height - 1:g}"}
    card |= {"id": "ground", "rx": "10", "style": f"fill: {GROUND}; stroke: {GRID}"}
    for place, element in enumerate([*head, ET.Element(f"{{{SVG}}}rect", card)]):
        root.insert(place, element)
    quotes = itertools.count(1)
    for element in root.iter():
        element.attrib |= {key: _mended(value) for key, value in element.attrib.items()}
        if "var(" in element.get("fill", ""):  # variables belong in a style
            element.set("style", f"fill: {element.attrib.pop('fill')}")
        if element.get("id") == "quote":
            element.set("id", f"quote_{next(quotes)}")
    ET.indent(root, " ")
    IMAGES.mkdir(exist_ok=True)
    svg = ET.tostring(root, encoding="unicode")
    (IMAGES / f"{name}.svg").write_text(svg + "\n", encoding="utf-8")


def _sheet() -> str:
    """The font, and the colours of both schemes."""
    light, dark = (
        " ".join(f"--{name}: {pair[scheme]};" for name, pair in COLOURS.items())
        for scheme in (0, 1)
    )
    return (
        f"svg {{ font-family: {SANS}; {light} }} "
        f"@media (prefers-color-scheme: dark) {{ svg {{ {dark} }} }}"
    )


def _mended(value: str) -> str:
    """An attribute with variables for the named colours, the reader's fonts, and short numbers."""
    for name, (light, _) in COLOURS.items():
        value = value.replace(light, f"var(--{name}, {light})")
    value = re.sub(r"font-family: [^;]*sans-serif; ", "", value)
    value = re.sub(r"font-family: [^;]*monospace;", f"font-family: {MONO};", value)
    return re.sub(r"(\d\.\d{2})\d+", r"\1", value)
