"""The settings of a run in one YAML file, checked before anything starts."""

from datatrove_kit.config.config import Jobs, Settings, arguments, command_line, stages, written

__all__ = ["Jobs", "Settings", "arguments", "command_line", "stages", "written"]
