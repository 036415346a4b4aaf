"""Exercise 08b, mend: the columns of a data set.

The input has a text, an id and a url for each document, and for some a license, an author or
both. The script writes them to Parquet files in OUT/dataset. It ends with exit code 0. Count the
licenses and the authors in the input, and in the Parquet files.

Mend the script. Each file in OUT/dataset must have the columns text, id, url, license and author,
with all that the input says. Where a document has no license or no author, there is a null. More
columns do no harm.

Page 08, The pipeline, helps. Check it: python exercises/check.py 08b
"""

import sys

import pyarrow as pa
from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.readers import JsonlReader
from datatrove.pipeline.writers import ParquetWriter

# Without a schema the first document of a file decides which columns the file has.
SCHEMA = pa.schema([(name, pa.string()) for name in ("text", "id", "url", "license", "author")])


def main(data: str, out: str) -> None:
    executor = LocalPipelineExecutor(
        pipeline=[
            JsonlReader(data, glob_pattern="*.jsonl.gz"),
            ParquetWriter(f"{out}/dataset", expand_metadata=True, schema=SCHEMA),
        ],
        tasks=2,
        workers=1,
        logging_dir=f"{out}/logs",
    )
    executor.run()


if __name__ == "__main__":
    checked = "output/exercises/checked/08b/data"  # the checker has made it
    main(*(sys.argv[1:3] or (checked, "output/exercises/08b")))
