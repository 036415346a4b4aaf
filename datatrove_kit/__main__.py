"""Looks at the runs of DataTrove pipelines."""

import argparse
import sys

from datatrove_kit.errors import KitError

parser = argparse.ArgumentParser("python -m datatrove_kit", description=__doc__)
commands = parser.add_subparsers(dest="command", required=True)
status = commands.add_parser("status", help="how far a run is, and what to do next")
status.add_argument("run", metavar="RUN", help="the folder that was given to guard.run")
report = commands.add_parser("report", help="a page of what a run kept and dropped, and why")
report.add_argument("run", metavar="RUN", help="the folder of any run: its logs, and its outputs")
report.add_argument("other", metavar="RUN2", nargs="?", help="a second run, to compare with")
report.add_argument("--output", metavar="FILE", help="the page; RUN/report.html without it")
report.add_argument("--seed", type=int, default=0, help="another one draws other texts")

if __name__ == "__main__":
    given = parser.parse_args()
    try:
        if given.command == "status":
            from datatrove_kit.status import show_status

            show_status(given.run)
        else:
            from datatrove_kit.report import write_report

            print(write_report(given.run, given.other, given.output, given.seed))
    except KitError as error:
        sys.exit(f"error: {error}")
