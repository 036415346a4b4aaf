"""What the checker must say of the stubs, and of wrong answers: changes of a solution."""

STUBS = {
    "02a": "LanguageFilter keeps no German page. What does its model call German?",
    "02b": "16 pages of 60 became no document",
}
WRONG = {
    "02a": {
        "the code of the word splitter": (
            {'["de"]': '["deu"]'},
            "LanguageFilter keeps no German page. What does its model call German?",
        ),
        "the limit of Gopher": (
            {"min_doc_words=40, ": ""},
            "Of the 10 good German pages of 40 to 49 words 0 are kept, and all should be.",
        ),
        "no rule on stop words": (
            {"stop_words=STOP_WORDS": "min_stop_words=0"},
            "Of the 20 pages of German search words 20 are kept, and none should be.",
        ),
        "the language alone": (
            {"            quality,\n": ""},
            "Of the 6 German pages of less than 40 words 6 are kept, and none should be.",
        ),
        "too few stop words": (
            {', "das", "und", "zu", "von", "mit", "ist", "nicht", "ein", "eine", "dass"]': "]"},
            "Are your stop words the most common ones of German?",
        ),
        "no language filter, and few stop words": (
            {
                "            language,\n": "",
                ', "zu", "von", "mit", "ist", "nicht", "ein", "eine", "dass"]': ', "den", "dem"]',
            },
            "28 pages in other languages 7 are",
        ),
        "every language": (
            {'LanguageFilter(["de"])': "LanguageFilter()"},
            "28 pages in other languages 7 are",
        ),
    },
    "02b": {
        "more time": ({"timeout=30, deduplicate=False": "timeout=60"}, "16 pages of 60"),
        "no extraction": (
            {"Trafilatura(favour_precision=True, timeout=30, deduplicate=False),": ""},
            "60 documents in kept/ still have the tags of HTML.",
        ),
        "the note put in by hand": (
            {
                "deduplicate=False),": "),\n            LambdaFilter(add_note),",
                "\n\ndef main(": '\n\ndef add_note(doc):\n    doc.text += "\\n" + NOTE\n'
                "    return True\n\n\ndef main(",
                "import WarcReader": "import WarcReader\n"
                "from datatrove.pipeline.filters import LambdaFilter\n"
                'NOTE = "This letter is written by its readers: send us your own story, by hand if '
                "you like, and we will print it in one of the next numbers, with your name or "
                'without it."\n',
            },
            "16 pages of 60 became no document",
        ),
    },
}
