"""``python -m datatrove_kit status RUN``: how far a guarded run is, and what to do next."""

import argparse
import sys

from datatrove_kit.errors import KitError
from datatrove_kit.status.status import show_status


def main() -> None:
    parser = argparse.ArgumentParser("python -m datatrove_kit", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    status = commands.add_parser("status", help="how far a run is, and what to do next")
    status.add_argument("run", metavar="RUN", help="the folder that was given to guard.run")
    try:
        show_status(parser.parse_args().run)
    except KitError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
