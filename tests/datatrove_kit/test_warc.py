"""WARC files and pages: what is a page, its characters, and files that were cut or garbled."""

from __future__ import annotations

import gzip
import io
import json
import random
import zlib
from pathlib import Path

import brotli
import lxml.html
import pytest
from backports import zstd
from datatrove.pipeline.readers import WarcReader
from loopback import Failure, Loopback
from test_readers import read, shown
from warcio.statusandheaders import StatusAndHeaders
from warcio.warcwriter import WARCWriter

from datatrove_kit.readers import HtmlReader, tolerant


def warc(
    body: bytes, headers="text/html; charset=utf-8", kind="response", mime="", **more
) -> bytes:
    """One WARC record, not compressed; ``headers`` of HTTP, or its Content-Type alone."""
    stream = io.BytesIO()
    fields = [("Content-Type", headers)] if isinstance(headers, str) else headers or [("A", "b")]
    http = StatusAndHeaders(more.pop("status", "200 OK"), fields, protocol="HTTP/1.1")
    record = WARCWriter(stream, gzip=False).create_warc_record(
        more.pop("url", "http://example.org/"),
        kind,
        payload=io.BytesIO(body),
        http_headers=http if kind in ("response", "request") else None,
        warc_headers_dict={"WARC-Identified-Payload-Type": mime} if mime else {},
        **more,
    )
    WARCWriter(stream, gzip=False).write_record(record)
    return stream.getvalue()


def page(text: str, head: str = '<meta charset="utf-8">') -> bytes:
    return f"<!DOCTYPE html><html><head>{head}</head><body><p>{text}</p></body></html>".encode()


def crawl(pages: int = 40) -> list[bytes]:
    """Records as a crawl has them: warcinfo, and for each page request, response and metadata."""
    chance = random.Random(3)
    records = [warc(b"software: test\r\n", kind="warcinfo", warc_content_type="text/plain")]
    for number in range(pages):
        text = f"Page {number} – größer: " + " ".join(chance.choices("abcdefgh北", k=300))
        url = f"http://example.org/{number}"
        records += [
            warc(b"", [("Host", "a")], "request", url=url),
            warc(page(text), mime="text/html" if number % 2 else "", url=url),
            warc(b"fetched: yes\r\n", kind="metadata", url=url, warc_content_type="text/plain"),
        ]
    return records


def is_page(record: bytes) -> bool:
    return b"WARC-Type: response" in record


def text_of(record: bytes) -> str:
    return record.split(b"\r\n\r\n", 2)[2].removesuffix(b"\r\n\r\n").decode()


def read_record(record: bytes, tmp_path: Path, **arguments):
    (tmp_path / "a.warc.gz").write_bytes(gzip.compress(record))
    return read(WarcReader(str(tmp_path)), tmp_path, **arguments)


# ---- Sound files -----------------------------------------------------------------------------


def test_the_same_documents_as_datatrove(tmp_path):
    records = crawl()
    content = b"".join(records)
    for name, packed in {
        "a.warc": content,
        "b.warc.gz": b"".join(map(gzip.compress, records)),
        "c.warc.gz": gzip.compress(content),
        "packed.warc": b"".join(map(gzip.compress, records)),
        "d.warc.zst": zstd.compress(content),
        "e.warc.gz": b"".join(
            gzip.compress(content[i : i + 999]) for i in range(0, len(content), 999)
        ),
    }.items():
        (tmp_path / name).write_bytes(packed)
    for arguments in ({}, {"limit": 50, "skip": 7}, {"default_metadata": {"a": 1}}):
        stock = WarcReader(str(tmp_path), **arguments)
        (reader,) = tolerant([stock], str(tmp_path / "r"))
        documents = list(reader())
        assert documents == list(stock())
        assert len(documents) == arguments.get("limit", 6 * 40)
        assert not any(
            account["damage"] or account["rejected"] for account in reader.accounts.values()
        )


def test_records_of_other_kinds_are_passed_over_or_counted(tmp_path):
    """As unknown types are, as the standard says; what has a payload is counted."""
    other = warc(page("no"), kind="response").replace(b"WARC-Type: response", b"WARC-Type: holiday")
    records = [
        warc(page("one")),
        other,
        warc(
            b"Just text, as a WET file has it.", kind="conversion", warc_content_type="text/plain"
        ),
        warc(page("two"), kind="resource", warc_content_type="text/html"),
        warc(b"\x00\x01", kind="resource", warc_content_type="image/png"),
        warc(b"HTTP/1.1 304 Not Modified\r\nA: b\r\n\r\n", kind="revisit"),
        warc(page("three")),
    ]
    documents, account, _ = read_record(b"".join(records), tmp_path)
    words = ["one", "Just text", "two", "three"]
    assert all(w in d.text for w, d in zip(words, documents, strict=True))
    assert account["skipped"] == {"not HTML: image/png": 1}
    assert account["damage"] == []


