"""Exercise 03b, mend: documents that a training loop can tell apart.

The script writes token files. Then it reads them as many training loops do: one long row of tokens,
cut behind each end-of-text token. What it finds goes to OUT/back.jsonl, one document a line. The
script ends with exit code 0. Count the documents that it read, and the lines of OUT/back.jsonl.

Mend the script. In OUT/tokens each document must end with the token <|endoftext|>, and in
OUT/back.jsonl there must be every document, as text.

Page 03, What goes wrong, helps. Check it: python exercises/check.py 03b
"""

import json
import sys
from pathlib import Path

import numpy as np
from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.readers import JsonlReader
from datatrove.pipeline.tokens import DocumentTokenizer
from tokenizers import ByteLevelBPETokenizer, Tokenizer

FILES = "c4-0000[01].jsonl.gz"
EOS_TOKEN = "<|endoftext|>"


def main(data: str, out: str) -> None:
    Path(out).mkdir(parents=True, exist_ok=True)
    bpe = ByteLevelBPETokenizer()
    texts = (doc.text for doc in JsonlReader(data, glob_pattern=FILES)())
    bpe.train_from_iterator(texts, 2048, special_tokens=[EOS_TOKEN], show_progress=False)
    bpe.save(f"{out}/bpe.json")
    executor = LocalPipelineExecutor(
        pipeline=[
            JsonlReader(data, glob_pattern=FILES),
            DocumentTokenizer(f"{out}/tokens", f"{out}/bpe.json", eos_token=EOS_TOKEN, seed=42),
        ],
        tasks=2,
        workers=1,
        logging_dir=f"{out}/logs",
    )
    executor.run()
    tokenizer = Tokenizer.from_file(f"{out}/bpe.json")
    end = tokenizer.token_to_id(EOS_TOKEN)
    with open(f"{out}/back.jsonl", "w", encoding="utf-8") as lines:
        for path in sorted(Path(out, "tokens").glob("*.ds")):
            tokens = np.fromfile(path, dtype="<u2")
            for ids in np.split(tokens, np.flatnonzero(tokens == end) + 1):
                if text := tokenizer.decode(ids):
                    lines.write(json.dumps({"text": text}) + "\n")


if __name__ == "__main__":
    main(*(sys.argv[1:3] or ("data/samples/c4", "output/exercises/03b")))
