"""A dataset card that says what is in the data, how it was made, and what it does not hold."""

from datatrove_kit.card.card import write_card

__all__ = ["write_card"]