def test_a_record_of_more_than_2_gib_is_passed_over(tmp_path, monkeypatch):
    """Its bytes are nowhere held; tried with less, since 2 GiB take a while."""
    import resource

    from datatrove_kit.readers import readers as ours

    assert ours.LONGEST_RECORD == 2 << 30
    monkeypatch.setattr(ours, "LONGEST_RECORD", size := 200 << 20)
    before, after = warc(page("before")), warc(page("after"))
    begin = before.replace(b"Content-Length: %d" % _length(before), b"Content-Length: %d" % size)
    begin = begin[: begin.index(b"\r\n\r\n") + 4]
    with open(tmp_path / "a.warc", "wb") as stream:  # sparse
        stream.write(before + begin)
        stream.seek(size, io.SEEK_CUR)
        stream.write(b"\r\n\r\n" + after)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    documents, account, _ = read(WarcReader(str(tmp_path)), tmp_path)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak) << 10
    assert [d.text[-30:] for d in documents] == [text_of(r)[-30:] for r in (before, after)]
    assert account["skipped"] == {"a record of 2 GiB or more": 1}
    assert grown < 60 << 20


def _length(record: bytes) -> int:
    return int(record.partition(b"Content-Length: ")[2].split(b"\r\n")[0])


@pytest.mark.parametrize("keep", [True, False])
def test_other_statuses_are_counted_and_kept_or_not(keep, tmp_path):
    records = warc(page("well")) + warc(page("gone"), status="404 Not Found")
    records += warc(page("moved"), status="301 Moved") + warc(page("no"), status="404 Not Found")
    documents, account, _ = read_record(records, tmp_path, keep_errors=keep)
    assert len(documents) == (4 if keep else 1)
    where = account["noticed" if keep else "skipped"]
    assert where == {"HTTP status 404": 2, "HTTP status 301": 1}


PROLOG = b'<?xml version="1.0"?>\n<html xmlns="http://www.w3.org/1999/xhtml"><body>a</body></html>'
FRAGMENT = b"<p>Rain fell on the valley, and the mill stood still for a week.</p>\n<p>Then not.</p>"
TEXT = b"Rain fell on the valley, and the mill stood still for a week.\n"
PNG = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x00\x01\x00\x00\x00\x01\x08\x02\x00\x00\x00"


@pytest.mark.parametrize(
    ("record", "fate"),
    [
        (warc(PROLOG, "application/xhtml+xml"), None),
        (warc(PROLOG, "application/xml"), None),
        (warc(PROLOG, None), None),
        (warc(FRAGMENT, "TEXT/HTML;charset=x"), None),
        (warc(FRAGMENT, None), "not HTML: no type"),
        (warc(TEXT, "text/html"), None),
        (warc(TEXT, None, "conversion"), None),
        (warc(TEXT, None, "conversion", "text/plain"), None),
        (warc(FRAGMENT, "text/plain"), "not HTML: text/plain"),
        (warc(TEXT, None), "not HTML: no type"),
        (warc(b"<?xml version='1.0'?><rss><p>a</p></rss>", "text/xml"), "not HTML: text/xml"),
        (warc(PNG, "image/png"), "not HTML: image/png"),
        (warc(FRAGMENT, "text/html", mime="application/pdf"), "not HTML: application/pdf"),
        (warc(b"", "text/html"), "empty"),
        (warc(b"", "text/html", mime="text/html"), "empty"),
    ],
)
def test_what_is_a_page(record, fate, tmp_path):
    documents, account, _ = read_record(record, tmp_path)
    assert account["skipped"] == ({fate: 1} if fate else {})
    assert len(documents) == (not fate)
    assert list(WarcReader(str(tmp_path), glob_pattern="*.gz")()) in ([], documents)


# ---- The bytes of a page ---------------------------------------------------------------------

