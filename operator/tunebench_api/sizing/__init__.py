"""What a training needs: a memory and time model of fine-tuning. Pure; docs/sizing.md explains it.

The planner sizes trainings with it before they start, and the train stage checks it against the
model that it has loaded.
"""
