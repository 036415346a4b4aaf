"""Use: python -m datatrove_kit status RUN, where RUN is the folder that was given to guard.run."""

import sys

from datatrove_kit.errors import KitError
from datatrove_kit.status import show_status

if len(sys.argv) != 3 or sys.argv[1] != "status":
    sys.exit(__doc__)
try:
    show_status(sys.argv[2])
except KitError as error:
    sys.exit(f"error: {error}")