BODY = page("Rain fell, and then it did not. " * 20)
CODED = {
    "gzip": gzip.compress(BODY),
    "deflate": zlib.compress(BODY),
    "deflate, identity": zlib.compress(BODY),
    "br": brotli.compress(BODY),
    "zstd": zstd.compress(BODY),
    "gzip, br": brotli.compress(gzip.compress(BODY)),
    "BR": BODY,  # the archive has undone it
    "utf-8": BODY,
}


@pytest.mark.parametrize("chunked", [True, False])
@pytest.mark.parametrize("coding", CODED)
def test_content_codings(coding, chunked, tmp_path):
    headers, body = [("Content-Type", "text/html"), ("Content-Encoding", coding)], CODED[coding]
    if chunked:
        headers.append(("Transfer-Encoding", "chunked"))
        body = b"".join(b"%x\r\n%s\r\n" % (len(p), p) for p in (body[:9], body[9:])) + b"0\r\n\r\n"
    documents, _, _ = read_record(warc(body, headers), tmp_path)
    assert documents[0].text == BODY.decode()


@pytest.mark.parametrize("coding", ["compress", "br", "zstd", "gzip", "deflate, x-gzip"])
def test_what_cannot_be_unpacked_is_rejected_by_name(coding, tmp_path):
    body = b"\x01\x9d\x90" + random.Random(1).randbytes(1000)
    headers = [("Content-Type", "text/html"), ("Content-Encoding", coding)]
    _, account, rejected = read_record(warc(body, headers) + warc(BODY), tmp_path)
    assert account["rejected"] == {f"compressed with {coding}, and cannot be decoded": 1}
    assert account["documents"] == 1
    assert rejected[0]["text"].endswith(shown(body))
    assert rejected[0]["url"] == "http://example.org/"
    assert rejected[0]["id"].startswith("<urn:uuid:")


RUSSIAN, JAPANESE, GERMAN = (
    "Мельница стояла у реки. ",
    "北の橋は古い橋より長い。",
    "Größe, Maß – “Mühle”. ",
)
HTML = "text/html"
CHARSETS = [
    # text, its charset, HTTP header, what the meta element says
    (RUSSIAN, "windows-1251", f"{HTML}; charset=windows-1251", ""),
    (RUSSIAN, "koi8-r", HTML, "koi8-r"),
    (RUSSIAN, "iso8859-5", f"{HTML}; charset=ISO-8859-5", "utf-8"),  # the header comes first
    (JAPANESE, "iso2022-jp", f"{HTML}; charset=ISO-2022-JP", ""),
    (JAPANESE, "shift_jis", HTML, "Shift_JIS"),
    (JAPANESE, "euc-jp", f'{HTML};charset="EUC-JP"', ""),
    ("模型", "gbk", HTML, "gbk"),
    (GERMAN, "cp1252", HTML, "iso-8859-1"),  # which browsers take for windows-1252
    (GERMAN, "utf-16-le", f"{HTML}; charset=utf-16", ""),
    (GERMAN, "utf-16-be", f"{HTML}; charset=utf-16be", ""),
    (GERMAN, "utf-16", HTML, ""),  # with a BOM
    (GERMAN, "utf-8", HTML, "utf-16"),  # a meta element that can be read is in no UTF-16
    (GERMAN, "utf-8", f"{HTML}; charset=iso-8859-1", ""),  # clean UTF-8 stays
    (JAPANESE, "utf-8", f"{HTML}; charset=gbk", ""),
    (GERMAN, "utf-8", HTML, "shift_jis"),
    ("a – b", "utf-8", f"{HTML}; charset=euc-jp", ""),
    (GERMAN, "utf-8", f"{HTML}; charset=hex", "none"),
    (RUSSIAN, "windows-1251", HTML, ""),  # a guess, as DataTrove's
    (GERMAN, "cp1252", f"{HTML}; charset=utf-8", ""),  # all of it is not UTF-8
]


@pytest.mark.parametrize(("text", "charset", "header", "meta"), CHARSETS)
def test_charsets(text, charset, header, meta, tmp_path):
    """Of pages in a WARC file, and of HTML files, which have no header."""
    head = f'<meta charset="{meta}">' if meta else ""
    html = page(text * 20, head).decode()
    documents, _, _ = read_record(warc(html.encode(charset), header, mime=HTML), tmp_path)
    assert documents[0].text == html
    if header == HTML:
        (tmp_path / "html").mkdir()
        (tmp_path / "html" / "a.html").write_bytes(html.encode(charset))
        documents, _, _ = read(HtmlReader(str(tmp_path / "html")), tmp_path)
        assert (documents[0].text, documents[0].metadata["url"]) == (html, "a.html")


