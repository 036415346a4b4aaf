"""What goes wrong in a drill, and where: it stands in the file that the variable FAULT names.

So a script is the same with the fault and without it, as a resume demands: mending is removing the
file.
"""

import os
import time
from pathlib import Path


def fault(where: str) -> None:
    """Raise, take memory, or wait for the mending, if the file says so for this place.

    Slurm's second try at a task does not wait.
    """
    switch = Path(os.environ["FAULT"])
    try:
        what, *places = switch.read_text().split()
    except FileNotFoundError:
        return
    if where not in places:
        return
    with switch.with_name(f"at.{where.replace('/', '.')}").open("a") as tries:
        print(os.getpid(), file=tries)
    if what == "raise":
        raise ValueError(f"{where} is too much")
    if what == "memory" and "SLURM_MEM_PER_CPU" in os.environ:
        held = b"x" * (1500 << 20)
        while int(os.environ["SLURM_MEM_PER_CPU"]) << 20 < len(held):
            time.sleep(0.1)
    elif what == "memory":
        bytearray(1 << 34)
    while what == "wait" and "SLURM_RESTART_COUNT" not in os.environ and switch.exists():
        time.sleep(0.02)
