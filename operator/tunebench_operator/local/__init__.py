"""The local backend: the planner's children as processes on this machine."""
