"""The metrics of a training at trackers, each fed by a process of its own (ADR 0013)."""
