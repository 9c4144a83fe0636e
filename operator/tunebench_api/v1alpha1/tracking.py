"""Where results are logged besides the store."""

from __future__ import annotations

from pydantic import Field

from tunebench_api.v1alpha1.sources import SecretRef
from tunebench_api.v1alpha1.wire import ExperimentName, HttpUrl, Wire


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


class TrackingSpec(Wire):
    """Where results are logged besides the store; a run never fails because of it."""

    mlflow: MlflowSpec | None = Field(
        default=None,
        description="Log parameters, win rates and the report to MLflow once the run is scored. "
        "Absent: nothing is logged.",
    )
