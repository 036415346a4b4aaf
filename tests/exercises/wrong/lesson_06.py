"""What the checker must say of the stubs, and of wrong answers: changes of a solution."""

DILL = 'dill.settings["recurse"] = True\n'
BROAD = {"except (KeyError, TypeError, ValueError)": "except Exception"}
OTHER = 'export PATH="$(dirname "$(command -v srun)"):/usr/bin:/bin"'
STUBS = {
    "06a": "Nothing was submitted to Slurm",
    "06b": "Every document is kept, whatever its date",
}
WRONG = {
    "06a": {
        "constants stay behind": (
            {DILL: ""},
            "Task 0: NameError: name 'MIN_CHARS' is not defined",
        ),
        "one task for all": ({"tasks=2": "tasks=1"}, "The array has 1 element"),
        "another Python": (
            {'venv_path=f"{sys.prefix}/bin/activate"': f"env_command={OTHER!r}"},
            "Which Python does the node use?",
        ),
    },
    "06b": {
        "the error is let out, and nothing more": (
            {DILL: ""},
            "Task 0: NameError: name 'date' is not defined",
        ),
        "the constant alone travels": (
            {DILL: "", **BROAD, "(doc: Document) -> bool": "(doc: Document, SINCE=SINCE) -> bool"},
            "is_recent compared no date on the node",
        ),
        "all travels, and every error is caught": (
            BROAD,
            "with a NameError in the filter each task would end well",
        ),
        "without a date is old": (
            {"        return True": "        return False"},
            "Those without a date that can be read should be kept",
        ),
        "after the day": ({">= SINCE": "> SINCE"}, "kept/ lacks 1 document"),
    },
}
