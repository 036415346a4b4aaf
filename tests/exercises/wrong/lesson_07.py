"""What the checker must say of the stubs, and of wrong answers: changes of a solution."""

FORMULA = "1 - (1 - same_bucket) ** BUCKETS"
FILTER = "drop, JsonlWriter("
STUBS = {
    "07a": "14 buckets of 8 hashes: by the formula 92.4% of the pairs at 0.8 are found",
    "07b": "other texts were removed than the copies",
}
WRONG = {
    "07a": {
        "too many at 0.5, and a formula turned round": (
            {
                "HASHES = 8": "HASHES = 7",
                FORMULA: "1 - (1 - similarity**BUCKETS) ** HASHES",
            },
            "Buckets and hashes have changed places",
        ),
        "too many numbers, and percent": (
            {"BUCKETS = 20": "BUCKETS = 26", FORMULA: f"100 * ({FORMULA})"},
            "These are 208 numbers for a text",
        ),
        "the chance for one bucket": (
            {FORMULA: "same_bucket"},
            "any one of all the buckets is enough",
        ),
    },
    "07b": {
        "in another order": (
            {"(data, glob_pattern": "(data, shuffle_files=True, glob_pattern"},
            "other texts were removed than the copies",
        ),
        "nothing is removed": ({FILTER: "JsonlWriter("}, "kept/ holds 150 texts too many"),
    },
}
