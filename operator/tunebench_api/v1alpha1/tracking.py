"""Where results and trainings are logged besides the store."""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field

from tunebench_api.v1alpha1.sources import SecretRef
from tunebench_api.v1alpha1.wire import ExperimentName, HttpUrl, Wire

MLFLOW_FIELD = "spec.tracking.mlflow"
WANDB_FIELD = "spec.tracking.wandb"


class TrackTraining(StrEnum):
    """Whether the metrics of trainings are logged."""

    ENABLED = "Enabled"
    DISABLED = "Disabled"


class WandbMode(StrEnum):
    """Where W&B's client writes to."""

    ONLINE = "Online"
    OFFLINE = "Offline"


class MlflowSpec(Wire):
    """A tracking server of MLflow."""

    uri: HttpUrl = Field(description="Address of the server. Must be given.")
    experiment: ExperimentName = Field(
        default="tunebench",
        description="Experiment that gets the run; made if it is absent. Absent: tunebench.",
    )
    secret_ref: SecretRef | None = Field(
        default=None,
        description="Bearer token. Absent: none; on a laptop, MLFLOW_TRACKING_TOKEN, or "
        "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD.",
    )
    training: TrackTraining = Field(
        default=TrackTraining.DISABLED,
        description="Log the metrics of each training while it runs, as a run of its own. "
        "Disabled: the results alone are logged. Absent: Disabled.",
    )


class WandbSpec(Wire):
    """A project at Weights & Biases."""

    project: ExperimentName = Field(
        default="tunebench",
        description="Project that gets a run for each training. Absent: tunebench.",
    )
    entity: ExperimentName | None = Field(
        default=None, description="User or team that owns the project. Absent: the key's own."
    )
    uri: HttpUrl | None = Field(
        default=None, description="Address of a server of yours. Absent: W&B's own."
    )
    secret_ref: SecretRef | None = Field(
        default=None, description="API key. Absent: on a laptop, WANDB_API_KEY."
    )
    mode: WandbMode = Field(
        default=WandbMode.ONLINE,
        description="Offline: nothing is sent, and files for `wandb sync` lie beside the "
        "checkpoint; no key is needed. Absent: Online.",
    )


class TrackingSpec(Wire):
    """Where results and trainings are logged besides the store; no run fails because of it."""

    mlflow: MlflowSpec | None = Field(
        default=None,
        description="Log parameters, win rates and the report to MLflow once the run is scored. "
        "Absent: nothing is logged.",
    )
    tensor_board: TrackTraining = Field(
        default=TrackTraining.DISABLED,
        description="Keep the metrics of each training as TensorBoard's event files, beside its "
        "checkpoint. Absent: Disabled.",
    )
    wandb: WandbSpec | None = Field(
        default=None,
        description="Log the metrics of each training to Weights & Biases while it runs. Absent: "
        "nothing is logged.",
    )

    @property
    def trains_to_mlflow(self) -> MlflowSpec | None:
        """The MLflow server that wants the metrics of trainings."""
        wanted = self.mlflow and self.mlflow.training is TrackTraining.ENABLED
        return self.mlflow if wanted else None

    @property
    def tracks_training(self) -> bool:
        """Whether any tracker wants the metrics of trainings."""
        files = self.tensor_board is TrackTraining.ENABLED
        return files or bool(self.trains_to_mlflow or self.wandb)

    @property
    def result_secrets(self) -> tuple[tuple[str, SecretRef], ...]:
        """The keys that logging results needs, each with the field of its owner."""
        ref = self.mlflow.secret_ref if self.mlflow else None
        return ((MLFLOW_FIELD, ref),) if ref else ()

    @property
    def training_secrets(self) -> tuple[tuple[str, SecretRef], ...]:
        """The keys that logging trainings needs, likewise."""
        wandb = self.wandb if self.wandb and self.wandb.mode is WandbMode.ONLINE else None
        owners = ((MLFLOW_FIELD, self.trains_to_mlflow), (WANDB_FIELD, wandb))
        return tuple(
            (field, owner.secret_ref) for field, owner in owners if owner and owner.secret_ref
        )