#: Clean UTF-8 as well, which Python says for each.
FEW = [("模学小目", "gbk"), ("小目", "gb2312"), ("函与", "euc-jp"), ("口口", "euc-kr")]


@pytest.mark.parametrize(("text", "charset"), FEW)
def test_a_few_bytes_that_look_like_utf8(text, charset, tmp_path):
    """In a charset of East Asia they are what the page says, as in browsers."""
    html = page(text, f'<meta charset="{charset}">').decode().encode(charset)
    assert html.decode("utf-8") != html.decode(charset)
    documents, _, _ = read_record(warc(html, HTML), tmp_path)
    assert documents[0].text == html.decode(charset)


@pytest.mark.parametrize("declared", [True, False])
@pytest.mark.parametrize("stray", [b"\xe9", b"\xa320", b"\xff\xfe\x80", b"\xe2\x80"])
def test_a_stray_byte_costs_itself(stray, declared, tmp_path):
    text = f"{GERMAN} it’s “so”; "
    body = page(text * 8, '<meta charset="utf-8">' if declared else "").replace(b"</p>", stray)
    documents, account, _ = read_record(warc(body, HTML), tmp_path)
    assert documents[0].text == body.decode("utf-8", "replace")
    assert documents[0].text.count(text) == 8
    assert account["rejected"] == {}


def test_an_address_that_is_not_utf8(tmp_path):
    record = warc(BODY, url="http://example.org/X").replace(b"org/X", "org/größe".encode())
    documents, _, _ = read_record(record + record.replace(b"\xc3\xb6", b"\xf6"), tmp_path)
    urls = ["http://example.org/größe", "http://example.org/gr\\xf6ße"]
    assert [document.metadata["url"] for document in documents] == urls


def test_a_page_in_no_charset(tmp_path):
    body = random.Random(4).randbytes(3000)
    _, account, rejected = read_record(warc(body, HTML), tmp_path)
    assert account["rejected"] == {"unknown charset": 1}
    assert rejected[0]["text"] == shown(body)


def test_text_nested_too_deeply_is_noticed(tmp_path):
    """Exactly where lxml loses it: tags without an end do not count, nor do void elements."""
    bodies = ["<div>" * n + "deep" + "</div>" * n for n in (10, 200, 250, 260, 400)]
    bodies += ["<p>deep" * 400, "<br>deep" * 400, "<ul><li>" * 200 + "deep"]
    bodies += ["<b><i>" * 130 + "deep"]
    bodies += ["<img src=a>" * 300 + "deep", "<span>deep</span>" * 400, "<li>deep" * 300]
    lost = 0
    for number, body in enumerate(bodies):
        html = f"<html><body>{body}</body></html>"
        there = lxml.html.document_fromstring(html).text_content().count("deep")
        is_lost = there < body.count("deep")
        lost += is_lost
        _, account, _ = read_record(warc(html.encode(), HTML), tmp_path)
        assert bool(account["noticed"]) == is_lost, (number, there)
    assert lost == 4
    (tmp_path / "html").mkdir()
    (tmp_path / "html" / "a.html").write_text("<i>" * 300 + "deep")
    _, account, _ = read(HtmlReader(str(tmp_path / "html")), tmp_path)
    assert sum(account["noticed"].values()) == 1


# ---- Files that were cut or garbled ----------------------------------------------------------


@pytest.mark.parametrize("packed", ["plain", "members", "one member", "zstd"])
def test_a_warc_that_was_cut(packed, tmp_path):
    """Every page before the cut comes out, and the cut is told wherever it can be seen."""
    records = crawl(12)
    parts = {
        "plain": records,
        "members": list(map(gzip.compress, records)),
        "one member": [gzip.compress(b"".join(records))],
        "zstd": [zstd.compress(b"".join(records))],
    }[packed]
    content = b"".join(parts)
    ends = [sum(map(len, parts[: i + 1])) for i in range(len(parts))]
    suffix = {"plain": "", "zstd": ".zst"}.get(packed, ".gz")
    chance, cuts = random.Random(1), set(ends[:5])
    cuts |= {chance.randrange(1, len(content)) for _ in range(60)}
    if packed == "plain":  # anywhere in the headers of a page
        cuts |= set(range(ends[4] + 1, ends[4] + 500, 3))
    for cut in sorted(cuts - {len(content)}):
        (tmp_path / f"a.warc{suffix}").write_bytes(content[:cut])
        documents, account, rejected = read(WarcReader(str(tmp_path)), tmp_path)
        if len(parts) > 1:
            tail = 4 if packed == "plain" else 12  # no page, but blank lines or a checksum
            found = list(zip(records, ends, strict=True))
            certain = [text_of(r) for r, e in found if e <= cut and is_page(r)]
            whole = [text_of(r) for r, e in found if e - tail <= cut and is_page(r)]
            assert [d.text for d in documents] in (certain, whole), cut
            told = not any(e - (4 if packed == "plain" else 0) <= cut <= e for e in ends)
        else:
            texts = [text_of(r) for r in records if is_page(r)]
            assert [d.text for d in documents] == texts[: len(documents)]
            told = True
        assert len(account["damage"]) == told, cut
        assert not told or f"byte {cut}" in account["damage"][0]
        assert set(account["rejected"]) <= {"cut short"}
        assert all(kept["url"].startswith("http://example.org/") for kept in rejected)


