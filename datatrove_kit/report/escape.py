"""Texts of the web as they are, with what an eye cannot see shown as a labelled box."""

from __future__ import annotations

import re
import sys
import unicodedata

from markupsafe import Markup, escape

#: Unseen characters that scripts need: the joiners of Indic and Persian and of emoji, and the
#: Arabic and Syriac signs that stand before a number and are seen.
NEEDED = {0x200C, 0x200D, 0x06DD, 0x070F, 0x08E2, 0x110BD, 0x110CD, *range(0x0600, 0x0606)}
UNSEEN = re.compile(
    "[\ufffe\uffff{}]".format(
        "".join(
            re.escape(chr(code))
            for code in range(sys.maxunicode + 1)
            if unicodedata.category(chr(code)) in ("Cc", "Cf", "Cs", "Zl", "Zp")
            and code not in NEEDED
            and chr(code) not in "\n\t"
        )
    )
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
