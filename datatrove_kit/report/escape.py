"""Texts of the web as they are, with what an eye cannot see shown as a labelled box."""

from __future__ import annotations

import re
import unicodedata

from markupsafe import Markup, escape

#: Unicode's Cc, Cf, Cs, Zl, Zp and U+FFFE, U+FFFF, without those that scripts need: line ends and
#: tabs, the joiners of Indic, Persian and emoji, and signs before numbers, which are seen.
UNSEEN = re.compile(
    "[\0-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u0890\u0891\u180e\u200b\u200e\u200f\u2028-\u202e"
    "\u2060-\u2064\u2066-\u206f\ud800-\udfff\ufeff\ufff9-\ufffb\ufffe\uffff"
    "\U00013430-\U0001343f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0001\U000e0020-\U000e007f]"
)


def _name(char: str) -> str:
    return f"U+{ord(char):04X}"


def named(text: str) -> str:
    """One line of plain text: unseen characters, line ends too, by their number in Unicode."""
    return UNSEEN.sub(lambda found: _name(found[0]), " ".join(text.split()))


def boxed(text: str) -> Markup:
    """HTML of a text: escaped, unseen characters (bidi controls, NUL, lone surrogates) as boxes."""
    parts = []
    end = 0
    for found in UNSEEN.finditer(text):
        name = unicodedata.name(found[0], "control character").lower()
        parts += [escape(text[end : found.start()])]
        parts += [Markup('<span class="unseen" title="{}">{}</span>').format(name, _name(found[0]))]
        end = found.end()
    return Markup("").join([*parts, escape(text[end:])])
