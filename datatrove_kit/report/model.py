"""What a report shows, as plain data: sampling makes it, the page draws it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass
class Mark:
    """A piece of a text that made it fall: characters ``start`` to ``end``, and what it is."""

    start: int
    end: int
    label: str  # such as "repeated line"


@dataclass
class Text:
    """A document that was drawn from an output folder."""

    id: str
    text: str  # its first characters, as many as the page shows
    characters: int  # of the whole text
    place: str  # file and line or row, seen from the folder of the run
    metadata: dict[str, str]  # values as short text
    marks: list[Mark] = field(default_factory=list)
    note: str = ""  # what was measured, such as "41% of the characters are in repeated lines"


@dataclass
class Pile:
    """Documents with one fate at one step, and a few of them."""

    reason: str  # as DataTrove's statistics name it, without "dropped_"; "" for those kept
    documents: int  # of all tasks
    texts: list[Text] = field(default_factory=list)
    missing: str = ""  # why there is no text, in a sentence
    given: bool = True  # whether the documents have the reason in their metadata
    note: str = ""  # what else is to be said of the texts, in a sentence


@dataclass
class Step:
    """One step of a pipeline; numbers are sums over all tasks, None where it counts none."""

    name: str  # its class if it can be told, such as "GopherQualityFilter"
    kind: str  # reader, extractor, filter, dedup, writer, tokens, stats or other
    seconds: float | None  # None where nothing measured it
    got: int | None = None
    dropped: int | None = None
    kept: int | None = None
    characters: int | None = None  # of the documents it let pass
    tokens: int | None = None
    folder: str = ""  # of its output or of what it drops, seen from the folder of the run
    piles: list[Pile] = field(default_factory=list)  # one for each reason, largest first
    settings: dict[str, Any] = field(default_factory=dict)  # as executor.json has them


@dataclass
class Task:
    rank: int
    seconds: float
    file: str = ""  # the first input file of its log, if it names one


@dataclass
class Failure:
    """A task without completion that has a log."""

    rank: int
    error: str  # the last line of its last error; "" if the log has none
    log: str  # seen from the folder of the run


@dataclass
class Stage:
    """One executor: a folder with ``executor.json``."""

    name: str  # its logging folder, seen from the folder of the run
    tasks: int
    complete: int
    steps: list[Step]
    times: list[Task]  # of tasks that saved statistics, slowest first
    failed: list[Failure] = field(default_factory=list)  # a few, those with errors first


@dataclass
class Distribution:
    """How something is spread over kept and over dropped documents, scaled up from the sample."""

    title: str  # such as "Characters of a document"
    kind: str  # "histogram": keys are left edges of bins, equal steps of a log scale; or "bars"
    kept: dict[str, int]
    dropped: dict[str, int]
    about: str = ""  # how many documents have a value, and which side is missing, in sentences


@dataclass
class Cluster:
    """Duplicates: the document that was kept, and some of those that went for it."""

    kind: str  # "exact" or "near"
    removed: list[Text]
    kept: Text | None  # None if it was not among the documents that were looked at
    shared: float | None = None  # share of the first removed one's 5-word shingles in the kept one
    size: int | None = None  # of the whole cluster, if the run recorded it


@dataclass
class Tokens:
    """A kept text in the pieces that a tokenizer makes of it."""

    tokenizer: str
    text: Text
    pieces: list[tuple[int, int, int]]  # first character, end, id


@dataclass
class Moved:
    """Documents with another fate in a second run."""

    text: Text
    before: str  # "kept", or the step and reason that dropped it in the first run
    after: str


@dataclass
class Comparison:
    other: str  # folder of the second run, as it was given
    both: int  # documents that were found in the samples of both
    kept: list[Moved]  # dropped in the first run, kept in the second
    dropped: list[Moved]  # kept in the first, dropped in the second
    changed: list[Moved]  # dropped in both, by another reason
    settings: list[tuple[str, str, str]]  # arguments of steps that differ: name, first, second
    counts: list[tuple[str, int, int]]  # documents kept by each step, first and second
    #: how many moved in all, of which the lists show some: by "kept", "dropped", "changed"
    moved: dict[str, int] = field(default_factory=dict)
    complete: bool = False  # whether both runs were read to their end
    warnings: list[str] = field(default_factory=list)  # of the second run and its ids


@dataclass
class Report:
    """All of a page."""

    title: str
    folder: str  # as it was given: a page that is mailed does not tell where it was made
    stages: list[Stage]
    kept: list[tuple[str, Pile]]  # for each folder of final output its documents
    distributions: list[Distribution]
    clusters: list[Cluster]
    tokens: list[Tokens]
    sampling: list[str]  # how the texts were drawn, in sentences
    comparison: Comparison | None = None
    read: int | None = None  # documents of the input, each counted once, where that can be told
    facts: list[tuple[str, str]] = field(default_factory=list)  # such as ("finished", "2026-11-26")
    warnings: list[str] = field(default_factory=list)  # what makes numbers or texts incomplete
    in_part: bool = True  # whether the kept documents are a part of those that were read
