"""The exercises of lesson 08: a step, its place and its cost; columns of Parquet files."""

from __future__ import annotations

import gzip
import json
import random
from collections import Counter
from pathlib import Path
from urllib.parse import urlsplit

from . import Exercise, Findings, Ran, Unreadable, Verdict, count, documents, records

WITHDRAWN = ("archive.example.net", "letters.example.com")
GONE_HOSTS = (
    *WITHDRAWN,
    "www.archive.example.net",
    "old.letters.example.com",
    "Archive.example.net",
)
OTHER_HOSTS = ("news.example.org", "myarchive.example.net", "example.com", "paper.example.org")
COLUMNS = ("text", "id", "url", "license", "author")
#: A kind of page, how often it is there, and whether its copies stand on hosts that have withdrawn.
PAGES = (
    ("good", 60, [False]),
    ("good", 15, [True]),
    ("good", 30, [True, False]),
    ("good", 10, [False, False]),
    ("heap", 15, [False]),
    ("heap", 12, [True]),
)


def write_shards(data: Path, texts: list[dict], shards: int = 4) -> None:
    for shard in range(shards):
        with gzip.open(data / f"pages-{shard:05d}.jsonl.gz", "wt", encoding="utf-8") as lines:
            for text in texts[shard::shards]:
                lines.write(json.dumps(text, ensure_ascii=False) + "\n")


def make_crawl(data: Path, out: Path) -> None:
    """Good pages and heaps of search words, some with a copy on another host.

    An id is ``good-017-a``: kind, page and copy.
    """
    from examples_common.samples.articles import articles

    rng, texts = random.Random("08a"), []
    good = (article.text for article in articles("en"))
    goods = ("kettle", "mattress", "scooter", "lamp", "offer", "discount", "voucher", "delivery")
    pages = [(kind, gone) for kind, times, gone in PAGES for _ in range(times)]
    for number, (kind, copies) in enumerate(pages):
        text = next(good) if kind == "good" else " ".join(rng.choices(goods, k=120))
        for copy, gone in enumerate(copies):
            host = rng.choice(GONE_HOSTS if gone else OTHER_HOSTS)
            # Pages say in their address where they were found first.
            path = f"{rng.choice(('from/archive.example.net', 'pages'))}/{number}"
            url = f"https://{host}{rng.choice(('', ':8080'))}/{path}"
            text = text if copy == 0 else text.replace(" ", "  ")
            texts.append({"text": text, "id": f"{kind}-{number:03d}-{'ab'[copy]}", "url": url})
    rng.shuffle(texts)
    write_shards(data, texts)


def is_withdrawn(url: str) -> bool:
    host = urlsplit(url).hostname
    return any(host == one or host.endswith("." + one) for one in WITHDRAWN)


#: Which addresses another test takes for withdrawn, and what to say to its author.
MISREADINGS = [
    (
        lambda url: urlsplit(url).hostname in WITHDRAWN,
        "Hosts below a withdrawn one, such as www.archive.example.net, are withdrawn, too.",
    ),
    (
        lambda url: urlsplit(url).hostname.endswith(WITHDRAWN),
        "myarchive.example.net is no host below archive.example.net: mind the dot.",
    ),
    (
        lambda url: any(one in url for one in WITHDRAWN),
        "Compare the host alone: an address may name another host in its path.",
    ),
    (
        lambda url: any(one in urlsplit(url).netloc for one in WITHDRAWN),
        "Compare whole names: a host withdraws the hosts that end with a dot and its own name.",
    ),
]


def page(identity: str) -> str:
    return identity.rpartition("-")[0]


