"""The exercises of lesson 04: a question to merged statistics; a figure taken from the metadata."""

from __future__ import annotations

import gzip
import json
import math
import random
from pathlib import Path
from urllib.parse import urlsplit

from . import (
    Exercise,
    Findings,
    Ran,
    Unreadable,
    Verdict,
    content,
    differences,
    documents,
    id_of,
    records,
)

#: host: in each of two files (documents, bullet lines of ten lines in each document)
HOSTS = {
    "lists.example.org": ((12, 4), (18, 3)),  # the answer: 0.34
    "recipes.example.com": ((8, 6), (32, 0)),  # 0.12; the merged `mean` is 0.53
    "shop.example.net": ((60, 2), (60, 2)),  # most bullet lines in all: a total of 24
    "letters.example.org": ((20, 0), (20, 1)),
    "news.example.com": ((1, 2), (30, 1)),
    "odd.example.org": ((2, 3), (2, 3)),
}
BULLETS = "-*•"


def make_lists(data: Path, out: Path) -> None:
    """Documents of ten lines, of which some are bullets, from six hosts in two files."""
    from examples_common.samples.articles import sentences

    rng, lines = random.Random("04a"), sentences()
    for shard in range(2):
        pages = []
        for host, parts in HOSTS.items():
            number, bullets = parts[shard]
            for place in range(number):
                text = rng.sample(lines, 10)
                # As many more in one document as less in the next, so that the mean stays.
                more = bool(bullets) * (1 if place % 2 else -1) * (place < number // 2 * 2)
                for line in range(bullets + more):
                    text[line] = f"{rng.choice(BULLETS)} {text[line]}"
                rng.shuffle(text)
                pages.append({"text": "\n".join(text), "url": f"https://{host}/{shard}/{place}"})
        rng.shuffle(pages)
        with gzip.open(data / f"pages-{shard:05d}.jsonl.gz", "wt", encoding="utf-8") as stream:
            stream.writelines(json.dumps(page) + "\n" for page in pages)


def share_of_bullets(text: str) -> float:
    lines = text.split("\n")
    return sum(line.strip()[:1] in BULLETS for line in lines if line.strip()) / len(lines)


def merged_file(out: Path, name: str) -> dict:
    """A file of merged statistics; raises Unreadable where it is missing or no JSON object."""
    path = out / "merged" / name / "metric.json"
    if not path.exists():
        raise Unreadable(f"There is no merged/{name}/metric.json. Were the parts merged?")
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise Unreadable(f"merged/{name}/metric.json cannot be read: {error}") from error


def judge_bullets(data: Path, out: Path, ran: Ran) -> Verdict:
    shares: dict[str, list[list[float]]] = {}
    for record in records(data):
        files = shares.setdefault(urlsplit(record["url"]).netloc, [[], []])
        files[record["id"].startswith("pages-00001")].append(share_of_bullets(record["text"]))
    means = {host: sum(a + b) / len(a + b) for host, (a, b) in shares.items()}
    right = max(means, key=means.get)
    # What `mean` of a merged file says: a part without any bullet counts as one document.
    trusted = {
        host: sum(a + b) / sum(len(file) if sum(file) else 1 for file in (a, b))
        for host, (a, b) in shares.items()
    }
    totals = {host: sum(a + b) for host, (a, b) in shares.items()}
    said = Findings()
    merged_file(out, "fqdn/bullet_point_lines_ratio")
    said.right("OUT/merged holds the statistics by domain.")
    # DataTrove names a part by the rank of its task.
    ranks = {path.name for path in out.rglob("fqdn/bullet_point_lines_ratio/*.json")}
    if len(ranks - {"metric.json"}) == 1:  # none where the merge removed the parts
        said.wrong("The statistics were measured in one task; the exercise asks for two.")
    try:
        answer = json.loads((out / "answer.json").read_text(encoding="utf-8"))
        domain, share = str(answer["domain"]), float(answer["share"])
    except FileNotFoundError:
        said.wrong("There is no answer.json in the output folder.")
        return said.verdict()
    except (OSError, ValueError, TypeError, KeyError) as error:
        said.wrong(
            f"answer.json is not of the form that is asked for: {type(error).__name__} {error}"
        )
        return said.verdict()
    if domain == right:
        said.right(f"{domain} is right.")
        if not math.isclose(share, means[right], rel_tol=1e-6):
            said.wrong(f"Its share is {means[right]:.4f}, not {share:.4f}.")
        return said.verdict()
    if domain not in means:
        said.wrong(f"{domain} is none of the {len(means)} domains of the input.")
        return said.verdict()
    said.wrong(f"{domain} has a mean share of {means[domain]:.4f}; another domain has more.")
    if domain == max(trusted, key=trusted.get):
        files = [len(file) for file in shares[domain] if not sum(file)]
        said.wrong(
            f"The task that read {sum(files)} of its documents found no bullet, and the merged "
            "mean has forgotten these documents. What else counts the documents of a domain?"
        )
    elif domain == max(totals, key=totals.get):
        said.wrong("It has the most documents: divide the total by the number of documents.")
    return said.verdict()


def without_bullets(text: str) -> str:
    return "\n".join(line for line in text.split("\n") if not line.startswith("- "))


def judge_cleaned_lines(data: Path, out: Path, ran: Ran) -> Verdict:
    said, read, wanted, old = Findings(), records(data), [], {}
    for record in read:
        if text := without_bullets(record["text"]):
            wanted.append((record["id"], text))
            old[record["id"]] = record["text"].split("\n")
    kept = documents(out / "kept")
    if wrong := differences(wanted, map(content, kept), "kept/", id_of):
        if any("\n- " in f"\n{document['text']}" for document in kept):
            wrong.append("Texts in kept/ have bullet lines.")
        said.wrong(*wrong)
        return said.verdict()
    said.right(f"kept/ holds the {len(kept)} texts without their bullet lines.")
    if lost := sum(old[d["id"]] not in d["metadata"].values() for d in kept):
        said.wrong(f"{lost} documents in kept/ no longer have their old lines in the metadata.")
    figures = {
        "bullet_point_lines_ratio": [share_of_bullets(text) for _, text in wanted],
        "n_lines": [text.count("\n") + 1 for _, text in wanted],
    }
    before = {
        "bullet_point_lines_ratio": [share_of_bullets("\n".join(old[name])) for name, _ in wanted],
        "n_lines": [len(old[name]) for name, _ in wanted],
    }
    for name, values in figures.items():
        metric = merged_file(out, f"summary/{name}").get("summary")
        total = metric.get("total") if isinstance(metric, dict) else metric
        mean, right = (total or 0) / len(values), sum(values) / len(values)
        if math.isclose(mean, right, rel_tol=1e-6, abs_tol=1e-9):
            said.right(f"{name}: the mean is {right:.4f}, as in the texts.")
            continue
        said.wrong(f"{name}: merged/ says {mean:.4f} a document, the texts have {right:.4f}.")
        if math.isclose(mean, sum(before[name]) / len(values), rel_tol=1e-6):
            said.wrong("This is the figure of the old lines. Where does LineStats find them?")
        elif name == "n_lines" and total == sum(r["text"].count("\n") + 1 for r in read):
            said.wrong("This is the figure of the input: measure after the bullets are gone.")
    return said.verdict()


EXERCISES = [
    Exercise(
        "04a",
        "from merged statistics, the domain with the most bullet lines",
        "write",
        [
            "StatsMerger(parts, merged) in an executor of its own, with depends=measure. Then look "
            "into merged/fqdn: a folder for each figure, with a metric.json.",
            "MetricStatsDict.from_dict(json.loads(...)) reads a metric.json; its values have "
            "total, n and mean. A part without any bullet is a bare 0: its documents are not in n.",
            "Divide the total of bullet_point_lines_ratio by the n of n_lines.",
        ],
        judge_bullets,
        prepare=make_lists,
    ),
    Exercise(
        "04b",
        "statistics that are not those of the texts",
        "mend",
        [
            "The figures are those of the documents before they were cleaned. How does LineStats "
            "get at the old lines?",
            "Statistics believe the metadata. Which field does LineStats look for?",
        ],
        judge_cleaned_lines,
        sample="c4",
    ),
]
