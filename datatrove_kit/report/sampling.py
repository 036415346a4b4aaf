"""Texts and distributions of a run, drawn from a bounded part of its folders."""

from __future__ import annotations

import json
import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Container, Iterator
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import count
from typing import IO, Any, NamedTuple
from urllib.parse import urlsplit

import pyarrow.parquet as pq
from datatrove.io import DataFolder, get_datafolder

from datatrove_kit.report.duplicates import clusters
from datatrove_kit.report.marks import mark
from datatrove_kit.report.model import Cluster, Distribution, Pile, Step, Text, Tokens
from datatrove_kit.report.run import Output, Run
from datatrove_kit.report.tokens import find_tokenizer, in_tokens
from datatrove_kit.report.wording import several

#: Files and bytes (after decompression) that are read of all folders together, and of each folder
#: at most and at least.
ALL_FILES, MOST_FILES, LEAST_FILES = 1024, 32, 2
ALL_BYTES, MOST_BYTES, LEAST_BYTES = 256 << 20, 16 << 20, 1 << 18
#: A longer line is passed over.
LONGEST_LINE = 8 << 20
#: Texts for each reason, for all reasons together, and characters of each.
TEXTS, ALL_TEXTS, SHOWN = 5, 400, 5000
#: Fields of metadata, and characters of each.
FIELDS, VALUE = 30, 200
#: Left edges of the bins for lengths, five to a power of ten.
EDGES = [round(10 ** (k / 5)) for k in range(46)]
BARS = 10
#: Folders of duplicates, the largest, documents of each, and texts that are shown in tokens.
CLUSTER_FOLDERS, CLUSTERS, TOKENIZED = 4, 10, 3
TITLES = ("Characters of a document", "Language", "Domain")
SIDES = ("kept", "dropped")
#: Share of the documents that must have a value, for a chart.
LEAST_SHARE = 0.1


class Record(NamedTuple):
    """A document as it lies in a folder."""

    place: str  # file and line or row, seen from the folder of the run
    id: str
    text: str
    metadata: dict[str, Any]
    is_text: bool = True  # False for a record without one, of which the text is its JSON


