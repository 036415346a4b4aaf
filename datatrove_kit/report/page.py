"""The page of a report: one HTML file that loads nothing and runs its own script alone."""

from __future__ import annotations

import base64
import hashlib
import re
from importlib.resources import files
from itertools import groupby
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from datatrove_kit.report import charts
from datatrove_kit.report.duplicates import differences
from datatrove_kit.report.escape import boxed
from datatrove_kit.report.model import Cluster, Report, Text, Tokens
from datatrove_kit.report.sampling import SHOWN
from datatrove_kit.report.wording import several

#: In the head of each page, by which a later report knows that it may write over one.
GENERATOR = '<meta name="generator" content="datatrove_kit report">'
LONGEST = 300  # characters of any other string: an id, a value, a reason
LOOKS = 4  # of marks and of tokens, in the style sheet


def render(report: Report) -> str:
    """The page as HTML, ready to be written as UTF-8.

    Every string of the report is escaped; characters that cannot be seen (bidi controls, NUL,
    lone surrogates) show as boxes. The page's policy refuses scripts, styles and addresses other
    than its own, so a text that got through would still not run.
    """
    templates = files("datatrove_kit.report") / "templates"
    style = templates.joinpath("report.css").read_text(encoding="utf-8")
    script = templates.joinpath("report.js").read_text(encoding="utf-8")
    environment = Environment(
        loader=PackageLoader("datatrove_kit.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "number": _number,
        "several": several,
        "share": _share,
        "duration": _duration,
        "line": _line,
        "body": _body,
        "pieces": _pieces,
        "language": _language,
        "labels": lambda text: list(_looks(text)),
    }
    piles = [pile for stage in report.stages for step in stage.steps for pile in step.piles]
    piles += [pile for _, pile in report.kept]
    anchors = {id(pile): f"pile-{place}" for place, pile in enumerate(piles, 1)}
    page = environment.get_template("report.html.jinja").render(
        report=report,
        anchor=lambda pile: anchors[id(pile)],
        shown=SHOWN,
        generator=Markup(GENERATOR),
        charts=charts,
        sides=_sides,
        style=Markup(style),
        script=Markup(script),
        policy=f"default-src 'none'; script-src '{_hash(script)}'; style-src '{_hash(style)}'; "
        "img-src data:; base-uri 'none'; form-action 'none'",
    )
    return page.encode("utf-8", "replace").decode("utf-8")


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _number(number: int | None) -> str:
    return "–" if number is None else f"{number:,}"


def _share(part: float | None, whole: float | None) -> str:
    """``part`` as a percentage of ``whole``; never 0% for something nor 100% for less than all.

    "" if it is no part of it.
    """
    if not whole or part is None or part > whole:
        return ""
    share = 100 * part / whole
    if part and share < 0.1:
        return "<0.1%"
    if part < whole and share > 99.9:
        return ">99.9%"
    return f"{share:.1f}%".replace(".0%", "%")


def _duration(seconds: float) -> str:
    if seconds < 1:
        return f"{1000 * seconds:.0f} ms" if seconds >= 0.001 or not seconds else "<1 ms"
    if seconds < 60:
        return f"{seconds:.3g} s"
    minutes, seconds = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {seconds} s"
    return f"{minutes // 60:,} h {minutes % 60} min"


def _line(text: str, longest: int = LONGEST) -> Markup:
    """A short string, in a direction of its own."""
    text = text if len(text) <= longest else text[: longest - 1] + "…"
    return Markup("<bdi>{}</bdi>").format(boxed(text))


def _language(text: Text) -> str:
    """For the attribute ``lang``, by which browsers choose the shapes of Chinese characters."""
    code = text.metadata.get("language", "")
    return code if re.fullmatch(r"[a-z]{2,3}(-\w+)?", code) else ""


def _looks(text: Text) -> dict[str, int]:
    """Look of each label of a text, by the label."""
    labels = {mark.label: None for mark in text.marks if mark.start < min(SHOWN, len(text.text))}
    return {label: place % LOOKS for place, label in enumerate(labels)}


def _body(text: Text) -> Markup:
    """The text as far as it is shown, with its marks; where two overlap the later one is seen."""
    shown, looks = text.text[:SHOWN], _looks(text)
    labels: list[str | None] = [None] * len(shown)
    for mark in text.marks:
        covered = range(len(shown))[max(0, mark.start) : max(0, mark.end)]
        labels[covered.start : covered.stop] = [mark.label] * len(covered)
    parts = []
    for label, group in groupby(range(len(shown)), labels.__getitem__):
        places = list(group)
        part = boxed(shown[places[0] : places[-1] + 1])
        if label is not None:
            mark = Markup('<mark class="look-{}" title="{}">{}</mark>')
            part = mark.format(looks[label], label[:LONGEST], part)
        parts.append(part)
    return Markup("").join(parts)


def _sides(cluster: Cluster) -> list[tuple[str, Text, Markup]]:
    """The texts of a cluster with what became of each; the first beside the second, the others
    beside the first."""
    texts = [("removed", text) for text in cluster.removed]
    if cluster.kept:
        texts.insert(0, ("kept", cluster.kept))
    parts = {
        "same": Markup("{}"),
        "only here": Markup('<span class="only">{}</span>'),
        "not compared": Markup('<span class="beyond" title="not compared">{}</span>'),
    }
    sides = []
    for place, (fate, text) in enumerate(texts):
        other = texts[0 if place else min(1, len(texts) - 1)][1]
        cut = any(len(each.text[:SHOWN]) < each.characters for each in (text, other))
        found, _ = differences(text.text[:SHOWN], other.text[:SHOWN], cut)
        body = Markup("")
        for kind, words in found:
            blanks = words[len(words.rstrip()) :]
            body += parts[kind].format(boxed(words.rstrip())) + blanks
        sides.append((fate, text, body))
    return sides


def _pieces(tokens: Tokens) -> Markup:
    """The text in its tokens. Tokens that share a character (bytes of it) stand in one piece."""
    text, parts, end = tokens.text.text[:SHOWN], [], 0
    pieces: list[list[Any]] = []
    for start, stop, number in sorted(tokens.pieces, key=lambda piece: piece[:2]):
        if pieces and start < pieces[-1][1]:
            pieces[-1][1] = max(stop, pieces[-1][1])
            pieces[-1][2].append(number)
        elif start < stop <= len(text):
            pieces.append([start, stop, [number]])
    span = Markup('<span class="token look-{}{}" title="{}">{}</span>')
    for place, (start, stop, numbers) in enumerate(pieces):
        newline = " newline" if "\n" in text[start:stop] and text[start:stop].isspace() else ""
        title, piece = " ".join(map(str, numbers)), boxed(text[start:stop])
        parts += [boxed(text[end:start]), span.format(place % LOOKS, newline, title, piece)]
        end = stop
    return Markup("").join([*parts, boxed(text[end:])])
