"""Every canary, with a fault planted for it: the stage stops with the right reason."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from make_train_set import make_train_set
from make_train_stage import TUNING, make_store, make_train_row
from safetensors.torch import load_file, save_file
from scripted_engine import ScriptedEngine
from tiny_models import NO_SYSTEM_TEMPLATE, build_tiny_tokenizer
from train_worker import build_train_set as build_small_set

from tunebench_api.contract import (
    Base,
    Report,
    Runtime,
    ServeConfig,
    ServedVariant,
    StageDocument,
    TrainConfig,
)
from tunebench_api.v1alpha1 import Precision, TuningMethod, TuningSpec
from tunebench_jobs.canaries import (
    CANARY_FILE,
    MERGED,
    CanaryFile,
    build_examples,
    check_losses,
    load_canaries,
)
from tunebench_jobs.chat import IGNORED_LABEL, Example
from tunebench_jobs.checkpoints import (
    ADAPTER_CONFIG,
    ADAPTER_WEIGHTS,
    load_unchecked_manifest,
    save_manifest,
)
from tunebench_jobs.context import StageContext
from tunebench_jobs.errors import InputError
from tunebench_jobs.models import load_tokenizer
from tunebench_jobs.records import TrainExample
from tunebench_jobs.serve.deployment import load_service
from tunebench_jobs.serve.stage import build_model
from tunebench_jobs.train.examples import TrainSet
from tunebench_jobs.train.layout import CHECKPOINT_FOLDER, SUMMARY_FILE
from tunebench_jobs.train.loop import Hooks, Work, run_loop
from tunebench_jobs.train.place import Place
from tunebench_jobs.train.session import run_session
from tunebench_jobs.train.verify import (
    Saved,
    check_saved,
    compute_losses,
    load_saved,
    place_model,
    take_back,
)

pytestmark = [
    pytest.mark.jobs,
    pytest.mark.timeout(600),
    # PEFT asks transformers in the old way.
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning"),
]

ALONE = Place(0, 1, torch.device("cpu"))
QUIET = Hooks(on_step=lambda *_: None, on_resume_point=lambda *_: None)


@dataclass(frozen=True)
class Trained:
    """A store with trainings."""

    store: Path

    def train(self, name: str, **tuning: Any) -> Path:
        """Train without Ray, and return the output folder."""
        config = TrainConfig(
            data="data/tiny",
            base=Base(base=str(self.base)),
            tuning=TuningSpec.from_wire(TUNING | {"maxLength": 512} | tuning),
            seed=7,
        )
        context = self.build_context(f"train/{name}")
        run_session(config, context, ALONE, QUIET)
        return context.output

    def build_context(self, output: str) -> StageContext:
        """Return a stage's context; its output folder exists."""
        (self.store / output).mkdir(parents=True, exist_ok=True)
        report = str(self.store / f"{output.replace('/', '-')}.report.json")
        return StageContext(Runtime(store=str(self.store), output=output, report=report, cpus=1))

    @property
    def base(self) -> Path:
        """The base model."""
        return self.store.parent / "base"

    def build_saved(self, output: Path, method: TuningMethod, precision: Precision) -> Saved:
        """Return how a training was saved."""
        checkpoint = output / CHECKPOINT_FOLDER
        return Saved(checkpoint, self.base, method, precision, ALONE.device)

    def build_config(self, *names: str) -> ServeConfig:
        """Return a config that serves trainings by name, beside their base."""
        variants = [ServedVariant(name=name, checkpoint=f"train/{name}") for name in names]
        return ServeConfig(
            base=Base(base=str(self.base)),
            variants=(ServedVariant(name="base", checkpoint=None), *variants),
            batch_size=3,
            seed=0,
        )