@dataclass
class Reader:
    """Reads a bounded part of folders of documents, the same at each call.

    The files are those whose names have the smallest hashes with the seed, so that two runs meet in
    the same files.
    """

    run: Run
    seed: int
    files: int = 0
    of_files: int = 0
    documents: int = 0
    uncounted: int = 0  # documents that were found beyond what the statistics of a folder count
    faults: list[str] = field(default_factory=list)
    valued: Counter = field(default_factory=Counter)  # documents that have a value, by title

    def __post_init__(self):
        outputs = [*self.run.kept, *self.run.dropped]
        self.folders, self.counted = len(outputs), sum(output.documents for output in outputs)
        share = max(1, self.folders)
        self.most_files = max(LEAST_FILES, min(MOST_FILES, ALL_FILES // share))
        self.most_bytes = max(LEAST_BYTES, min(MOST_BYTES, ALL_BYTES // share))

    def read(self, output: Output) -> Iterator[Record]:
        """Documents of a folder; a file that cannot be read is named in ``faults``."""
        try:
            folder = get_datafolder(output.url)
            names = self._names(folder, output)
        except Exception as error:
            self.faults.append(f"{output.name} cannot be listed: {error!r}.")
            return
        self.of_files += len(names)
        chosen = sorted(names, key=lambda name: order(self.seed, name))[: self.most_files]
        left, before = self.most_bytes, self.documents
        for i, name in enumerate(chosen):
            self.files += 1
            place = f"{output.name}/{name}"
            size = left // (len(chosen) - i)
            try:
                with folder.open(name, "rb", compression="infer") as stream:
                    read = self._rows if name.endswith(".parquet") else self._lines
                    for at, record, taken in read(stream, size, place):
                        left -= taken
                        self.documents += 1
                        yield _record(f"{place} {at}", record)
            except Exception as error:
                self.faults.append(f"{place} cannot be read to its end: {error!r}.")
        self.uncounted += max(0, self.documents - before - output.documents)

    def _names(self, folder: DataFolder, output: Output) -> list[str]:
        found = folder.list_files() if folder.exists("") else []
        for inner in self.run.inner:
            if inner.startswith(f"{output.url}/"):
                prefix = inner.removeprefix(f"{output.url}/") + "/"
                found = [name for name in found if not name.startswith(prefix)]
        found = [name for name in found if not name.rpartition("/")[2].startswith(".")]
        likely = [name for name in found if re.search(r"\.(jsonl|parquet)", name)]
        return likely or [name for name in found if ".json" in name] or found

    def _lines(self, stream: IO[bytes], size: int, place: str) -> Iterator[tuple[str, Any, int]]:
        for number in count(1):
            line = stream.readline(LONGEST_LINE)
            if not line or size <= 0:
                return
            size -= len(line)
            long = len(line) == LONGEST_LINE
            while size > 0 and len(line) == LONGEST_LINE:
                line = stream.readline(LONGEST_LINE)
                size -= len(line)
            try:
                if long:
                    raise ValueError(f"more than {LONGEST_LINE >> 20} MB")
                if line.strip():
                    yield f"line {number}", json.loads(line), len(line)
            except ValueError as error:
                self.faults.append(f"{place} line {number} is passed over: {error}.")

    def _rows(self, stream: IO[bytes], size: int, place: str) -> Iterator[tuple[str, Any, int]]:
        with pq.ParquetFile(stream) as table:
            ends = [0]
            for group in range(table.num_row_groups):
                ends.append(ends[-1] + table.metadata.row_group(group).num_rows)
            groups = range(table.num_row_groups)
            for group in sorted(groups, key=lambda group: order(self.seed, f"{place} {group}")):
                number = ends[group]
                for batch in table.iter_batches(100, [group]):
                    taken = batch.nbytes // max(1, batch.num_rows)
                    for record in batch.to_pylist():
                        if size <= 0:
                            return
                        size -= taken
                        number += 1
                        yield f"row {number}", record, taken

    def saw_all(self) -> bool:
        return self.documents - self.uncounted == self.counted and not self.faults

    def said(self) -> list[str]:
        """How much was read, in sentences."""
        if not self.folders:
            return ["The run has no folder of documents: there are no texts to show."]
        there = self.counted + self.uncounted
        said = [
            f"{self.documents:,} of {several(there, 'document')} in "
            f"{several(self.folders, 'folder')} were looked at, in {self.files:,} of "
            f"{several(self.of_files, 'file')}."
        ]
        if len(self.run.kept) > 1:
            said.append("A document that is in several folders counts in each.")
        if self.documents < there or self.files < self.of_files:
            said.append(
                f"Of each folder at most {self.most_files} files are read, chosen by the seed "
                f"{self.seed}, and {self.most_bytes / 2**20:.3g} MB: the beginning of a file with "
                "lines, some row groups of a Parquet file."
            )
        return said

    def warnings(self) -> list[str]:
        """What was found that should not be, in sentences."""
        said = []
        if self.uncounted:
            said.append(
                f"The statistics count {several(self.uncounted, 'document')} fewer than the "
                "folders have: files of tasks that have saved no statistics, or of an earlier run."
            )
        more = [f"{len(self.faults) - BARS} more like these."] if len(self.faults) > BARS else []
        return [*said, *self.faults[:BARS], *more]


class Drawn:
    """The few records that come first in an order by chance, among all that were offered."""

    def __init__(self, seed: int, size: int):
        self.seed, self.size, self.found = seed, size, []

    def offer(self, record: Record) -> None:
        self.found.append((order(self.seed, record.place), record))
        if len(self.found) > 4 * self.size:
            self.records()

    def records(self) -> list[Record]:
        self.found = sorted(self.found, key=lambda found: found[0])[: self.size]
        return [record for _, record in self.found]


def order(seed: int, name: str) -> int:
    """A place in an order by chance, the same for the same seed and name."""
    digest = blake2b(f"{seed} {name}".encode(errors="replace"), digest_size=8).digest()
    return int.from_bytes(digest, "big")


def draw(
    run: Run, seed: int
) -> tuple[list[tuple[str, Pile]], list[Distribution], list[str], list[str]]:
    """Put a few texts in each pile of a run.

    Returns the piles of kept documents, distributions, how the texts were drawn, and warnings.
    """
    reader, counts = Reader(run, seed), {"kept": Counter(), "dropped": Counter()}
    steps = [step for stage in run.stages for step in stage.steps]
    kept = [(output.name, Pile("", output.documents)) for output in run.kept]
    piles = [*(pile for _, pile in kept), *(pile for step in steps for pile in step.piles)]
    texts = max(1, min(TEXTS, ALL_TEXTS // max(1, len(piles))))
    for pile in piles[ALL_TEXTS:]:
        pile.missing = f"The page shows texts of {ALL_TEXTS} reasons and folders alone."
    for output, (_, pile) in zip(run.kept, kept, strict=True):
        counts["kept"].update(_look(reader, output, {None: (pile, None)}, texts))
    for output in run.dropped:
        counts["dropped"].update(_look(reader, output, owners(output), texts))
    written = [id(step) for output in run.dropped for step in output.steps]
    for step in steps:
        for pile in step.piles if id(step) not in written else []:
            pile.missing = "The step has no exclusion writer: nothing was written of these."
    said = reader.said()
    if reader.documents:
        said += [
            f"Texts are drawn by the seed {seed}: of each reason and of each folder of kept "
            f"documents at most {texts}, and of each text the first {SHOWN:,} characters.",
            "Lengths, languages and domains are of the documents that were looked at. Where a "
            "folder was read in part, they are scaled to its number of documents.",
        ]
    return kept, list(_distributions(reader, *counts.values())), said, reader.warnings()


def find_clusters(run: Run, seed: int) -> tuple[list[Cluster], list[str]]:
    """Some duplicates that a run removed with what it kept of them, and how many were looked at.

    Of each folder that a deduplication removed into, a few documents are compared with those that
    its stage kept.
    """
    found, said = [], []
    folders = [one for one in run.dropped if one.documents and one.steps[0].kind == "dedup"]
    for output in sorted(folders, key=lambda one: -one.documents)[:CLUSTER_FOLDERS]:
        few = _some(run, output, seed, CLUSTERS)
        reader = Reader(run, seed)
        beside = output.beside or run.kept
        kept = (record for one in beside for record in reader.read(one) if record.is_text)
        kind = "exact" if "Exact" in output.steps[0].name else "near"
        found += clusters(few, kept, shown, kind)
        said.append(
            f"{len(few)} of {several(output.documents, 'duplicate')} in {output.name} were "
            f"compared with {several(reader.documents, 'kept document')}."
        )
    return found, said


def in_pieces(run: Run, seed: int) -> list[Tokens]:
    """A few kept texts in tokens, if the run names a tokenizer that is on this machine."""
    steps = [step.settings for stage in run.stages for step in stage.steps]
    if not run.kept or not (tokenizer := find_tokenizer(steps, run.path)):
        return []
    few = _some(run, run.kept[0], seed, TOKENIZED)
    return [in_tokens(*tokenizer, shown(record), record.text) for record in few]


def _some(run: Run, output: Output, seed: int, size: int) -> list[Record]:
    drawn = Drawn(seed, size)
    for record in Reader(run, seed).read(output):
        if record.is_text:
            drawn.offer(record)
    return drawn.records()


def owners(output: Output) -> dict[str | None, tuple[Pile, Step | None]]:
    """Pile and step of the documents of a folder by their reason, which is None for those without.

    There is no step where several write into the folder and have the reason.
    """
    found: dict[str | None, tuple[Pile, Step | None]] = {}
    for step in output.steps:
        for pile in step.piles:
            reason = pile.reason if pile.given else None
            if reason in found:
                other, _ = found[reason]
                other.missing = pile.missing = (
                    f"Several steps write into {output.name} and drop for this reason: the texts "
                    "cannot be told apart."
                )
            found[reason] = (pile, step if not pile.missing else None)
    return found


def reason_of(record: Record, known: Container[str | None]) -> str | None:
    """Why a document was dropped, if that is one of the known reasons."""
    reason = record.metadata.get("filter_reason")
    return reason if isinstance(reason, str) and reason in known else None


def _look(
    reader: Reader, output: Output, known: dict[str | None, tuple[Pile, Step | None]], texts: int
) -> Counter:
    """Put texts in the piles of a folder; how many of its documents have a title and a value."""
    drawn = {key: Drawn(reader.seed, texts) for key, (pile, _) in known.items() if not pile.missing}
    counts: Counter = Counter()
    before, bare = reader.documents, 0
    for record in reader.read(output):
        values = list(_values(record))
        counts.update(values)
        reader.valued.update(title for title, _ in values)
        bare += not record.is_text
        if (reason := reason_of(record, known)) in drawn:
            drawn[reason].offer(record)
    looked = reader.documents - before
    for reason, found in drawn.items():
        pile, step = known[reason]
        pile.texts = [shown(record, reason, step) for record in found.records()]
        if not pile.texts and pile.documents:
            pile.missing = (
                f"None of {several(looked, 'document')} that were looked at in {output.name} is "
                "one of these."
            )
        if bare:
            pile.note = (
                f"{bare:,} of {several(looked, 'record')} that were looked at in {output.name} "
                "have no text: these are shown as JSON."
            )
    scale = max(1, output.documents / max(1, looked))
    return Counter({key: number * scale for key, number in counts.items()})


def shown(record: Record, reason: str | None = None, step: Step | None = None) -> Text:
    """What the page shows of a document, with what made it fall at a step."""
    fields = list(record.metadata.items())[:FIELDS]
    metadata = {_short(key): _short(value) for key, value in fields}
    text = Text(record.id, record.text[:SHOWN], len(record.text), record.place, metadata)
    if step and record.is_text:
        what = (reason or "", record.text, step.settings, record.metadata, SHOWN)
        try:
            text.marks, text.note = mark(*what)
        except Exception as error:  # of anybody's text, and of settings of anybody's filter
            text.note = f"What made it fall could not be measured: {error!r}."
    return text


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= VALUE else f"{text[: VALUE - 1]}…"


def _record(place: str, raw: Any) -> Record:
    """A document of DataTrove's layout, or of an adapter's; one without a text is its JSON."""
    fields = dict(raw) if isinstance(raw, dict) else {"document": raw}
    inner = fields.pop("metadata", None)
    text, is_text = fields.pop("text", None), True
    if not isinstance(text, str):
        text, is_text = json.dumps(raw, ensure_ascii=False, indent=1, default=str), False
    name = str(fields.pop("id", ""))
    metadata = {**fields, **(inner if isinstance(inner, dict) else {})}
    known = {key: value for key, value in metadata.items() if value is not None}
    return Record(place, name, text, known, is_text)


def _values(record: Record) -> Iterator[tuple[str, Any]]:
    """What is counted of a document, by the titles of the distributions."""
    if record.is_text:
        yield TITLES[0], EDGES[bisect_right(EDGES, max(1, len(record.text))) - 1]
    if language := record.metadata.get("language"):
        yield TITLES[1], str(language)
    if domain := _domain(record.metadata.get("url")):
        yield TITLES[2], domain


def _domain(url: Any) -> str:
    try:
        return (urlsplit(url).hostname or "").removeprefix("www.") if isinstance(url, str) else ""
    except ValueError:
        return ""


def _distributions(reader: Reader, *sides: Counter) -> Iterator[Distribution]:
    """Of kept and of dropped documents, from how many there are with a title and a value."""
    for title in TITLES:
        counts = [Counter({v: n for (t, v), n in side.items() if t == title}) for side in sides]
        both, valued = counts[0] + counts[1], reader.valued[title]
        if not both or valued < LEAST_SHARE * reader.documents:
            continue
        if title == TITLES[0]:
            keys = [edge for edge in EDGES if min(both) <= edge <= max(both)]
        else:
            keys = [key for key, _ in both.most_common(BARS)]
        bars = [{str(key): round(count[key]) for key in keys} for count in counts]
        if len(both) > len(keys):
            for bar, count in zip(bars, counts, strict=True):
                bar["others"] = round(count.total()) - sum(bar.values())
        about = []
        if valued < reader.documents:
            about.append(f"{valued:,} of {several(reader.documents, 'document')} have one.")
        about += [
            f"The chart is of {there} documents alone: no {side} one with a value was found."
            for side, there, count in zip(SIDES, SIDES[::-1], counts, strict=True)
            if not count
        ]
        kind = "histogram" if title == TITLES[0] else "bars"
        yield Distribution(title, kind, *bars, " ".join(about))