def judge_withdrawn(data: Path, out: Path, ran: Ran) -> Verdict:
    said, read = Findings(), {record["id"]: record["url"] for record in records(data)}
    gone = {identity for identity, url in read.items() if is_withdrawn(url)}
    if not list(out.glob("removed/withdrawn/*")):
        said.wrong(f"OUT/removed/withdrawn holds nothing; {count(len(gone))} should go there.")
        return said.verdict()
    found = [document["id"] for document in documents(out / "removed/withdrawn")]
    dropped, dataset = set(found), [document["id"] for document in documents(out / "dataset")]
    if not judge_hosts(read, gone, dropped, out, said):
        return said.verdict()  # what is wrong behind this step follows from it
    kept = Counter(page(identity) for identity in dataset)
    wanted = {page(i) for i in read if i not in gone and i.startswith("good")}
    if lost := wanted - kept.keys():
        said.wrong(
            f"OUT/dataset lacks {count(len(lost), 'page')} of {len(wanted)} that another host "
            "still has: MinHash had kept the withdrawn copy of them. Which step must come first?"
        )
    if strange := kept.keys() - wanted:
        said.wrong(
            f"OUT/dataset holds {count(len(strange), 'page')} too many, such as {min(strange)}."
        )
    if twice := kept.total() - len(kept):
        said.wrong(f"OUT/dataset holds {count(twice, 'page')} twice.")
    if said.solved:
        said.right(
            f"{count(len(gone))} withdrawn; OUT/dataset holds the {count(len(wanted), 'page')}."
        )
    judge_cost(out, len(found), said)
    return said.verdict()


def judge_hosts(read: dict, gone: set, dropped: set, out: Path, said: Findings) -> bool:
    """Compare what was dropped as withdrawn with what is; what another step took away is late.

    Returns whether the step took each document that it saw for what it is.
    """
    elsewhere = {
        document["id"]
        for folder in ("quality", "minhash")
        if list(out.glob(f"removed/{folder}/*"))
        for document in documents(out / "removed" / folder)
    }
    seen = read.keys() - (elsewhere - dropped)
    if missing := gone & seen - dropped:
        said.wrong(
            f"{count(len(missing))} of withdrawn hosts did not go, such as {read[min(missing)]}"
        )
    if strange := dropped - gone:
        said.wrong(
            f"{count(len(strange))} went whose host still offers them, such as {read[min(strange)]}"
        )
    if missing or strange:
        for test, sentence in MISREADINGS:
            if dropped == {identity for identity in seen if test(read[identity])}:
                said.wrong(sentence)
        return False  # a page that it missed may have gone to another filter, wherever it stands
    if late := gone & elsewhere:
        said.wrong(
            f"{count(len(late))} of withdrawn hosts reached another filter first: the step needs "
            "no text, so it can stand before all steps that do."
        )
    return True


def judge_cost(out: Path, dropped: int, said: Findings) -> None:
    """Compare OUT/cost.json with the statistics of the step that dropped as many documents."""
    wanted = '{"dropped": documents, "seconds": of all tasks together}'
    try:
        cost = json.loads((out / "cost.json").read_text(encoding="utf-8"))
        told, seconds = int(cost["dropped"]), float(cost["seconds"])
    except FileNotFoundError:
        said.wrong(f"There is no OUT/cost.json yet: {wanted}")
        return
    except (ValueError, KeyError, TypeError) as error:
        raise Unreadable(f"OUT/cost.json should hold {wanted}; {error!r}") from error
    if told != dropped:
        said.wrong(
            f"OUT/cost.json says {count(told)} dropped; OUT/removed/withdrawn has {dropped}."
        )
    times = [
        step["time_stats"]
        for file in out.glob("logs/*/stats.json")
        for step in json.loads(file.read_text(encoding="utf-8"))
        if step["stats"].get("dropped") == dropped
    ]
    if not times:
        said.wrong(
            "No step in OUT/logs/*/stats.json dropped as many: a filter counts what it drops."
        )
    elif not any(abs(seconds - time["total"]) <= 0.02 * time["total"] + 1e-6 for time in times):
        said.wrong(
            f"OUT/cost.json says {seconds:.6f} seconds; by the statistics the step took "
            f"{times[0]['total']:.6f} in all tasks together."
        )
        if any(abs(seconds - time["mean"]) <= 0.02 * time["mean"] for time in times):
            said.wrong("That is the mean for one document: `mean`, not `total`.")
    elif told == dropped:
        said.right(f"The step cost {seconds:.4f} seconds, and {count(told)}.")


