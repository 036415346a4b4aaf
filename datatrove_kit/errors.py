"""The one exception that the kit raises for what its user can mend."""


class KitError(Exception):
    """Something the user can mend; the message says how."""
