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

import numpy as np
from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.readers import JsonlReader
from datatrove.pipeline.tokens import DocumentTokenizer
from tokenizers import ByteLevelBPETokenizer, Tokenizer, processors

FILES = "c4-0000[01].jsonl.gz"
MARKS = ["<s>", "</s>"]


def main(data: str, out: str) -> None:
    Path(out).mkdir(parents=True, exist_ok=True)
    bpe = ByteLevelBPETokenizer()
    texts = (doc.text for doc in JsonlReader(data, glob_pattern=FILES)())
    bpe.train_from_iterator(texts, 2048, special_tokens=MARKS, show_progress=False)
    bpe.save(f"{out}/bpe.json")
    tokenizer = Tokenizer.from_file(f"{out}/bpe.json")
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>",
        special_tokens=[(mark, tokenizer.token_to_id(mark)) for mark in MARKS],
    )
    tokenizer.save(f"{out}/with_marks.json")
    executor = LocalPipelineExecutor(
        pipeline=[
            JsonlReader(data, glob_pattern=FILES),
            # An eos_token would take the place of the rule that sets both marks.
            DocumentTokenizer(f"{out}/tokens", f"{out}/with_marks.json"),
        ],
        tasks=2,
        workers=1,
        logging_dir=f"{out}/logs",
    )
    executor.run()
    back = []
    for path in sorted(Path(out, "tokens").glob("*.ds")):
        tokens = np.fromfile(path, dtype="<u2")
        ends = np.fromfile(f"{path}.index", dtype="<u8")
        back += [tokenizer.decode(ids[1:-1]) for ids in np.split(tokens, ends)[:-1]]
    with open(f"{out}/back.jsonl", "w", encoding="utf-8") as lines:
        for text in back:
            lines.write(json.dumps({"text": text}) + "\n")


if __name__ == "__main__":
    main(*(sys.argv[1:3] or ("data/samples/c4", "output/exercises/03a")))
