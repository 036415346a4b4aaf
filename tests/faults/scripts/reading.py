"""Everything that can be read is copied: JSON lines, Parquet, or the text of WARC pages."""

import sys
from pathlib import Path

from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.extractors import Trafilatura
from datatrove.pipeline.readers import JsonlReader, ParquetReader, WarcReader
from datatrove.pipeline.writers import JsonlWriter

from datatrove_kit import guard
from datatrove_kit.readers import tolerant

TIMEOUT_SECONDS = 60


def main(data: str, out: str, how: dict) -> None:
    name = next(path.name for path in Path(data).iterdir() if path.name[0] != "S")
    reader = ParquetReader if "parquet" in name else WarcReader if "warc" in name else JsonlReader
    steps = [reader(data), JsonlWriter(f"{out}/kept")]
    if reader is WarcReader:
        steps.insert(1, Trafilatura(timeout=TIMEOUT_SECONDS, deduplicate=False))
    executor = LocalPipelineExecutor(
        tolerant(steps, rejected=f"{out}/rejected"), 2, 2, logging_dir=f"{out}/logs"
    )
    print([dict(count) for count in guard.run(executor, out, **how)[0]])


if __name__ == "__main__":
    main(*sys.argv[1:3], {flag.lstrip("-"): True for flag in sys.argv[3:]})
