"""What the checker must say of the stubs, and of wrong answers: changes of a solution."""

STUBS = {
    "04a": "There is no merged/fqdn/bullet_point_lines_ratio/metric.json. Were the parts merged?",
    "04b": "This is the figure of the old lines. Where does LineStats find them?",
}
WRONG = {
    "04a": {
        "the mean of the merged file": (
            {"share[domain].total / lines[domain].n": "share[domain].mean"},
            "The task that read 32 of its documents found no bullet",
        ),
        "the total": (
            {"share[domain].total / lines[domain].n": "share[domain].total"},
            "shop.example.net has a mean share of 0.2000; another domain has more.\n"
            "It has the most documents",
        ),
        "another form": ({'"share": means[domain]': '"mean": means[domain]'}, "KeyError 'share'"),
        "one task": (
            {"tasks=2": "tasks=1"},
            "The statistics were measured in one task; the exercise asks for two.",
        ),
        "a guess": (
            {'"share": means[domain]': '"share": 0.4'},
            "lists.example.org is right.\nIts share is 0.3400, not 0.4000.",
        ),
    },
    "04b": {
        "measured too early": (
            {
                "            LambdaFilter(take_out_bullets),\n": "",
                '["summary"]),\n': '["summary"]),\n            LambdaFilter(take_out_bullets),\n',
            },
            "measure after the bullets are gone",
        ),
        "no cleaning": (
            {"    doc.text = ": "    cleaned = ", 'return doc.text != ""': 'return cleaned != ""'},
            "Texts in kept/ have bullet lines.",
        ),
        "the old lines thrown away": (
            {"    return doc.text": '    doc.metadata.pop("lines_before")\n    return doc.text'},
            "980 documents in kept/ no longer have their old lines in the metadata.",
        ),
    },
}
