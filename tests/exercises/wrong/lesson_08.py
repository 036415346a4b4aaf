"""What the checker must say of the stubs, and of wrong answers: changes of a solution."""

STUBS = {
    "08a": "OUT/removed/withdrawn holds nothing; 57 documents should go there",
    "08b": "000_00000.parquet has no column license and no column author",
}
WRONG = {
    "08a": {
        "after MinHash": (
            {
                "crawl, offered, good,": "crawl, good,",
                "filtered, unique,": "filtered, unique, offered,",
            },
            "MinHash had kept the withdrawn copy of them",
        ),
        "after a filter that reads the text": (
            {"crawl, offered, good,": "crawl, good, offered,", "_text())[1]": "_text())[2]"},
            "12 documents of withdrawn hosts reached another filter first",
        ),
        "hosts that end alike": (
            {'host.endswith(f".{one}")': "host.endswith(one)"},
            "mind the dot",
        ),
        "the names themselves": (
            {' or host.endswith(f".{one}")': ""},
            [
                "10 documents of withdrawn hosts did not go, such as "
                "https://www.archive.example.net/pages/60",
                "Hosts below a withdrawn one, such as www.archive.example.net, are withdrawn, too.",
            ],
        ),
        "the cost of one document": (
            {'["time_stats"]["total"]': '["time_stats"]["mean"]'},
            "That is the mean for one document",
        ),
    },
    "08b": {
        "one of the two columns": (
            {'"license", "author")': '"license")'},
            "000_00000.parquet has no column author",
        ),
        "a schema for metadata that is not expanded": (
            {"expand_metadata=True, ": ""},
            "license: 51 of 51 documents that have one lack it",
        ),
        "no null": (
            {
                'glob_pattern="*.jsonl.gz"': 'glob_pattern="*.jsonl.gz", default_metadata=NONE',
                "def main": 'NONE = {"license": "", "author": ""}\n\n\ndef main',
            },
            "where the input has none, there is '' and no null",
        ),
    },
}
