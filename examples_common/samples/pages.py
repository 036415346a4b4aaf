"""HTML pages in the styles of the web, and the WARC records around them."""

from __future__ import annotations

import io
import uuid
from html import escape

from .articles import Piece, articles, rng_for

CSS = "body{font-family:serif}nav a{margin:4px}.ad{border:1px solid}.hidden{display:none}"
SECTIONS = ("Home", "News", "Culture", "Garden", "Sport", "Travel", "About us", "Contact")


def _blocks(blocks: tuple[str, ...] | list[str]) -> str:
    """Blocks as HTML: subheadings, lists of consecutive items, paragraphs."""
    out, items = [], []

    def close_list() -> None:
        if items:
            out.append("<ul>\n" + "\n".join(f"<li>{i}</li>" for i in items) + "\n</ul>")
            items.clear()

    for block in blocks:
        if block.startswith("- "):
            items.append(escape(block[2:], quote=False))
            continue
        close_list()
        if block.startswith("## "):
            out.append(f"<h2>{escape(block[3:], quote=False)}</h2>")
        else:
            out.append(f"<p>{escape(block, quote=False)}</p>")
    close_list()
    return "\n".join(out)


def _navigation(tag: str = "nav") -> str:
    links = "\n".join(f'<a href="/{s.lower().replace(" ", "-")}">{s}</a>' for s in SECTIONS)
    return f'<{tag} class="menu">\n{links}\n</{tag}>'


def _teasers(rng) -> str:
    links = "\n".join(
        f'<li><a href="/story/{a.slug}">{escape(a.title)}</a></li>'
        for a in rng.sample(articles("en"), 5)
    )
    return f'<aside class="related sidebar"><h3>Read next</h3><ul>\n{links}\n</ul></aside>'


def _comments(rng) -> str:
    said = ("Thanks, this helped me a lot!", "I do not agree at all.", "First!", "Where was this?")
    return (
        '<section id="comments" class="comments"><h3>Comments</h3>'
        + "".join(
            f'<div class="comment"><b>user{rng.randint(1, 99)}</b> {c}</div>'
            for c in rng.sample(said, 2)
        )
        + "</section>"
    )


BANNER = (
    '<div id="cookie-banner" class="cookie-consent" role="dialog">We value your choices. This site '
    'uses cookies.<button>Accept all</button><button>Settings</button></div>'
)  # fmt: skip


def _magazine(piece: Piece, rng) -> str:
    return f"""{BANNER}
<header><a href="/">The Weekly Reader</a>{_navigation()}</header>
<main><article>
<h1>{escape(piece.title)}</h1>
<p class="byline">By {escape(piece.author)}, <time datetime="{piece.date}">{piece.date}</time></p>
<div class="ad">Advertisement</div>
<div class="article-body">
{_blocks(piece.blocks)}
</div>
</article>
{_comments(rng)}
</main>
{_teasers(rng)}
<footer><p>All rights reserved. <a href="/imprint">Imprint</a></p></footer>"""


def _blog(piece: Piece, rng) -> str:
    tags = " ".join(
        f'<a rel="tag" href="/tag/{t.lower()}">{t}</a>' for t in rng.sample(SECTIONS, 3)
    )
    return f"""<div id="page"><div id="header"><h2><a href="/">from the back room</a></h2></div>
<div id="content"><div class="post hentry">
<h1 class="entry-title">{escape(piece.title)}</h1>
<div class="entry-content">
{_blocks(piece.blocks)}
</div>
<div class="post-meta">Posted on {piece.date} by {escape(piece.author)} in {tags}</div>
</div>{_comments(rng)}</div>
<div id="sidebar">{_teasers(rng)}<div class="widget">Follow us</div></div>
<div id="footer">Powered by a small machine under the stairs</div></div>"""


def _old_table(piece: Piece, rng) -> str:
    return f"""<table width="100%"><tr><td valign="top">{_navigation("div")}</td>
<td valign="top"><div class="content">
<h1>{escape(piece.title)}</h1>
{_blocks(piece.blocks)}
<p><small>Last changed on {piece.date}</small></p></div></td></tr></table>
<center><small>Best viewed with a screen</small></center>"""


def _handbook(piece: Piece, rng) -> str:
    contents = "".join(f"<li><a href='#s{i}'>Part {i}</a></li>" for i in range(1, 5))
    return f"""<header role="banner">{_navigation()}</header>
<div class="toc" role="navigation"><ol>{contents}</ol></div>
<main id="main-content"><section>
<h1>{escape(piece.title)}</h1>
{_blocks(piece.blocks)}
</section></main>
<footer class="site-footer">Edit this page. Contents may be shared.</footer>"""


