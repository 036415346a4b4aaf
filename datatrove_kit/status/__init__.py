"""``python -m datatrove_kit status RUN``: how far a run is."""

from datatrove_kit.status.status import show_status

__all__ = ["show_status"]
