"""Every reason that a condition or a stage can have, and what follows from it."""

from __future__ import annotations

from tunebench_api import contract

PENDING = "Pending"
RUNNING = "Running"
SUCCEEDED = "Succeeded"
PARTIALLY_SUCCEEDED = "PartiallySucceeded"
FAILED = "Failed"
SUSPENDED = "Suspended"
WAITING = "WaitingForOtherStages"
WAITING_FOR_SLOT = "WaitingForTrainingSlot"
WAITING_FOR_JUDGES = "WaitingForJudges"
RETRYING = "Retrying"
UPSTREAM_FAILED = "UpstreamFailed"
ALL_MODELS_FAILED = "AllModelsFailed"

# How an attempt ended that wrote no result of its own. One that was interrupted was not needed.
INTERRUPTED = "Interrupted"
CRASHED = "Crashed"
KILLED = "Killed"

# No machines hold a training.
DOES_NOT_FIT = "DoesNotFit"

# What a cluster says of an attempt that could not say it itself, or a training of its workers.
OUT_OF_MEMORY = contract.OUT_OF_MEMORY
PREEMPTED = "Preempted"
DEADLINE_EXCEEDED = "DeadlineExceeded"

# Whoever took the node is no fault of the stage: this uses up `spec.preemptions`, not a retry.
DISPLACED = frozenset({PREEMPTED, contract.NODE_LOST})

# Why work that was started does not go on.
UNSCHEDULABLE = "Unschedulable"
MISSING_CLAIM = "MissingClaim"
IMAGE_PULL_FAILED = "ImagePullFailed"
CONTAINER_NOT_STARTED = "ContainerNotStarted"
PODS_REFUSED = "PodsRefused"
NOT_ADMITTED = "NotAdmitted"

# Why verdicts are missing that nobody was asked for; the words of the judge stage.
BUDGET_SPENT = "BudgetSpent"
JUDGE_UNAVAILABLE = "JudgeUnavailable"

# Whether training was kept apart from the evaluation.
CHECKED = "Checked"
NOT_CHECKED = "NotChecked"
CONTAMINATED = "Contaminated"

# Whether the judges can be trusted; what speaks against them, `tunebench_api.reliability` names.
NO_DOUBT = "NoDoubt"
NO_VERDICTS = "NoVerdicts"

# What happens to a run that is deleted.
DELETING = "Deleting"
ARTEFACTS_DELETED = "ArtefactsDeleted"
ARTEFACTS_LEFT = "ArtefactsLeft"
WORK_LEFT = "WorkLeft"
WAITING_FOR_CLEANUP = "WaitingForCleanup"

# A step of the operator failed as nobody foresaw.
STEP_FAILED = "StepFailed"

# What is wrong before any work can be done.
INVALID_SPEC = "InvalidSpec"
PROMPTS_MISSING = "PromptsMissing"
INSTALLATION_INCOMPLETE = "InstallationIncomplete"
