"""What a run on Slurm has asked for and what it has used."""

from datatrove_kit.usage.usage import usage

__all__ = ["usage"]
