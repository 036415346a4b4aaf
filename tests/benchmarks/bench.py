"""Benchmarks: every line a ratio against a named baseline, measured in the same run.

    python tests/benchmarks/bench.py [--full | --size N] [--only NAME] [--pages FOLDER]

Variants take turns, each run in a process of its own. The ratio is of processor time unless the
line says otherwise, which other jobs on the machine disturb least; the median of all pairs counts.
Results are checked as well: a faster step that gives other documents is an error.
"""

from __future__ import annotations

import json
import os
import platform
import sys
from datetime import date
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import cases
import typer
from harness import Line, alternate, median, ratios, run
from matplotlib.figure import Figure
from tabulate import tabulate

from examples_common.samples import build
from examples_common.samples.vocabularies import train

DATA, OUTPUT = Path("data/samples/bench"), Path("output/bench")
PACKAGES = ("datatrove", "trafilatura", "spacy", "tokenizers", "duckdb", "rensa", "datasketch")
#: Documents or pages of each benchmark: for a first look, and the sizes that are recorded.
SIZES = {
    "base": (200, 20_000),
    "signatures": (2_000, 20_000),
    "tokenizing": (2_000, 20_000),
    "exact": (20_000, 1_000_000),
    "guard": (5_000, 100_000),
    "scaling": (10_000, 100_000),
    "starting": (0, 0),  # bare runs, on the sample that they have
}


def built(name: str, docs: int, shards: int = 4) -> str:
    """A sample set of ``docs`` documents, built once."""
    folder = DATA / f"{name}-{docs}-{shards}"
    if not folder.exists():
        build(name, folder, docs, shards)
    return str(folder.resolve())


def same(what: str, *values) -> None:
    """Raises RuntimeError unless all values are equal."""
    if any(value != values[0] for value in values):
        raise RuntimeError(f"{what} differ: {[str(value)[:80] for value in values]}")


def tokenizing(docs: int, repeats: int) -> list[Line]:
    folder = built("c4", docs)
    tokenizer = str(OUTPUT.resolve() / "tokenizer.json")
    texts = (record["text"] for record in cases.texts(built("c4", 1_000)))
    train(list(texts), 8192, ["<|endoftext|>"]).save(tokenizer)
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # one core each
    found = alternate(
        repeats,
        alone=partial(run, cases.tokenize_alone, folder=folder, tokenizer=tokenizer),
        ours=partial(run, cases.tokenize, folder=folder, tokenizer=tokenizer),
    )
    same("tokens", *(m.value["tokens"] for ms in found.values() for m in ms))
    return [
        Line(
            "tokenizing, text in memory to ids on disk",
            "tokenizers alone",
            f"{docs} documents",
            ratios(found["alone"], found["ours"]),
            goal=0.85,
        )
    ]


def base(docs: int, repeats: int, pages: str | None = None) -> list[Line]:
    folder = pages or built("web", docs)
    found = alternate(
        repeats,
        **{steps: partial(run, cases.base_stage, pages=folder, steps=steps) for steps in STEPS},
    )
    stock, early = found["stock"][0].value, found["early"][0].value
    same("documents", stock["kept"], *(m.value["kept"] for m in found["fast"]))
    same("reasons", stock["dropped"], *(m.value["dropped"] for m in found["fast"]))
    before, after = set(stock["kept"].items()), set(early["kept"].items())
    if not before:
        raise RuntimeError("no document was kept, so that none was compared")
    lost, added = (len(d) / len(before) for d in (before - after, after - before))
    if lost > 0.02 or added > 0.02:
        raise RuntimeError(f"the early language filter lost {lost:.1%} and added {added:.1%}")
    unit = f"{stock['read']} {'pages of your own' if pages else 'built pages'}"
    peaks = {steps: round(median(found[steps], "peak")) for steps in STEPS}
    return [
        Line(
            "base stage, the same documents",
            "DataTrove's steps",
            unit,
            ratios(found["stock"], found["fast"]),
            goal=1.5,
            detail=f"{len(before)} kept; peak MiB {peaks['fast']} and {peaks['stock']}",
        ),
        Line(
            "base stage, early language filter",
            "DataTrove's steps",
            unit,
            ratios(found["stock"], found["early"]),
            goal=4 if pages else None,  # those that are built are English for the most part
            detail=f"lost {lost:.1%}, added {added:.1%} of {len(before)} documents",
        ),
    ]