def test_what_follows_the_last_member_costs_no_page(tmp_path):
    records = crawl(12)
    whole = [text_of(record) for record in records if is_page(record)]
    for tail in (b"garbage", b"\n", b"\x1f", b"\r\n\r\n", b"\0" * 100 + b"x"):
        (tmp_path / "a.warc.gz").write_bytes(b"".join(map(gzip.compress, records)) + tail)
        documents, account, _ = read(WarcReader(str(tmp_path)), tmp_path)
        assert [document.text for document in documents] == whole, tail
        assert len(account["damage"]) == 1 and not account["rejected"], tail


def test_a_warc_that_is_garbled(tmp_path):
    """What comes out is before the damage and as it was, and the damage is told."""
    records = crawl(12)
    whole = [text_of(record) for record in records if is_page(record)]
    parts = list(map(gzip.compress, records))
    content = b"".join(parts)
    for seed in range(60):
        chance = random.Random(seed)
        begin = chance.randrange(len(content))
        size = min(chance.choice([1, 2, 30, 1000]), len(content) - begin)
        put = chance.choice([size, size, 0, size + 100])
        noise = chance.choice([chance.randbytes(put), bytes(put), b"\r\n" * (put // 2)])
        (tmp_path / "a.warc.gz").write_bytes(content[:begin] + noise + content[begin + size :])
        documents, account, _ = read(WarcReader(str(tmp_path)), tmp_path)
        assert [d.text for d in documents] == whole[: len(documents)], seed
        if len(documents) < len(whole):
            assert account["damage"] or account["rejected"], seed
        end, before = 0, 0
        for record, part in zip(records, parts, strict=True):
            end += len(part)
            before += is_page(record) and end <= begin
        assert len(documents) >= before - 1, seed


@pytest.mark.parametrize("wrong", [b"9%d", b"1", b"-5", b"x", b"", b"%d0000"])
def test_a_length_that_is_wrong(wrong, tmp_path):
    """The pages before come out, and the one with the wrong length does not."""
    records = crawl(12)
    bad = records[14]
    length = _length(bad)
    wrong = wrong % length if b"%" in wrong else wrong
    records[14] = bad.replace(b"Content-Length: %d" % length, b"Content-Length: " + wrong, 1)
    (tmp_path / "a.warc").write_bytes(b"".join(records))
    documents, account, _ = read(WarcReader(str(tmp_path)), tmp_path)
    assert [d.text for d in documents] == [text_of(r) for r in records[:14] if is_page(r)]
    assert len(account["damage"]) == 1
    assert "byte " in account["damage"][0]


def test_a_broken_connection_is_no_damage(tmp_path, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    for name, chunked in (("a.warc", False), ("a.warc.gz", False), ("a.warc.gz", True)):
        content = b"".join(crawl()) * 75
        content = gzip.compress(content, 1) if name.endswith("gz") else content
        with Loopback({f"/{name}": content}) as host:
            host.failures[f"/{name}"] = Failure(break_at=len(content) - 3000, chunked=chunked)
            (tmp_path / "paths.txt").write_text(f"{name}\n")
            stock = WarcReader(host.url, paths_file=str(tmp_path / "paths.txt"))
            (reader,) = tolerant([stock], str(tmp_path / "r"))
            with pytest.raises(Exception, match=r"(?i)payload|connect"):
                list(reader())
            account = reader.accounts[name]
            assert (account["to_end"], account["damage"]) == (False, [])
            assert json.dumps(account)
