"""Trafilatura with the same texts in less time, and only for pages in the wanted languages."""

from __future__ import annotations

import re
from functools import cache
from html import unescape

from datatrove.data import Document
from datatrove.pipeline.extractors import Trafilatura
from datatrove.pipeline.filters import LanguageFilter
from lxml import etree
from trafilatura import xpaths

#: Values of attributes that an expression remembers before it starts anew.
REMEMBERED = 20_000
#: Trafilatura's lists of expressions; in some of them it spends half of its time on a page.
LISTS = [found for found in vars(xpaths).values() if isinstance(found, list)]
# Elements of some names below the current one, all or the first, with any one of some attributes.
FORM = re.compile(
    r"(?s)\(?\.//\*(\[[(]?self::[^\]]*\])?\s*"
    r"\[(?P<tests>(?:(?! and |not\(|\]).)*)\](\)?\[1\])?\s*"
)
#: Characters of a page's text that its language is told from, at least and at most.
MIN_LENGTH, LOOKED_AT = 200, 2000
# Tags, and elements that are menus or hidden, to their end tag or that of the page; linear in time.
HIDDEN = re.compile(
    r"(?i)<(?:(?=[fhinst])(script|style|noscript|template|svg|select|iframe|nav|header|footer)\b"
    r"[^<]*(?:<(?!/\1\b)[^<]*)*|[^<>]*>)"
)


class RememberedXPath:
    """An XPath expression that finds elements by any one of a number of attributes, with a memory.

    The expression is asked once for each value of an attribute, on an element made for it. Elements
    come in the order of the document, all of them where the expression gives the first alone.
    """

    def __init__(self, expression: etree.XPath):
        tests = FORM.fullmatch(expression.path)["tests"]
        self.tags = re.findall(r"self::(\w+)", expression.path) or ["*"]
        self._test = etree.XPath(f"./*[{tests}]")
        self._matches = {name: {None: False} for name in re.findall(r"@([\w-]+)", tests)}

    def __call__(self, tree: etree._Element) -> list[etree._Element]:
        elements = list(tree.iterdescendants(*self.tags))
        # The next expression asks for them as well: while they are kept, lxml makes no new ones.
        RememberedXPath.kept = elements
        places: set[int] = set()
        for name, matches in self._matches.items():
            values = [element.get(name) for element in elements]
            if len(matches) > REMEMBERED:
                matches.clear()
                matches[None] = False
            if missing := set(values).difference(matches):
                parent = etree.Element("body")
                parent.extend(etree.Element("div", {name: value}) for value in missing)
                matches.update(dict.fromkeys(missing, False))
                matches.update((found.get(name), True) for found in self._test(parent))
            places.update(place for place, value in enumerate(values) if matches[value])
        return [elements[place] for place in sorted(places)]


@cache
def remember_xpaths() -> None:
    """Give all of Trafilatura's expressions in this process a memory."""
    for expressions in LISTS:
        expressions[:] = [RememberedXPath(x) if FORM.fullmatch(x.path) else x for x in expressions]


class FastTrafilatura(Trafilatura):
    """Trafilatura, whose expressions have a memory, in the process that DataTrove starts for it."""

    def extract(self, text: str) -> str | None:
        remember_xpaths()
        return super().extract(text)


class EarlyLanguageFilter(LanguageFilter):
    """Drops pages in another language before extraction, see ``datatrove_kit.fast.early``."""

    name = "Early language ID"

    def filter(self, doc: Document) -> bool | tuple[bool, str]:
        text = visible_text(doc.text)
        if len(text) < MIN_LENGTH:
            return True
        (language, score), wanted = self.model.predict(Document(text, doc.id))
        if max(wanted.values()) >= self.language_threshold:
            return True
        doc.text, doc.metadata["language"], doc.metadata["language_score"] = text, language, score
        return False, "early_language"


def visible_text(page: str) -> str:
    """The first 2,000 characters of what a reader of an HTML page sees, without menus."""
    words, start, seen = [], 0, 0
    for hidden in HIDDEN.finditer(page):
        words += (found := page[start : hidden.start()].split())
        start, seen = hidden.end(), seen + sum(map(len, found))
        if seen > LOOKED_AT:
            break
    else:
        words += page[start:].split()
    return unescape(" ".join(words)[:LOOKED_AT])
