"""The sample sets of the lessons, built from the articles in ``data/``, each with its truth."""

from .builder import SETS, build, manifest, manifest_of, sample

__all__ = ["SETS", "build", "manifest", "manifest_of", "sample"]
