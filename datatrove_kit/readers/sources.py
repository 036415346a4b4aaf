"""Where a lesson's documents come from: the sample, two public data sets, or the reader's own."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from gzip import BadGzipFile, GzipFile
from pathlib import Path

from datatrove.io import get_datafolder
from fsspec.compression import register_compression

from datatrove_kit.errors import KitError
from examples_common.samples import sample

SUFFIXES = {
    "jsonl": tuple(
        f".{name}{packed}" for name in ("jsonl", "json") for packed in ("", ".gz", ".zst")
    ),
    "parquet": (".parquet",),
    "warc": (".warc", ".warc.gz"),
    "html": (".html", ".htm", ".xhtml"),
}
#: First shard of allenai/c4 en: 356,317 documents in 319 MB (as listed on the Hub).
C4 = ("hf://datasets/allenai/c4/en", "c4-train.00000-of-01024.json.gz")
C4_LIMIT = 1000
#: First WARC of CC-MAIN-2024-22, about 1 GB; COMMONCRAWL_ENDPOINT names another host.
COMMONCRAWL = (
    "crawl-data/CC-MAIN-2024-22/segments/1715971057216.39/warc",
    "CC-MAIN-20240517233122-20240518023122-00000.warc.gz",
)
COMMONCRAWL_LIMIT = 200
#: Lists of what a folder holds, and what their lines give besides a name: `wc -c` or
#: `stat -c '%s  %n'` print sizes, md5sum and sha256sum print sums.
LISTS = {
    "SIZES": (r"\d+", "bytes"),
    "MD5SUMS": (r"[0-9a-fA-F]{32}", "md5 in hex"),
    "SHA256SUMS": (r"[0-9a-fA-F]{64}", "sha256 in hex"),
}
OFFLINE = "Without a network, run on the sample: leave out --source."


class WholeGzipFile(GzipFile):
    """A gzip file whose early end is an error for everyone.

    warcio takes EOFError for the regular end of a WARC; a file that was cut inside the headers of a
    record would lose the rest in silence.
    """

    def read(self, size: int | None = -1) -> bytes:
        try:
            return super().read(size)
        except EOFError as error:
            raise BadGzipFile(str(error)) from error


# What fsspec, and with it every DataTrove reader, opens .gz files with.
register_compression("gzip", lambda f, **kwargs: WholeGzipFile(fileobj=f, **kwargs), "gz", True)


@dataclass
class Input:
    """The files that a run reads.

    Attributes:
        source: as the reader gave it.
        format: jsonl, parquet, warc or html.
        folder: what the DataTrove reader takes as ``data_folder``.
        files: names relative to ``folder``, sorted, each with its size in bytes (-1 if unknown).
        limit: documents to read at most, -1 for all.
        ignored: files in the folder that no lesson of this kind reads.
        checksums: by file name the sha256 or md5, in hex, from a list in the folder.
    """

    source: str
    format: str
    folder: str
    files: dict[str, int]
    limit: int = -1
    ignored: list[str] = field(default_factory=list)
    checksums: dict[str, str] = field(default_factory=dict)

    @property
    def is_local(self) -> bool:
        return get_datafolder(self.folder).is_local()

    def urls(self) -> list[str]:
        """Full paths or URLs of the files."""
        return [f"{self.folder.rstrip('/')}/{name}" for name in self.files]


def _format_of(name: str, formats: tuple[str, ...]) -> str | None:
    return next((f for f in formats if name.lower().endswith(SUFFIXES[f])), None)


def _check_lists(
    folder: str, lists: Iterable[str], format: str, files: dict[str, int], whole: bool
) -> dict[str, str]:
    """Compare files with the lists in their folder; returns the checksums that are listed.

    Args:
        lists: names of LISTS that are there.
        files: by name the size in bytes, -1 if unknown.
        whole: whether ``files`` are all of the format in the folder.

    Raises KitError for a file that is missing or has another size, and for a list that is none.
    """
    checksums, wrong = {}, []
    for list_name in sorted(lists):
        pattern, meaning = LISTS[list_name]
        text = get_datafolder(folder).read_text(list_name, encoding="utf-8", errors="replace")
        for number, line in enumerate(text.splitlines(), 1):
            found = re.fullmatch(rf"\s*({pattern})(?: [ *]?|\t)(?:\./)?(.+)", line)
            if not found and line.strip():
                raise KitError(
                    f"line {number} of {folder}/{list_name} does not give {meaning} and a name: "
                    f"correct {list_name}, or take it away."
                )
            if not found or not _format_of(found[2], (format,)):
                continue
            value, name = found.groups()
            if name in files and list_name != "SIZES":
                checksums[name] = value.lower()
            elif name in files and files[name] not in (-1, None, int(value)):
                wrong.append(f"{name} has {files[name]} bytes, and {value} in {list_name}")
            elif name not in files and whole:
                wrong.append(f"{name} is in {list_name} and not in the folder")
    if wrong:
        more = f"; and {len(wrong) - 5} more" if len(wrong) > 5 else ""
        raise KitError(
            f"{folder} does not hold what its lists say: {'; '.join(wrong[:5])}{more}. Fetch these "
            "files again, or correct the list."
        )
    return checksums


def _remote_file(source: str, format: str, folder: str, name: str, limit: int) -> Input:
    """A single file on the network; one small request tells whether it is there."""
    url = f"{folder}/{name}"
    try:
        size = get_datafolder(folder).info(name).get("size") or -1
    except Exception as failure:
        # Over http, fsspec reports any failure as a missing file; its cause tells the truth.
        over_http = folder.startswith(("http://", "https://"))
        error = failure.__cause__ if over_http and failure.__cause__ else failure
        if isinstance(error, FileNotFoundError) or getattr(error, "status", None) == 404:
            raise KitError(f"{url} does not exist (404). {OFFLINE}") from failure
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        host = os.environ.get("HF_ENDPOINT", "") if folder.startswith("hf://") else ""
        via = f" through {host}" if host else ""
        raise KitError(f"{url} cannot be reached{via}: {reason}. {OFFLINE}") from failure
    return Input(source, format, folder, {name: size}, limit)


def find_input(
    source: str, sample_set: str, formats: tuple[str, ...], limit: int | None, docs: int | None
) -> Input:
    """Find the files behind ``--source``.

    Args:
        source: ``sample``, ``c4`` (lessons that read JSONL), ``commoncrawl`` (lessons that read
            WARC), or a path or URL of a file or folder.
        sample_set: which sample set is meant by ``sample``, and ``docs`` its size.
        formats: what the lesson reads, in order of preference.
        limit: documents to read; the network sources read 1000 or 200 unless told.

    Raises KitError when there is nothing to read, saying why and what to do.
    """
    if source == "sample":
        folder = sample(sample_set, docs)
        files = {p.name: p.stat().st_size for p in sorted(folder.iterdir())}
        return Input(source, formats[0], str(folder), files, limit or -1)
    if source == "c4" and "jsonl" in formats:
        return _remote_file(source, "jsonl", *C4, limit or C4_LIMIT)
    if source == "commoncrawl" and "warc" in formats:
        host = os.environ.get("COMMONCRAWL_ENDPOINT", "https://data.commoncrawl.org").rstrip("/")
        path, name = COMMONCRAWL
        return _remote_file(source, "warc", f"{host}/{path}", name, limit or COMMONCRAWL_LIMIT)

    wanted = ", ".join(s for f in formats for s in SUFFIXES[f])
    folder, _, name = source.rstrip("/").rpartition("/")
    if source.startswith(("http://", "https://")):
        format = _format_of(name, formats)
        if not format:
            raise KitError(f"{source} must be the URL of one file that ends in {wanted}.")
        return _remote_file(source, format, folder, name, limit or -1)
    if "://" not in source:
        path = Path(source).expanduser()
        if not source or not path.exists():
            known = "sample, c4" if "jsonl" in formats else "sample, commoncrawl"
            raise KitError(
                f"there is no {source!r}. --source takes {known}, or the path or URL of your files "
                f"({wanted})."
            )
        if path.is_file():
            format = _format_of(path.name, formats)
            if not format:
                raise KitError(f"{source} is not a file this lesson reads ({wanted}).")
            files = {path.name: path.stat().st_size}
            lists = [name for name in LISTS if (path.parent / name).is_file()]
            sums = _check_lists(str(path.parent), lists, format, files, whole=False)
            return Input(source, format, str(path.parent), files, limit or -1, checksums=sums)
        source_folder = str(path)
    else:
        source_folder = source
    try:
        listing = get_datafolder(source_folder).find("", detail=True)
    except Exception as error:
        raise KitError(f"{source} cannot be listed: {error}. {OFFLINE}") from error
    if "" in listing:  # the URL of a single file
        source_folder, listing = folder, {name: listing[""]}
    listing = {n: i["size"] for n, i in sorted(listing.items()) if i["type"] == "file"}
    by_format = {f: {n: s for n, s in listing.items() if _format_of(n, (f,))} for f in formats}
    format = next((f for f in formats if by_format[f]), None)
    if not format:
        raise KitError(f"{source} holds no file that ends in {wanted}.")
    files = by_format[format]
    ignored = [n for n in listing if n not in files and n not in LISTS]
    sums = _check_lists(source_folder, LISTS.keys() & listing.keys(), format, files, whole=True)
    return Input(source, format, source_folder, files, limit or -1, ignored, sums)
