"""The one exception that the lessons turn into a message and a non-zero exit."""


class LessonError(Exception):
    """Something the reader can mend; the message says how."""
