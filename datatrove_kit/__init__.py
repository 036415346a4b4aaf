"""Drop-in parts for production: each takes plain DataTrove objects and gives back plain ones."""

from .errors import KitError

__all__ = ["KitError"]
