"""What will be done: the plan of a run, and its cost."""

from .planner import plan, plan_family, plan_structure
from .plans import Plan, Stage

__all__ = ["Plan", "Stage", "plan", "plan_family", "plan_structure"]