def make_licensed(data: Path, out: Path) -> None:
    """Documents of which some have a license, an author or both; the first ones of files do not."""
    from examples_common.samples.articles import articles

    rng, texts = random.Random("08b"), []
    for number, article in enumerate(articles("en")[:100]):
        url = f"https://press.example.org/{article.slug}"
        texts.append({"text": article.text, "id": f"press-{number:03d}", "url": url})
        if number % 4 > 1 or number == 1:
            texts[-1]["license"] = rng.choice(("CC-BY-4.0", "CC0-1.0", "CC-BY-SA-3.0"))
        if number % 3 == 0 and number > 0:
            texts[-1]["author"] = article.author
    write_shards(data, texts, 2)


def judge_columns(data: Path, out: Path, ran: Ran) -> Verdict:
    import pyarrow.parquet as pq

    said, read = Findings(), {record["id"]: record for record in records(data)}
    files = sorted((out / "dataset").glob("*.parquet"))
    if not files:
        raise Unreadable("OUT/dataset holds no Parquet files.")
    rows = []
    for file in files:
        table = pq.read_table(file)
        if lacking := [name for name in COLUMNS if name not in table.column_names]:
            said.wrong(f"{file.name} has no column {' and no column '.join(lacking)}.")
        rows += table.to_pylist()
    found = {row.get("id"): row for row in rows}
    if missing := read.keys() - found.keys():
        said.wrong(
            f"OUT/dataset lacks {count(len(missing))} of {len(read)}, such as {min(missing)}."
        )
    if len(rows) > len(found) or found.keys() - read.keys():
        said.wrong(f"OUT/dataset has {len(rows)} rows, and the input {count(len(read))}.")
    for name in COLUMNS:
        there = found.keys() & read.keys()
        has = [identity for identity in there if name in read[identity]]
        lost = sum(found[identity].get(name) != read[identity][name] for identity in has)
        if lost:
            said.wrong(
                f"{name}: {lost} of {len(has)} documents that have one lack it, or have another."
            )
        else:
            said.right(f"{name}: as in the input for all {len(has)} documents that have one.")
        invented = {
            repr(found[identity][name])
            for identity in there - set(has)
            if found[identity].get(name) is not None
        }
        if invented:
            said.wrong(f"{name}: where the input has none, there is {min(invented)} and no null.")
    return said.verdict()


EXERCISES = [
    Exercise(
        "08a",
        "a step for withdrawn pages, its place and its cost",
        "write",
        [
            "LambdaFilter takes a function and an exclusion writer. The address is in "
            'doc.metadata["url"]; urllib.parse.urlsplit(url).hostname is its host.',
            "Two of a kind: MinHash keeps one of the copies, and does not know which is withdrawn. "
            "So the step stands before it, and before all that reads text.",
            "logs/base/stats.json is a list with an entry for each step, in their order. Look at "
            '["stats"]["dropped"] and ["time_stats"]["total"] of the new one.',
        ],
        judge_withdrawn,
        prepare=make_crawl,
    ),
    Exercise(
        "08b",
        "columns that some files have lost",
        "mend",
        [
            "Which columns has each file? python -c 'import pyarrow.parquet as pq, sys; "
            "print(pq.read_schema(sys.argv[1]))' FILE",
            "Look at the first document of each input file. What does it have, and what not?",
            "ParquetWriter takes schema=pyarrow.schema([(name, pyarrow.string()), ...]).",
        ],
        judge_columns,
        prepare=make_licensed,
    ),
]
