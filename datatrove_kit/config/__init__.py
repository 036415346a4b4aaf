"""The settings of a run in one YAML file, checked before anything starts."""

from datatrove_kit.config.config import Jobs, Settings, StageJobs, arguments, command_line, written

__all__ = ["Jobs", "Settings", "StageJobs", "arguments", "command_line", "written"]
