"""What the checker must say of the stubs, and of wrong answers: changes of a solution."""

MINUTES = "(time - datetime(2024, 5, 1)) // timedelta(minutes=1) + 1"
FIRST = """

def first(data, rank=0, world_size=1):
    seen = set()
    for doc in data:
        if doc.text not in seen:
            seen.add(doc.text)
            yield doc
"""
STUBS = {
    "05a": "189 texts have copies of different dates. Of 124 of them an older copy is kept.",
    "05b": "kept/ holds 161 documents too many",
}
WRONG = {
    "05a": {
        "the oldest": ({MINUTES: f"65535 - ({MINUTES})"}, "It is always the oldest"),
        "the day alone": ({MINUTES: "time.day"}, "the time of day is not looked at"),
        "the first that comes": (
            {
                "    return doc.text\n": "    return doc.text\n" + FIRST,
                'ExactDedupFilter(f"{out}/duplicates", config),': "first,",
                "(drop, tasks=2,": "(drop, tasks=1,",
            },
            "It is always the first in the data",
        ),
    },
    "05b": {
        "the third stage with two tasks": (
            {"(drop, tasks=TASKS,": "(drop, tasks=2,"},
            "22 texts of 1,560 are lost: no copy is in kept/.",
        ),
        "one finder": ({"FINDERS = 3": "FINDERS = 1"}, "the finders do not share the work"),
        "as many documents, by chance": (
            {
                'ExactDedupFilter(f"{out}/duplicates", config), ': "",
                'JsonlReader(data, glob_pattern="*.jsonl.gz")': "JsonlReader(data, limit=390, "
                'glob_pattern="*.jsonl.gz")',
            },
            "are lost: no copy is in kept/",
        ),
    },
}
