"""How Chromium is started, for a picture and for the tests of a report."""

import shutil

CHROMIUM = shutil.which("chromium")
#: No sandbox, since containers run as root; no calls home.
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
