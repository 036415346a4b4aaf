"""``python -m datatrove_kit report RUN``: what a run kept and dropped, and why, as one page."""