def _forum(piece: Piece, rng) -> str:
    return f"""<div class="breadcrumb"><a href="/">Index</a> &raquo; General</div>
<div class="pagination">Page 1 of {rng.randint(2, 9)}</div>
<article class="thread"><h1>{escape(piece.title)}</h1>
<div class="post-content">
{_blocks(piece.blocks)}
</div></article>
<div class="login">Log in or register to reply</div>{_navigation("div")}"""


def _plain(piece: Piece, rng) -> str:
    return f"<h1>{escape(piece.title)}</h1>\n{_blocks(piece.blocks)}"


STYLES = {
    "magazine": _magazine,
    "blog": _blog,
    "old_table": _old_table,
    "handbook": _handbook,
    "forum": _forum,
    "plain": _plain,
}
CHARSETS = {
    "de": "windows-1252", "fr": "iso-8859-1", "es": "iso-8859-1", "it": "windows-1252",
    "pt": "windows-1252", "pl": "iso-8859-2", "ru": "windows-1251", "ja": "shift_jis",
    "zh": "gb18030",
}  # fmt: skip


def page(
    piece: Piece, language: str, number: int, styles: tuple[str, ...] = tuple(STYLES)
) -> tuple[bytes, str, str]:
    """A whole HTML page in one of ``styles``.

    Returns its bytes, its charset (one page in three of a language with an old charset uses it)
    and the name of its style.
    """
    rng = rng_for("page", language, number)
    style = rng.choice(styles)
    charset = CHARSETS.get(language, "utf-8") if rng.random() < 1 / 3 else "utf-8"
    body = STYLES[style](piece, rng)
    html = f"""<!DOCTYPE html>
<html lang="{language}">
<head>
<meta charset="{charset}">
<title>{escape(piece.title)}</title>
<meta name="author" content="{escape(piece.author)}">
<style>{CSS}</style>
</head>
<body>
{body}
</body>
</html>
"""
    return html.encode(charset, "xmlcharrefreplace"), charset, style


def gallery_page(number: int) -> bytes:
    """A page of pictures with no text of its own."""
    rng = rng_for("gallery", number)
    cells = "".join(
        f'<a href="/p/{rng.randint(1, 9999)}"><img src="/{i}.jpg" alt=""></a>' for i in range(30)
    )
    return f"""<!DOCTYPE html>
<html lang="en"><head><title>Gallery {number}</title></head>
<body><div class="gallery">{cells}</div><form><input name="q"></form></body></html>
""".encode()


class WarcFile:
    """A WARC file in Common Crawl's manner: warcinfo first, then request and response in pairs.

    Record ids depend on ``name`` and the record's place alone; ``date`` is that of the crawl.
    ``stream`` is a binary file; every record is a gzip member of its own.
    """

    def __init__(self, stream, name: str, date: str):
        from warcio.warcwriter import WARCWriter

        self.writer = WARCWriter(stream, gzip=True)
        self.name, self.date, self.count = name, date, 0
        info = f"software: datatrove-learn\r\nisPartOf: SAMPLE\r\nfilename: {name}\r\n"
        self._write("", "warcinfo", info.encode(), content_type="application/warc-fields")

    def _write(
        self, url, kind, payload, headers=None, content_type="", extra=None, date=None
    ) -> str:
        record_id = f"<urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, f'{self.name}/{self.count}')}>"
        self.count += 1
        record = self.writer.create_warc_record(
            url,
            kind,
            payload=io.BytesIO(payload),
            length=len(payload),
            http_headers=headers,
            warc_content_type=content_type,
            warc_headers_dict={
                "WARC-Record-ID": record_id,
                "WARC-Date": date or self.date,
                **(extra or {}),
            },
        )
        self.writer.write_record(record)
        return record_id

    def fetch(
        self,
        url: str,
        body: bytes,
        mime: str,
        charset: str = "",
        location: str = "",
        date: str | None = None,
    ) -> str:
        """Write the request for ``url`` and its response; returns the response's record id.

        A ``location`` makes the response a redirect. A ``date`` other than the crawl's is for a
        page that was fetched again.
        """
        from warcio.statusandheaders import StatusAndHeaders

        host, _, path = url.split("//", 1)[1].partition("/")
        request = StatusAndHeaders(
            f"GET /{path} HTTP/1.1",
            [("Host", host), ("User-Agent", "sample-crawler")],
            is_http_request=True,
        )
        self._write(url, "request", b"", request, date=date)
        fields = [("Content-Type", f"{mime}; charset={charset}" if charset else mime)]
        if location:
            fields.append(("Location", location))
        fields.append(("Content-Length", str(len(body))))
        response = StatusAndHeaders(
            "301 Moved Permanently" if location else "200 OK", fields, protocol="HTTP/1.1"
        )
        extra = {"WARC-Identified-Payload-Type": mime}
        return self._write(url, "response", body, response, extra=extra, date=date)
