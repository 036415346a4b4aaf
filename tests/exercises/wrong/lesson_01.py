"""What the checker must say of the stubs, and of wrong answers: changes of a solution."""

STUBS = {
    "01a": "Nothing was dropped; 39 documents of 203 should be",
    "01b": "Of Tuesday's 466 documents kept/ holds 0.",
}
WRONG = {
    "01a": {
        "the case as it is": (
            {"doc.text.lower().split()": "doc.text.split()"},
            "takes Kettle and kettle for two words",
        ),
        "punctuation is no part of a word": (
            {
                "doc.text.lower().split()": 're.findall(r"\\w+", doc.text.lower())',
                "import sys\n": "import re\nimport sys\n",
            },
            "The filter takes kettle and kettle, for one word.",
        ),
        "punctuation is cut off": (
            {"doc.text.lower().split()": "w.strip('.,;:!?') for w in doc.text.lower().split()"},
            "The filter takes kettle and kettle, for one word.",
        ),
        "the limit itself": ({"> MAX_SHARE": ">= MAX_SHARE"}, "exactly MAX_SHARE"),
        "different words": ({"sum(words.values())": "len(words)"}, "number of different words"),
        "no reason": (
            {'return False, "common_word"': "return False"},
            "should have the reason common_word and have none",
        ),
        "an empty text": (
            {'        if not words:\n            return False, "no_words"\n': ""},
            "failed in line 32 of 01a_common_word.py: ValueError: max()",
        ),
    },
    "01b": {
        "one folder for both days": (
            {"/kept/{day}": "/kept"},
            "Tuesday's files have the names of Monday's",
        ),
        "completions ignored": (
            {"/kept/{day}": "/kept", '/logs/{day}"': '/logs", skip_completed=False'},
            "Of Monday's 467 documents kept/ holds 0.",
        ),
        "one run for both days": (
            {
                '{"monday": "c4-0000[0-3].jsonl.gz", "tuesday": "c4-0000[4-7].jsonl.gz"}': (
                    '{"both": "c4-0000[0-7].jsonl.gz"}'
                )
            },
            "One task read files of both days",
        ),
        "more tasks on Tuesday": (
            {
                "/kept/{day}": "/kept",
                "/logs/{day}": "/logs",
                "tasks=2": 'tasks=2 if day == "monday" else 4',
            },
            "Of Tuesday's 466 documents kept/ holds 2",
        ),
    },
}
