"""Log a scored run to MLflow, and say why where that fails; a run never fails because of it."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import ValidationError

from tunebench_api.v1alpha1 import MLFLOW_FIELD, MlflowSpec
from tunebench_jobs.errors import InputError
from tunebench_jobs.llm import find_secret, redact
from tunebench_jobs.tracking.entry import TrackedRun
from tunebench_jobs.tracking.mlflow_process import Logged, Order

_TOKEN_VARIABLE = "MLFLOW_TRACKING_TOKEN"  # noqa: S105 - a variable's name
_SECRETS = (_TOKEN_VARIABLE, "MLFLOW_TRACKING_PASSWORD")
_TIMEOUT_SECONDS = 300.0
# MLflow's own patience with a server that is away is half an hour. The environment goes first.
_SETTINGS = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    # A folder as a server, for `tunebench score --mlflow FOLDER`.
    "MLFLOW_ALLOW_FILE_STORE": "true",
}


@dataclass(frozen=True)
class Tracked:
    """How logging went; without a problem, `run_id` says where."""

    uri: str
    experiment: str
    run_id: str = ""
    problem: str = ""

    @property
    def message(self) -> str:
        """How it went, in words."""
        if self.problem:
            return f"warning: not logged to MLflow at {self.uri}: {self.problem}"
        return f"logged to MLflow at {self.uri}, experiment {self.experiment}, run {self.run_id}"

    def to_summary(self) -> dict[str, str]:
        """Return it as plain JSON, without what is absent."""
        facts = {"uri": self.uri, "experiment": self.experiment, "runId": self.run_id}
        return {name: text for name, text in (facts | {"warning": self.problem}).items() if text}


def log_to_mlflow(
    spec: MlflowSpec,
    run: TrackedRun,
    environment: Mapping[str, str],
    timeout_seconds: float = _TIMEOUT_SECONDS,
) -> Tracked:
    """Log a run within a limited time."""
    try:
        variables, _ = build_variables(spec, environment)
    except InputError as error:
        return Tracked(_hide_user(spec.uri), spec.experiment, problem=str(error))
    return send_to_mlflow(spec.uri, spec.experiment, run, variables, timeout_seconds)


def send_to_mlflow(
    uri: str,
    experiment: str,
    run: TrackedRun,
    environment: Mapping[str, str],
    timeout_seconds: float = _TIMEOUT_SECONDS,
) -> Tracked:
    """Log a run to any address that MLflow knows; `environment` holds its credentials."""
    order = Order(uri=uri, experiment=experiment, run=run)
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-m", "tunebench_jobs.tracking.mlflow_process"],
            input=order.model_dump_json(),
            stdout=subprocess.PIPE,
            text=True,
            check=False,
            timeout=timeout_seconds,
            env={**_SETTINGS, **environment},
        )
        logged = Logged.model_validate_json(done.stdout.strip().splitlines()[-1])
    except subprocess.TimeoutExpired:
        logged = Logged(problem=f"no answer within {timeout_seconds:.0f} s")
    except (OSError, IndexError, ValidationError) as error:
        logged = Logged(problem=f"MLflow's process ended without a word: {error}")
    secrets = [environment[name] for name in _SECRETS if environment.get(name)]
    return Tracked(_hide_user(uri), experiment, logged.run_id, redact(logged.problem, secrets))


def _hide_user(uri: str) -> str:
    """Return an address without the name and password that may stand in it."""
    return re.sub(r"://[^/@]*@", "://", uri)


def build_variables(
    spec: MlflowSpec, environment: Mapping[str, str]
) -> tuple[dict[str, str], list[str]]:
    """Return the environment of a process that logs to MLflow, and what of it is secret.

    Raises:
        InputError: The key that `secretRef` names is not set.
    """
    variables = {**_SETTINGS, **environment}
    if spec.secret_ref is not None:
        place = f"{MLFLOW_FIELD}.secretRef"
        variables[_TOKEN_VARIABLE] = find_secret(spec.secret_ref, place, environment)
    return variables, [variables[name] for name in _SECRETS if variables.get(name)]