def signatures(docs: int, repeats: int) -> list[Line]:
    folder = built("near", docs)
    found = alternate(
        repeats,
        stock=partial(run, cases.sign, folder=folder, step="stock"),
        fast=partial(run, cases.sign, folder=folder, step="fast"),
        rensa=partial(run, cases.sign_elsewhere, folder=folder, tool="rensa"),
        datasketch=partial(run, cases.sign_elsewhere, folder=folder, tool="datasketch"),
    )
    same("signatures", *(m.value["files"] for n in ("stock", "fast") for m in found[n]))
    rates = {name: round(docs / median(ms, "cpu")) for name, ms in found.items()}
    return [
        Line(
            "MinHash signatures, the same bytes",
            {"stock": "DataTrove's stage 1"}.get(name, name),
            f"{docs} documents",
            ratios(found[name], found["fast"]),
            goal=20 if name == "stock" else None,
            detail=f"documents a second: {rates['fast']} and {rates[name]}",
        )
        for name in ("stock", "rensa", "datasketch")
    ]


def exact(docs: int, repeats: int) -> list[Line]:
    """Tasks grow with the documents, so that one task sorts as much as before."""
    lines, peaks = [], {}
    for size in (docs // 2, docs):
        folder = built("exact", size, shards=max(4, size // 50_000))
        found = alternate(
            repeats,
            stages=partial(run, cases.dedup_stages, folder=folder, tasks=len(os.listdir(folder))),
            memory=partial(run, cases.dedup_set, folder=folder),
            duckdb=partial(run, cases.dedup_duckdb, folder=folder),
        )
        same("distinct texts", *(m.value["kept"] for ms in found.values() for m in ms))
        peaks[size] = {name: round(median(ms, "peak")) for name, ms in found.items()}
    for baseline, name in (("duckdb", "DuckDB's SELECT DISTINCT"), ("memory", "a set in memory")):
        lines.append(
            Line(
                "exact duplicates in stages",
                name,
                f"{docs} documents",
                ratios(found[baseline], found["stages"]),
                detail=f"peak MiB at {' and '.join(map(str, peaks))} documents: "
                + " and ".join(
                    f"{p['stages']} (stages) {p[baseline]} (it)" for p in peaks.values()
                ),
            )
        )
    return lines


def starting(docs: int, repeats: int) -> list[Line]:
    """Seconds until a lesson's run begins: a time, not a ratio."""
    lines = []
    for script in sorted(cases.REPO.glob("examples_local/0*.py")):
        name = str(script.relative_to(cases.REPO))
        found = [run(cases.lesson_start, script=name) for _ in range(repeats)]
        lines.append(
            Line(
                f"lesson {script.name[:2]} is ready to run",
                "seconds, not a ratio",
                "bare run",
                [m.value["ready"] for m in found],
                goal=3,
                at_most=True,
            )
        )
    return lines


def guard(docs: int, repeats: int) -> list[Line]:
    call = partial(run, cases.filtering, folder=built("c4", docs), tasks=4, workers=1)
    found = alternate(repeats, off=call, on=partial(call, guarded=True))
    same("documents", *(m.value["kept"] for ms in found.values() for m in ms))
    return [
        Line(
            "lesson 01's pipeline with the guard",
            "without it, as its share of the time",
            f"{docs} documents",
            [1 / ratio for ratio in ratios(found["off"], found["on"])],
            goal=1.05,
            at_most=True,
        )
    ]


def scaling(docs: int, repeats: int) -> list[Line]:
    def call(size: int, workers: int) -> partial:
        folder = built("c4", size, 8)
        return partial(run, cases.filtering, folder=folder, tasks=8, workers=workers)

    few, many = 1_000, docs
    found = alternate(repeats, few=call(few, 1), one=call(many, 1), two=call(many, 2))
    same("documents", *(m.value["kept"] for n in ("one", "two") for m in found[n]))

    def rates(name: str, size: int, of: str) -> list[float]:
        return [size / getattr(m, of) for m in found[name]]

    pairs = zip(rates("one", many, "cpu"), rates("few", few, "cpu"), strict=True)
    both = zip(rates("two", many, "seconds"), rates("one", many, "seconds"), strict=True)
    peaks = [round(median(found[name], "peak")) for name in ("few", "one")]
    return [
        Line(
            f"documents a second at {many}",
            f"at {few}",
            "lesson 01's pipeline",
            [m / f for m, f in pairs],
            goal=0.9,
            detail=f"peak MiB: {peaks[1]} and {peaks[0]}",
        ),
        Line(
            "two workers",
            "one worker, by the clock",
            f"lesson 01's pipeline, {many} documents",
            [two / one for two, one in both],
            goal=1.8,
        ),
    ]


STEPS = ("stock", "fast", "early")
GROUPS = {f.__name__: f for f in (base, signatures, tokenizing, exact, guard, scaling, starting)}


def machine() -> str:
    packages = ", ".join(f"{name}=={version(name)}" for name in PACKAGES)
    return (
        f"{date.today()}, Python {platform.python_version()}, {os.cpu_count()} cores "
        f"({platform.machine()}, {platform.system()}), {packages}"
    )


def report(lines: list[Line], output: Path) -> None:
    """Print the table; write it as Markdown, JSON and a chart."""
    rows = [
        [
            line.name,
            line.baseline,
            line.unit,
            f"{line.ratio:.2f}",
            f"{min(line.ratios):.2f}-{max(line.ratios):.2f}",
            line.wanted,
            {True: "yes", False: "no", None: ""}[line.met],
            line.detail,
        ]
        for line in lines
    ]
    headers = ["what", "against", "size", "ratio", "range", "goal", "met", "more"]
    print(f"{tabulate(rows, headers, disable_numparse=True)}\n\n{machine()}")
    body = ["| " + " | ".join(row) + " |" for row in [headers, ["---"] * len(headers), *rows]]
    (output / "bench.md").write_text("\n".join(body) + f"\n\n{machine()}\n", encoding="utf-8")
    found = {"machine": machine(), "lines": [line.as_dict() for line in lines]}
    (output / "bench.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    figure = Figure(figsize=(9, 1 + 0.4 * len(lines)))
    axes = figure.subplots()
    names = [f"{line.name}\nagainst {line.baseline}" for line in lines]
    axes.barh(names, [line.ratio for line in lines])
    for place, line in enumerate(lines):
        if line.goal is not None:
            axes.plot([line.goal] * 2, [place - 0.4, place + 0.4], color="black")
    axes.set_xscale("log")
    axes.set_xlabel("ratio; the black mark is the goal")
    axes.invert_yaxis()
    axes.tick_params(axis="y", labelsize=7)
    figure.savefig(output / "bench.png", bbox_inches="tight")


def main(
    full: Annotated[bool, typer.Option("--full", help="The sizes that are recorded.")] = False,
    only: Annotated[list[str] | None, typer.Option(help=f"One of {', '.join(GROUPS)}.")] = None,
    repeats: Annotated[int, typer.Option(min=1, help="Runs of each variant.")] = 3,
    size: Annotated[int | None, typer.Option(help="Documents, in place of --full.")] = None,
    pages: Annotated[Path | None, typer.Option(help="A folder of WARC files of your own.")] = None,
) -> None:
    """Measure the lessons' steps against DataTrove's own and against other tools."""
    if unknown := set(only or ()) - set(GROUPS):
        sys.exit(f"error: there is no benchmark {', '.join(unknown)}: take {', '.join(GROUPS)}.")
    OUTPUT.mkdir(parents=True, exist_ok=True)
    lines = []
    for name, group in GROUPS.items():
        if not only or name in only:
            print(f"{name} ...", file=sys.stderr, flush=True)
            lines += group(size or SIZES[name][full], repeats)
            if name == "base" and pages:
                lines += group(0, repeats, str(pages.resolve()))
    report(lines, OUTPUT)


if __name__ == "__main__":
    typer.run(main)
