"""A chain on Slurm that ends without the script that submitted it, and never waits in vain."""

from datatrove_kit.watch.watch import submit

__all__ = ["submit"]
