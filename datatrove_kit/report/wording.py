"""Numbers with the thing that they count."""


def several(number: int, thing: str) -> str:
    """Such as "1 task" and "2,006 tasks"."""
    return f"{number:,} {thing}" if number == 1 else f"{number:,} {thing}s"