@pytest.fixture(name="trained", scope="module")
def fixture_trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Return a store with two adapters of different trainings."""
    rows = [make_train_row(number) for number in range(16)]
    trained = Trained(make_store(tmp_path_factory.mktemp("canaries"), rows))
    trained.train("one", precision="Float32")
    trained.train("two", precision="BFloat16", learningRate="2e-2")
    return trained


def _load(output: Path) -> CanaryFile:
    canaries = load_canaries(output / CANARY_FILE)
    assert canaries is not None
    return canaries


def _copy(trained: Trained, name: str, new: str) -> Path:
    return shutil.copytree(trained.store / "train" / name, trained.store / "train" / new)


def _break_adapter(output: Path) -> None:
    """Change the weights of one layer a little, with a manifest that says so."""
    folder = output / CHECKPOINT_FOLDER
    tensors = load_file(folder / ADAPTER_WEIGHTS)
    name = next(name for name in sorted(tensors) if ".lora_B." in name)
    tensors[name] = -tensors[name]
    save_file(tensors, folder / ADAPTER_WEIGHTS)
    save_manifest(folder, load_unchecked_manifest(folder).facts)


def _run_script(folder: Path, losses: list[float], train_set: TrainSet) -> None:
    work = Work(
        train_set=train_set,
        tuning=TuningSpec.from_wire(TUNING | {"epochs": 8}),
        seed=1,
        padding=3,
        folder=folder,
        identity="same",
    )
    run_loop(ScriptedEngine(losses), work, ALONE, QUIET)


@pytest.mark.parametrize(
    ("losses", "reason"),
    [
        ([1.0, 0.9, float("nan")], "LossNotFinite"),
        ([1.0, 30.0, 90.0, 400.0, 1e4], "LossExploded"),
        ([1.0] * 10 + [5.0], "LossExploded"),
    ],
)
def test_bad_loss_stops_the_loop(tmp_path: Path, losses: list[float], reason: str) -> None:
    """The fault is in the losses that the engine returns."""
    with pytest.raises(InputError) as caught:
        _run_script(tmp_path, losses, build_small_set())

    assert caught.value.reason == reason


def test_good_losses_stop_nothing(tmp_path: Path) -> None:
    """The same loop comes to its end, and keeps where the canaries began."""
    _run_script(tmp_path, [1.5, 1.4, 1.45, 1.2, 1.1], build_small_set())

    states = [json.loads(path.read_bytes()) for path in tmp_path.glob("*/*.json")]
    assert [state["position"]["start_loss"] for state in states] == [1.5, 1.5]


def test_batch_without_a_trainable_token_stops_the_loop(tmp_path: Path) -> None:
    """Examples whose labels are all masked would make a loss of nothing."""
    masked = [
        Example(each.input_ids, (IGNORED_LABEL,) * len(each.input_ids))
        for each in build_small_set().examples
    ]

    with pytest.raises(InputError, match="step 1") as caught:
        _run_script(tmp_path, [1.0], TrainSet(tuple(masked), dropped=0))

    assert caught.value.reason == "NoTrainableToken"


class CuttingTokenizer:
    """A tokenizer that cuts what is long, as `truncation` in a tokenizer file makes it."""

    def __init__(self, limit: int) -> None:
        """Cut to `limit` tokens."""
        self._inner = build_tiny_tokenizer()
        self._limit = limit

    def __getattr__(self, name: str) -> Any:
        """Be the inner tokenizer otherwise."""
        return getattr(self._inner, name)

    def __call__(self, text: str | list[str], **settings: Any) -> dict[str, Any]:
        """Return the first tokens, of one text or of each."""
        ids = self._inner(text, **settings)["input_ids"]
        if isinstance(text, str):
            return {"input_ids": ids[: self._limit]}
        return {"input_ids": [each[: self._limit] for each in ids]}


@pytest.mark.parametrize(("limit", "reason"), [(20, "AnswerTruncated"), (0, "NoTrainableToken")])
def test_cut_answer_is_refused(limit: int, reason: str) -> None:
    """The message names the example."""
    row = TrainExample.model_validate(make_train_row(1) | {"answer": "title: fix the pager\n" * 9})

    with pytest.raises(InputError, match=r"example `acme/train#1` for Describe") as caught:
        make_train_set([row], CuttingTokenizer(limit), max_length=512)

    assert caught.value.reason == reason


def test_training_that_learns_nothing_is_refused(trained: Trained) -> None:
    """A rate of nearly nothing leaves the loss of the canaries where it was."""
    with pytest.raises(InputError, match="must lower the loss") as caught:
        trained.train("idle", learningRate="1e-30", precision="Float32")

    assert caught.value.reason == "LossNotBelowStart"
    assert not (trained.store / "train" / "idle" / SUMMARY_FILE).exists()


def test_short_training_that_changes_nothing_is_refused(trained: Trained) -> None:
    """Where there are too few steps to ask for a lower loss, an adapter of zeros is still told."""
    with pytest.raises(InputError) as caught:
        trained.train("unchanged", learningRate="1e-60", maxSteps=2)

    assert caught.value.reason == "AdapterUnchanged"


@pytest.mark.parametrize(
    ("name", "precision"), [("one", Precision.FLOAT32), ("two", Precision.BFLOAT16)]
)
def test_saved_model_that_differs_is_refused(
    trained: Trained, name: str, precision: Precision
) -> None:
    """One layer with the wrong sign is enough; as it was saved, the checkpoint passes."""
    output = trained.store / "train" / name
    check_saved(trained.build_saved(output, TuningMethod.LORA, precision), _load(output))
    broken = _copy(trained, name, f"{name}-broken")
    _break_adapter(broken)

    with pytest.raises(InputError, match="loaded anew") as caught:
        check_saved(trained.build_saved(broken, TuningMethod.LORA, precision), _load(output))

    assert caught.value.reason == "SavedModelDiffers"


@pytest.mark.parametrize("method", [TuningMethod.LORA, TuningMethod.FULL])
def test_model_that_fits_no_device_is_compared_layer_by_layer(
    trained: Trained, method: TuningMethod
) -> None:
    """Its layers lie elsewhere until they are needed, and it passes as one that fits does."""
    output = trained.train(
        f"large-{method}", method=method, learningRate="1e-3", precision="Float32"
    )
    saved = trained.build_saved(output, method, Precision.FLOAT32)
    canaries = _load(output)
    examples = build_examples(canaries, load_tokenizer(saved.checkpoint))
    model = place_model(load_saved(saved), ALONE.device, free_bytes=0)
    away = all(part.device.type == "meta" for part in model.parameters())
    check_losses(
        canaries.losses, compute_losses(model, examples, saved), canaries.precision, MERGED
    )
    here = all(part.device.type == "cpu" for part in take_back(model).parameters())

    assert (away, here) == (True, True)
    check_saved(saved, canaries, free_bytes=0)


def test_full_checkpoint_is_compared_too(trained: Trained) -> None:
    """A fully tuned model passes, and its base does not pass for it."""
    output = trained.train("full", method="Full", learningRate="1e-3", precision="Float32")
    saved = trained.build_saved(output, TuningMethod.FULL, Precision.FLOAT32)
    check_saved(saved, _load(output))

    with pytest.raises(InputError) as caught:
        check_saved(replace(saved, checkpoint=trained.base), _load(output))

    assert caught.value.reason == "SavedModelDiffers"


def test_merged_weights_that_differ_are_refused(trained: Trained) -> None:
    """An adapter that is merged twice as strong is not the adapter any more."""
    output = trained.store / "train" / "one"
    saved = trained.build_saved(output, TuningMethod.LORA, Precision.FLOAT32)
    canaries = _load(output)
    examples = build_examples(canaries, load_tokenizer(saved.checkpoint))
    broken = _copy(trained, "one", "one-strong")
    config = broken / CHECKPOINT_FOLDER / ADAPTER_CONFIG
    config.write_text(json.dumps(json.loads(config.read_bytes()) | {"lora_alpha": 16}))
    strong = load_saved(replace(saved, checkpoint=config.parent)).merge_and_unload()

    with pytest.raises(InputError, match="merged") as caught:
        check_losses(
            canaries.losses, compute_losses(strong, examples, saved), canaries.precision, MERGED
        )

    assert caught.value.reason == "MergedModelDiffers"


def test_served_variants_are_compared_side_by_side(trained: Trained) -> None:
    """Adapters that are what was trained are served; one that is not stops the server."""
    context = trained.build_context("serve/compared")
    model = build_model(trained.build_config("one", "two"), context)
    assert set(model.canaries) == {"one", "two"}
    load_service(model)._engine.close()
    _break_adapter(_copy(trained, "two", "two-served"))

    with pytest.raises(InputError, match="`two-served` of the server") as caught:
        load_service(build_model(trained.build_config("one", "two-served"), context))

    assert caught.value.reason == "ServedModelDiffers"


def test_adapter_that_is_not_applied_is_told(trained: Trained) -> None:
    """The base under the adapter's name is the fault that no error shows."""
    context = trained.build_context("serve/unapplied")
    model = build_model(trained.build_config("one"), context)
    plain = model.model_copy(
        update={"adapters": {}, "plain": ("base", "one"), "canaries": model.canaries}
    )

    with pytest.raises(InputError) as caught:
        load_service(plain)

    assert caught.value.reason == "ServedModelDiffers"


