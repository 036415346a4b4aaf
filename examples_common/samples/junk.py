"""Documents that each filter exists to catch, made from the articles and a few word lists.

Every function takes a number and returns the blocks of a page; ``DROPPED_BY`` names the step that
is meant to drop the kind, in the order of lesson 02 (URLFilter and MinHash come in lesson 08).
"""

from __future__ import annotations

from .articles import articles, good_piece, rng_for, sentences

#: kind -> the DataTrove step that is meant to drop it
DROPPED_BY = {
    "non_html": "WarcReader",
    "redirect": "WarcReader",
    "gallery": "Trafilatura",
    "blocklisted": "URLFilter",
    "foreign": "LanguageFilter",
    "gibberish": "LanguageFilter",
    "keyword_spam": "GopherRepetitionFilter",
    "repeated_lines": "GopherRepetitionFilter",
    "stub": "GopherQualityFilter",
    "bullet_wall": "GopherQualityFilter",
    "hashtags": "GopherQualityFilter",
    "price_list": "GopherQualityFilter",
    "code": "C4QualityFilter",
    "lorem_ipsum": "C4QualityFilter",
    "one_sentence": "C4QualityFilter",
    "consent": "C4QualityFilter",
    "headlines": "FineWebQualityFilter",
    "short_lines": "FineWebQualityFilter",
    "repeated_boilerplate": "FineWebQualityFilter",
    "mirror": "MinhashDedupFilter",
    "recrawl": "MinhashDedupFilter",
}

GOODS = (
    "garden shed", "running shoes", "office chair", "camping tent", "kitchen knife", "wool blanket",
    "bicycle helmet", "desk lamp", "water bottle", "guitar case", "baby stroller", "leather wallet",
    "coffee grinder", "winter jacket", "phone holder", "fishing rod", "yoga mat", "tool box",
    "picture frame", "dog leash", "travel mug", "sewing machine", "roof rack", "bath towel",
)  # fmt: skip
FILLERS = ("for you", "near me", "with delivery", "and more", "in stock")
SHOP_WORDS = ("cheap", "best", "discount", "sale", "online", "offer", "top", "original")
PRICED = (
    "Oak board", "Pine batten", "Brass hinge", "Steel bracket", "Wall plug", "Wood screw",
    "Copper pipe", "Rubber seal", "Door handle", "Cable clip", "Paint roller", "Sanding disc",
    "Glass shelf", "Roof tile", "Drain cover", "Tile spacer", "Fence post", "Gate latch",
)  # fmt: skip
LOREM = (
    "Lorem ipsum dolor sit amet, consectetur adipiscing elit, sed do eiusmod tempor incididunt ut "
    "labore et dolore magna aliqua."
)
CONSENT = (
    "This site uses cookies so that it can remember your choices and count its visitors.",
    "By reading on you accept our cookie policy and the way in which our partners apply it.",
    "The use of cookies can be switched off in the settings of your browser at any time.",
    "Our privacy policy explains which data we keep, for how long and for what purpose.",
    "Please read the terms of use before you open an account or leave a comment here.",
    "Some of our partners use cookies as well and list them in a privacy policy of their own.",
    "If you do not agree with the cookie policy you may still use a part of this site.",
    "The privacy policy was last changed in the spring and applies to every visitor.",
)
BOILERPLATE = (
    "Sign up for the weekly letter and get the next story before everybody else does.",
    "Share this story with somebody who would like to read it over the weekend.",
    "Support our work with a small gift and keep these pages free for everyone.",
)


def keyword_spam(number: int) -> list[str]:
    """One shop phrase over and over, with filler: a top n-gram that holds most of the text."""
    rng = rng_for("keyword_spam", number)
    goods = GOODS[number % len(GOODS)]
    word = rng.choice(SHOP_WORDS)
    blocks = []
    for _ in range(rng.randint(4, 7)):
        parts = [f"{word} {goods} {rng.choice(FILLERS)}" for _ in range(rng.randint(8, 12))]
        blocks.append(f"Here is the {word} {goods} that you want, " + ", ".join(parts) + ".")
    return blocks


def repeated_lines(number: int) -> list[str]:
    """A paragraph that the page shows again and again, as a broken carousel does."""
    paragraphs = good_piece(50_000 + number).blocks
    return [paragraphs[0], *[paragraphs[1]] * 6, paragraphs[-1]]


def stub(number: int) -> list[str]:
    """Two or three sentences: fewer than the 50 words that Gopher asks for."""
    rng = rng_for("stub", number)
    text: list[str] = []
    while len(" ".join(text).split()) < 24:
        text.append(rng.choice([s for s in sentences()[number % 7 :: 7] if len(s.split()) < 20]))
    return [" ".join(text)]


def bullet_wall(number: int) -> list[str]:
    """Nothing but list items."""
    rng = rng_for("bullet_wall", number)
    return ["- " + s for s in rng.sample(sentences(), rng.randint(18, 30))]


