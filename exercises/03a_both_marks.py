"""Exercise 03a, write: a mark at both ends of each document.

Some models want <s> before each document and </s> behind it. Write token files like that, and read
them back as a training loop would: whole documents, as text.

- The token files go to OUT/tokens. Each document there is <s>, the tokens of its text, </s>.
- OUT/back.jsonl has a line {"text": ...} for each document that you read from the token files, in
  any order. The marks are no part of the text. Each text must come back to the letter.

Page 03 shows both marks (What goes wrong) and how a .ds file and its .index are read (show in the
script of the lesson). Check it: python exercises/check.py 03a
"""

import json
import sys
from pathlib import Path

from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.readers import JsonlReader
from datatrove.pipeline.tokens import DocumentTokenizer
from tokenizers import ByteLevelBPETokenizer

FILES = "c4-0000[01].jsonl.gz"
MARKS = ["<s>", "</s>"]


def main(data: str, out: str) -> None:
    Path(out).mkdir(parents=True, exist_ok=True)
    bpe = ByteLevelBPETokenizer()
    texts = (doc.text for doc in JsonlReader(data, glob_pattern=FILES)())
    bpe.train_from_iterator(texts, 2048, special_tokens=MARKS, show_progress=False)
    bpe.save(f"{out}/bpe.json")
    # Your part: a tokenizer that sets both marks.
    executor = LocalPipelineExecutor(
        pipeline=[
            JsonlReader(data, glob_pattern=FILES),
            DocumentTokenizer(f"{out}/tokens", f"{out}/bpe.json", eos_token="</s>"),
        ],
        tasks=2,
        workers=1,
        logging_dir=f"{out}/logs",
    )
    executor.run()
    back = []
    # Your part: read OUT/tokens, and put the text of each document into the list.
    with open(f"{out}/back.jsonl", "w", encoding="utf-8") as lines:
        for text in back:
            lines.write(json.dumps({"text": text}) + "\n")


if __name__ == "__main__":
    main(*(sys.argv[1:3] or ("data/samples/c4", "output/exercises/03a")))
