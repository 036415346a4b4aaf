"""What the checker must say of the stubs, and of wrong answers: changes of a solution."""

STUBS = {
    "03a": "250 documents in tokens/ of 250 do not begin with <s>.",
    "03b": "back.jsonl has 2 documents; 250 texts were read.",
}
WRONG = {
    "03a": {
        "eos_token beside the rule": (
            {'with_marks.json"),': 'with_marks.json", eos_token="</s>"),'},
            "250 documents in tokens/ of 250 do not begin with <s>.",
        ),
        "the marks left in the text": (
            {"tokenizer.decode(ids[1:-1])": "tokenizer.decode(ids, skip_special_tokens=False)"},
            "250 documents in back.jsonl have a mark in the text.",
        ),
        "four bytes a token": (
            {'dtype="<u2"': 'dtype="<u4"', "ids[1:-1]": "[i % 2048 for i in ids[1:-1]]"},
            "back.jsonl lacks ",
        ),
        "texts read from the input": (
            {
                '/tokens", f"{out}/with_marks.json")': '/tokens", f"{out}/bpe.json")',
                "    back = []\n": "    back = [d.text for d in "
                "JsonlReader(data, glob_pattern=FILES)()]\n",
                "        back += ": "        _ = ",
            },
            "250 documents in tokens/ of 250 do not end with </s>.",
        ),
    },
    "03b": {
        "another token for the end": (
            {"eos_token=EOS_TOKEN": 'eos_token="."', "token_to_id(EOS_TOKEN)": 'token_to_id(".")'},
            "250 documents in tokens/ of 250 do not end with <|endoftext|>.",
        ),
        "cut by the index alone": (
            {
                "eos_token=EOS_TOKEN, ": "",
                "np.flatnonzero(tokens == end) + 1": 'np.fromfile(f"{path}.index", dtype="<u8")',
            },
            "250 documents in tokens/ of 250 do not end with <|endoftext|>.",
        ),
        "the mark kept in the text": (
            {"tokenizer.decode(ids)": "tokenizer.decode(ids, skip_special_tokens=False)"},
            "250 documents in back.jsonl have a mark in the text.",
        ),
    },
}