def hashtags(number: int) -> list[str]:
    """A caption drowned in hash signs."""
    rng = rng_for("hashtags", number)
    blocks = []
    for sentence in rng.sample(sentences(), 6):
        words = [w.strip(".,?!'\"") for w in sentence.split() if len(w) > 4]
        blocks.append(sentence + " " + " ".join("#" + w.lower() for w in words))
    return blocks


def price_list(number: int) -> list[str]:
    """Rows of sizes and prices: too few words with a letter in them."""
    rng = rng_for("price_list", number)
    intro = "This is the list of the parts that we have in stock and of what they cost this month."
    rows = [
        f"{rng.choice(PRICED)} {rng.randint(10, 90)} {rng.randint(10, 90)} "
        f"{rng.randint(1, 30)}.{rng.randint(10, 99)} {rng.randint(2, 400)}."
        for _ in range(rng.randint(20, 30))
    ]
    return [intro, *rows, "All of these prices are per piece and with tax."]


def code(number: int) -> list[str]:
    """A how-to with a program in it: C4 drops any page with a curly bracket."""
    rng = rng_for("code", number)
    name = rng.choice(("total", "average", "longest", "first", "count"))
    blocks = list(good_piece(60_000 + number).blocks)
    blocks.insert(
        2, f"The function is as short as it gets: def {name}(rows): return {{r: 1 for r in rows}}."
    )
    return blocks


def lorem_ipsum(number: int) -> list[str]:
    """A good page that went online with the designer's dummy text still in it."""
    blocks = list(good_piece(70_000 + number).blocks)
    blocks.insert(rng_for("lorem", number).randint(1, len(blocks)), LOREM)
    return blocks


def one_sentence(number: int) -> list[str]:
    """Clauses strung together without a full stop: fewer than five sentences."""
    rng = rng_for("one_sentence", number)
    clauses = [
        s.rstrip(".!?") for s in rng.sample(sentences(), 12) if "?" not in s and "." not in s[:-1]
    ]
    clauses = [
        c[0].lower() + c[1:] if c.split()[0] not in ("I", "I'm", "I've") else c for c in clauses
    ]
    return ["It goes on and on, and " + " and ".join(clauses) + "."]


def consent(number: int) -> list[str]:
    """A consent notice and no article: every line falls to C4's policy rule."""
    rng = rng_for("consent", number)
    return rng.sample(CONSENT, len(CONSENT) - number % 2)


def headlines(number: int) -> list[str]:
    """An index page: headlines and teasers without a closing mark."""
    rng = rng_for("headlines", number)
    titles = [a.title for a in articles("en") if len(a.title) > 32 and a.title[-1] not in "?!.'"]
    teasers = [s.rstrip(".!?'") for s in sentences() if 40 < len(s) < 90]
    return rng.sample([*titles, *rng.sample(teasers, 60)], 24)


def short_lines(number: int) -> list[str]:
    """Sentences broken into lines of a few words, as a lyrics page shows them."""
    rng = rng_for("short_lines", number)
    lines = []
    for sentence in rng.sample(sentences(), 14):
        line = ""
        for word in sentence.split():
            if len(line) + len(word) > 27:
                lines.append(line.strip())
                line = ""
            line += word + " "
        if len(line.split()) > 2:
            lines.append(line.strip())
        else:
            lines[-1] += " " + line.strip()
    return lines


def repeated_boilerplate(number: int) -> list[str]:
    """A good article with the same call to action between its paragraphs."""
    pieces = (good_piece(80_000 + 100 * number + i) for i in range(100))
    blocks = next(list(p.blocks) for p in pieces if len(p.blocks) >= 6 and len(p.text) > 2000)
    line = BOILERPLATE[number % len(BOILERPLATE)]
    for place in (1, 3, 5):
        blocks.insert(place, line)
    return blocks


def gibberish(number: int) -> list[str]:
    """Letters that are no language."""
    rng = rng_for("gibberish", number)

    def word() -> str:
        return "".join(
            rng.choice("bcdfghjklmnpqrstvwxyzaeiouqxzk") for _ in range(rng.randint(3, 9))
        )

    return [
        " ".join(word() for _ in range(rng.randint(40, 70))).capitalize() + "." for _ in range(5)
    ]


def advert(number: int) -> list[str]:
    """A short shop text with the phrases that lesson 01's keyword filter looks for."""
    rng = rng_for("advert", number)
    blocks = []
    for goods in (GOODS[number % len(GOODS)], GOODS[(5 * number + 7) % len(GOODS)]):
        lines = [
            f"Looking for a new {goods}? Click here to see all {rng.randint(12, 90)} models.",
            f"Order your {goods} before Sunday and get free shipping to any place in the country.",
            f"This {goods} was tested by {rng.randint(20, 900)} customers and most came back.",
            f"Every {goods} comes with a warranty of {rng.randint(2, 10)} years and a bag.",
            f"Buy now and pay later: a {goods} for less than you spend on lunch in a week.",
            f"Our {goods} is a limited offer, so do not wait until somebody else has taken it.",
        ]
        rng.shuffle(lines)
        blocks.append(" ".join(lines[: rng.randint(5, 6)]))
    return blocks
