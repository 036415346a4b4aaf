"""What the checker must say of the stubs, and of wrong answers: changes of a solution."""

FORMULA = "1 - (1 - same_bucket) ** BUCKETS"
FILTER = "drop, JsonlWriter("
STUBS = {
    "07a": "You predict 0.000 at 0.8 and 0.000 at 0.5. That is not what the formula on page 07 "
    "gives for 14 buckets of 8 hashes.\nAt 0.8 it must be 95% or more.",
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
        "a sum of chances, which is near at 0.5": (
            {FORMULA: "BUCKETS * same_bucket"},
            "You predict 3.355 at 0.8 and 0.078 at 0.5. That is not what the formula on page 07 "
            "gives for 20 buckets of 8 hashes.",
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
