"""What a MinHash deduplication found, judged by the manifest, and what it makes of two texts."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path

from datatrove.pipeline.dedup import MinhashDedupSignature
from datatrove.pipeline.dedup.minhash import MinhashConfig

from .duplicates import documents
from .errors import LessonError
from .runs import Run
from .samples import JACCARD_TARGETS, jaccard, manifest
from .tables import save_chart

NO_CLUSTER = -1


def _cluster(doc) -> int:
    # A task that removes nothing does not name the clusters of its documents.
    return doc.metadata.get("minhash_cluster_id", NO_CLUSTER)


def largest_cluster(run: Run, most: int = 5) -> list[list]:
    """Documents of the largest cluster, the kept one first, with their similarity to it.

    Similarity is the Jaccard similarity of word 5-grams. Empty when there is no cluster.
    """
    kept = {_cluster(doc): doc for doc in documents(run.folder / "kept")}
    kept.pop(NO_CLUSTER, None)
    removed = defaultdict(list)
    for doc in documents(run.folder / "removed"):
        if _cluster(doc) in kept:
            removed[_cluster(doc)].append(doc)
    if not removed:
        return []
    largest = max(removed, key=lambda cluster: (len(removed[cluster]), -cluster))
    stays = kept[largest]
    rows = [[d.id, jaccard(stays.text, d.text), "removed"] for d in removed[largest][:most]]
    return [[stays.id, "", "kept"], *rows]


def judge(run: Run, probability: Callable[[float], float]) -> tuple[list[list], list[list]]:
    """Compare clusters and removed documents with what was planted.

    Args:
        probability: chance that two documents of a given Jaccard similarity match.

    Returns two tables. By planted similarity: pairs of a text and its variant; their mean
    similarity; the share found, that is in the same cluster, in percent; the share that theory
    expects, and two standard deviations of it in percentage points. By kind of document: how many
    were read, kept, removed, and removed for one that is no variant of the same text.
    """
    planted = {line["url"]: line for line in manifest(Path(run.data.folder))}
    found: dict[str, int] = {}
    fates, kinds, keepers = {}, defaultdict(Counter), {}

    def text_of(url: str) -> int | str:
        return planted[url].get("cluster", url)

    for fate in ("kept", "removed"):
        for doc in documents(run.folder / fate):
            url = doc.metadata["url"]
            found[url], fates[url] = _cluster(doc), fate
            if fate == "kept":
                keepers[found[url]] = text_of(url)
    for url, fate in fates.items():
        wrong = fate == "removed" and keepers.get(found[url]) != text_of(url)
        for kind in (planted[url]["kind"], "all"):
            kinds[kind].update({"read": 1, fate: 1, "wrong": wrong})

    bases = {line["cluster"]: url for url, line in planted.items() if line["kind"] == "base"}
    recall = []
    for target in JACCARD_TARGETS:
        pairs = [
            (line["jaccard"], found[url] == found[bases[line["cluster"]]] != NO_CLUSTER)
            for url, line in planted.items()
            if line.get("target") == target and url in found and bases[line["cluster"]] in found
        ]
        if pairs:
            n = len(pairs)
            chances = [probability(similarity) for similarity, _ in pairs]
            spread = 2 * sum(p * (1 - p) for p in chances) ** 0.5 / n
            mean = sum(similarity for similarity, _ in pairs) / n
            share = sum(hit for _, hit in pairs) / n
            recall.append(
                [target, n, mean] + [round(100 * x, 1) for x in (share, sum(chances) / n, spread)]
            )
    columns = ("read", "kept", "removed", "wrong")
    order = ("single", "base", "variant", "all")
    return recall, [[kind, *(kinds[kind][c] for c in columns)] for kind in order]


def draw_recall(path: Path, recall: list[list], probability: Callable[[float], float]) -> None:
    """Save a chart of the match probability by similarity, with the shares that were found."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4))
    axes = figure.subplots()
    similarities = [i / 200 for i in range(201)]
    axes.plot(similarities, [100 * probability(s) for s in similarities], label="expected")
    _, _, means, shares, _, spreads = zip(*recall, strict=True)
    axes.errorbar(means, shares, spreads, fmt="o", capsize=3, label="found")
    axes.set_xlabel("Jaccard similarity of word 5-grams")
    axes.set_ylabel("pairs in the same cluster, %")
    axes.legend(frameon=False)
    save_chart(figure, path)


def compare_texts(
    files: tuple[Path, Path], config: MinhashConfig, probability: Callable[[float], float]
) -> list[list]:
    """What MinHash sees in two text files, as the rows of a table.

    Shingles and signatures are DataTrove's own; its shingles are word n-grams of the text without
    case, punctuation and accents, and with every number as 0.

    Raises LessonError for a file that is no text, or shorter than one n-gram.
    """
    step = MinhashDedupSignature("unused", config)  # writes only when it runs
    shingles = []
    for file in files:
        try:
            shingles.append(step.get_shingles(file.read_text(encoding="utf-8")))
        except (OSError, UnicodeDecodeError) as error:
            raise LessonError(f"{file} cannot be read as text: {error}") from error
        if not shingles[-1].size:
            raise LessonError(
                f"{file} has fewer than {config.n_grams} words: it gets no signature, and the "
                "stages would keep it whatever it says."
            )
    first, second = (set(found.ravel().tolist()) for found in shingles)
    buckets = list(zip(*map(step.get_signature, shingles), strict=True))
    hashes = [x == y for a, b in buckets for x, y in zip(a, b, strict=True)]
    similarity = len(first & second) / len(first | second)
    common = [str(number) for number, (a, b) in enumerate(buckets) if a == b]
    return [
        ["shingles of the first", len(first)],
        ["shingles of the second", len(second)],
        ["shared", len(first & second)],
        ["true similarity", f"{similarity:.3f}"],
        [f"estimated by {len(hashes)} hashes", f"{sum(hashes) / len(hashes):.3f}"],
        ["probability of a match", f"{probability(similarity):.3f}"],
        ["buckets in common", " ".join(common) or "none"],
    ]
