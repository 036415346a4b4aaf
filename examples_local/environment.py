"""Says which environment to activate, where DataTrove is not installed."""

import importlib.util
import sys
from pathlib import Path

if importlib.util.find_spec("datatrove") is None:
    home = Path(__file__).resolve().parent.parent
    activate = f". {home}/.venv/bin/activate"
    if not (home / ".venv").exists():
        activate = f"python3 -m venv {home}/.venv && {activate} && pip install -e {home}"
        activate = f"make lessons makes one; or {activate}"
    sys.exit(f"error: this Python has no DataTrove. Activate the environment: {activate}")