def test_other_template_is_told(trained: Trained, tmp_path: Path) -> None:
    """The server's prompts must be those of the training."""
    context = trained.build_context("serve/template")
    model = build_model(trained.build_config("one"), context)
    base = shutil.copytree(trained.base, tmp_path / "base")
    build_tiny_tokenizer(NO_SYSTEM_TEMPLATE.replace("\\n", " ")).save_pretrained(base)

    with pytest.raises(InputError) as caught:
        load_service(model.model_copy(update={"folder": str(base)}))

    assert caught.value.reason == "TemplateChanged"


def test_reason_reaches_who_started_the_server(trained: Trained) -> None:
    """Ray Serve would only say that a replica died."""
    _break_adapter(_copy(trained, "one", "one-served"))
    context = trained.build_context("serve/refused")
    document = StageDocument(config=trained.build_config("one-served"), runtime=context.runtime)
    path = context.output / "stage.json"
    path.write_text(document.model_dump_json(by_alias=True))

    ended = subprocess.run(
        [sys.executable, "-m", "tunebench_jobs", "stage", "--config", path],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    result = Report.model_validate_json(Path(context.runtime.report).read_bytes()).result

    assert result is not None, ended.stderr[-4000:]
    assert (ended.returncode, result.reason, result.retryable) == (2, "ServedModelDiffers", False)
    assert "`one-served` of the server" in result.message


def test_checkpoint_without_canaries_is_served(trained: Trained) -> None:
    """An earlier version has left none."""
    output = _copy(trained, "one", "one-old")
    (output / CANARY_FILE).unlink()
    context = trained.build_context("serve/old")

    load_service(build_model(trained.build_config("one-old"), context))._engine.close()
