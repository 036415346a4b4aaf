"""What a run will take: tasks, memory, time and storage, worked out from a sample of the input."""

from datatrove_kit.plan.planner import plan

__all__ = ["plan"]
