"""The served model is the trained model, however requests are batched, mixed and streamed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest
import torch
from fastapi import FastAPI
from make_served import save_adapter, save_full, save_lively_base
from peft import PeftModel
from tiny_models import CORPUS

from tunebench_jobs.chat import build_prompt_ids, find_end_tokens
from tunebench_jobs.errors import InputError
from tunebench_jobs.models import load_model, load_tokenizer
from tunebench_jobs.serve.adapters import load_adapters
from tunebench_jobs.serve.app import build_app
from tunebench_jobs.serve.decoder import Decoder, count_token_bytes, find_context_limit
from tunebench_jobs.serve.deployment import Model, load_service
from tunebench_jobs.serve.engine import Engine
from tunebench_jobs.serve.linear import replace_linears
from tunebench_jobs.serve.prefixes import Prefixes
from tunebench_jobs.serve.request import Sampling
from tunebench_jobs.serve.sampling import Chooser, choose_tokens
from tunebench_jobs.serve.service import ChatService

pytestmark = [
    pytest.mark.jobs,
    # PEFT asks transformers in the old way.
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning"),
]

SYSTEM = " ".join(CORPUS)
NEW_TOKENS = 24


@dataclass(frozen=True)
class Served:
    """The folders of a base model and its adapters; `dotted.name` has another rank."""

    base: Path
    adapters: dict[str, Path]

    @property
    def names(self) -> list[str]:
        """Return all model ids."""
        return ["base", *self.adapters]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Served:
    """Return a tiny model with three adapters, one of them on attention layers only."""
    folder = tmp_path_factory.mktemp("served")
    base = save_lively_base(folder / "base")
    adapters = {
        "first": save_adapter(base, folder / "first", seed=1),
        "dotted.name": save_adapter(base, folder / "second", seed=2, rank=8),
        "attention": save_adapter(
            base, folder / "third", seed=3, target_modules=["q_proj", "v_proj"], use_rslora=True
        ),
    }
    return Served(base, adapters)


def build_service(served: Served, *, batch_size: int = 8, batch_tokens: int = 0) -> ChatService:
    """Start a service as a replica does; `batch_tokens` makes its memory small."""
    adapters = {name: str(path) for name, path in served.adapters.items()}
    model = Model(
        folder=str(served.base),
        adapters=adapters,
        plain=("base",),
        batch_size=batch_size,
        seed=0,
        threads=1,
    )
    service = load_service(model)
    if batch_tokens:
        service._engine._batch_tokens = batch_tokens
    return service


@pytest.fixture(scope="module")
def service(served: Served) -> Iterator[ChatService]:
    """Return a running service."""
    service = build_service(served)
    yield service
    service._engine.close()


@pytest.fixture(scope="module")
def app(service: ChatService) -> FastAPI:
    """Return the web application of the service."""
    return build_app(service)


@asynccontextmanager
async def connect(app: FastAPI) -> AsyncIterator[openai.AsyncOpenAI]:
    """Open OpenAI's own client on an application."""
    http = httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app))
    async with openai.AsyncOpenAI(
        base_url="http://tunebench/v1", api_key="none", max_retries=0, http_client=http
    ) as client:
        yield client


async def ask(
    client: openai.AsyncOpenAI, model: str, user: str, **more: Any
) -> tuple[str, str, int]:
    """Return text, finish reason and number of tokens of a completion."""
    settings: dict[str, Any] = {"max_tokens": NEW_TOKENS, "temperature": 0, **more}
    answer = await client.chat.completions.create(
        model=model, messages=make_messages(user), **settings
    )
    (choice,) = answer.choices
    assert answer.usage
    return choice.message.content or "", choice.finish_reason, answer.usage.completion_tokens


def make_messages(user: str) -> Any:
    """Return a conversation whose start all requests share."""
    return [{"role": "system", "content": SYSTEM}, {"role": "user", "content": user}]


def make_users(count: int) -> list[str]:
    """Return questions of different lengths."""
    return [f"{number} " + CORPUS[number % 5] * (number % 4) for number in range(count)]


def generate_with_peft(served: Served, name: str, users: Sequence[str]) -> list[str]:
    """Return what transformers and PEFT complete, one by one."""
    tokenizer = load_tokenizer(served.base)
    model = load_model(served.base, torch.float32)
    if name != "base":
        model = PeftModel.from_pretrained(model, str(served.adapters[name]))
    model.eval()
    rows = [generate_tokens(model, tokenizer, user) for user in users]
    return [tokenizer.decode(row, skip_special_tokens=True) for row in rows]


def generate_tokens(model: Any, tokenizer: Any, user: str) -> list[int]:
    """Return the tokens of one greedy completion by transformers."""
    ids = torch.tensor([build_prompt_ids(tokenizer, make_messages(user))])
    tokens = model.generate(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        max_new_tokens=NEW_TOKENS,
        do_sample=False,
        eos_token_id=list(find_end_tokens(tokenizer)),
    )
    row: list[int] = tokens[0, ids.shape[1] :].tolist()
    return row


async def test_served_model_is_trained_model(served: Served, app: FastAPI) -> None:
    """Greedy completions of mixed batches equal those of transformers and PEFT, one by one."""
    users = make_users(8)
    async with connect(app) as client:
        asked = [(name, user) for user in users for name in served.names]
        answers = await asyncio.gather(*(ask(client, name, user) for name, user in asked))

    texts = {pair: answer[0] for pair, answer in zip(asked, answers, strict=True)}
    for name in served.names:
        expected = generate_with_peft(served, name, users)
        assert [texts[name, user] for user in users] == expected
    # The comparison would be empty if adapters made no difference.
    assert len({texts[name, users[0]] for name in served.names}) == len(served.names)


async def test_stream_is_the_same_text(served: Served, app: FastAPI) -> None:
    """The pieces of a stream are the completion, and usage comes at the end where asked for."""
    async with connect(app) as client:
        for name, user in zip(served.names, make_users(4), strict=True):
            text, reason, tokens = await ask(client, name, user)
            stream = await client.chat.completions.create(
                model=name,
                messages=make_messages(user),
                max_tokens=NEW_TOKENS,
                temperature=0,
                stream=True,
                stream_options={"include_usage": True},
            )
            chunks = [chunk async for chunk in stream]
            choices = [chunk.choices[0] for chunk in chunks if chunk.choices]

            assert "".join(choice.delta.content or "" for choice in choices) == text
            assert [choice.finish_reason for choice in choices if choice.finish_reason] == [reason]
            assert chunks[-1].usage
            assert chunks[-1].usage.completion_tokens == tokens
            assert len(choices) > 3


async def test_seeds_are_independent_of_the_batch(app: FastAPI) -> None:
    """A seeded completion is the same alone and among others; another seed gives another text."""
    async with connect(app) as client:
        settings: dict[str, Any] = {"temperature": 1.0, "top_p": 0.9}
        alone = await ask(client, "first", "dice", seed=5, **settings)
        others = [
            ask(client, name, user, seed=number, **settings)
            for number, (name, user) in enumerate(
                zip(["base", "first"] * 8, make_users(16), strict=True)
            )
        ]
        among = await asyncio.gather(*others, ask(client, "first", "dice", seed=5, **settings))
        different = await ask(client, "first", "dice", seed=6, **settings)

    assert among[-1] == alone
    assert different != alone


async def test_stop_strings_end_the_text(app: FastAPI) -> None:
    """A stop string and all behind it stay out, in an answer as in a stream."""
    async with connect(app) as client:
        text, _, _ = await ask(client, "first", "stop")
        stop = text[9:12]
        cut, reason, tokens = await ask(client, "first", "stop", stop=[stop, "never there"])
        stream = await client.chat.completions.create(
            model="first",
            messages=make_messages("stop"),
            max_tokens=NEW_TOKENS,
            temperature=0,
            stop=stop,
            stream=True,
        )
        streamed = "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

    assert cut == text[: text.index(stop)]
    assert streamed == cut
    assert reason == "stop"
    assert tokens < NEW_TOKENS


async def test_end_token_ends_the_text(served: Served) -> None:
    """A completion ends where the model ends it, and its end token is no text."""
    tokenizer = load_tokenizer(served.base)
    tokens = generate_tokens(load_model(served.base, torch.float32).eval(), tokenizer, "end")
    end = tokens[5]
    before = tokens[: tokens.index(end)]
    service = build_service(served)
    service._engine._end_tokens = (end,)
    try:
        async with connect(build_app(service)) as client:
            completion = await ask(client, "base", "end")
    finally:
        service._engine.close()

    assert completion == (tokenizer.decode(before), "stop", len(before) + 1)


@pytest.mark.parametrize(
    "batch_tokens", [pytest.param(0, id="ample memory"), pytest.param(700, id="little memory")]
)
async def test_many_at_once(served: Served, batch_tokens: int) -> None:
    """More requests than places wait their turn, and none gets another one's text."""
    service = build_service(served, batch_size=3, batch_tokens=batch_tokens)
    users = make_users(16)
    lengths = [1 + 3 * (number % 6) for number in range(16)]
    try:
        async with connect(build_app(service)) as client:
            alone = [
                await ask(client, "first", user, max_tokens=length)
                for user, length in zip(users, lengths, strict=True)
            ]
            together = await asyncio.gather(
                *(
                    ask(client, "first", user, max_tokens=length)
                    for user, length in zip(users, lengths, strict=True)
                )
            )
    finally:
        service._engine.close()

    assert together == alone


async def test_a_client_that_leaves_makes_room(served: Served) -> None:
    """What nobody waits for any more is dropped, and the next request is served."""
    service = build_service(served, batch_size=1)
    try:
        async with connect(build_app(service)) as client:
            left = asyncio.create_task(ask(client, "base", "gone", max_tokens=1500))
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(asyncio.shield(left), 0.5)
            (gone,) = service._engine._running
            left.cancel()
            _, _, tokens = await ask(client, "first", "next", max_tokens=3)
    finally:
        service._engine.close()

    assert tokens == 3
    assert gone.count < 1500


async def test_unknown_model_is_404(app: FastAPI) -> None:
    """A model that is not served is named, with those that are."""
    async with connect(app) as client:
        with pytest.raises(openai.NotFoundError, match=r"`nope`.*`dotted\.name`") as error:
            await ask(client, "nope", "hi")

    assert error.value.code == "model_not_found"


async def test_overflow_is_refused_with_numbers(app: FastAPI) -> None:
    """A prompt is never cut: the refusal says what fits and what came."""
    async with connect(app) as client:
        with pytest.raises(
            openai.BadRequestError, match=r"2048 tokens, got \d+ .* plus 2000"
        ) as error:
            await ask(client, "base", "long", max_tokens=2000)

    assert error.value.code == "context_length_exceeded"


async def test_models_and_errors_over_http(app: FastAPI) -> None:
    """All variants are listed, and errors look alike on every route."""
    async with httpx2.AsyncClient(
        transport=httpx2.ASGITransport(app=app), base_url="http://t"
    ) as http:
        models = (await http.get("/v1/models")).json()
        healthy = await http.get("/healthz")
        missing = await http.get("/v1/nothing")
        broken = await http.post("/v1/chat/completions", content=b"{")

    names = [model["id"] for model in models["data"]]
    assert names == ["base", "first", "dotted.name", "attention"]
    assert healthy.status_code == 200
    assert (missing.status_code, broken.status_code) == (404, 400)
    assert {"message", "type", "param", "code"} == set(missing.json()["error"])
    assert "must be JSON" in broken.json()["error"]["message"]


async def test_a_stopped_engine_says_so(served: Served) -> None:
    """When the engine is gone, clients get 503 and try again; the health check tells Serve."""
    service = build_service(served)
    service._engine.close()
    async with connect(build_app(service)) as client:
        with pytest.raises(openai.InternalServerError, match="restarted"):
            await ask(client, "base", "hi")

    assert not service.is_alive()


async def test_a_breakdown_fails_what_is_under_way(served: Served) -> None:
    """An engine that breaks down leaves nobody waiting."""
    service = build_service(served)
    # As a model does that runs out of memory.
    del service._engine._decoder._model
    async with connect(build_app(service)) as client:
        with pytest.raises(openai.InternalServerError, match="restarted"):
            await ask(client, "base", "hi")

    assert not service.is_alive()


async def test_full_checkpoint_is_served_from_its_folder(served: Served, tmp_path: Path) -> None:
    """A fully tuned model answers with its own weights."""
    full = Served(save_full(served.base, tmp_path / "full", seed=4), {})
    service = build_service(full)
    try:
        async with connect(build_app(service)) as client:
            texts = [(await ask(client, "base", user))[0] for user in make_users(3)]
    finally:
        service._engine.close()

    assert texts == generate_with_peft(full, "base", make_users(3))
    assert texts != generate_with_peft(served, "base", make_users(3))


def test_adapters_that_cannot_be_mixed_are_refused(served: Served, tmp_path: Path) -> None:
    """An adapter of another kind is an error, never served as if it were plain LoRA."""
    folder = save_adapter(served.base, tmp_path / "dora", seed=5, use_dora=True)

    with pytest.raises(InputError, match="plain LoRA"):
        load_adapters(load_model(served.base, torch.float32), [folder])


def test_shared_prefixes_change_nothing(served: Served) -> None:
    """A prompt whose beginning is known gives the logits that it gives from scratch."""
    model, route = load_adapters(
        load_model(served.base, torch.float32).eval(), list(served.adapters.values())
    )
    ids = torch.randint(4, 300, (120,), generator=torch.Generator().manual_seed(0)).tolist()
    other = [*ids[:90], *reversed(ids[90:])]
    warm = Decoder(model, route, batch_size=4)
    adapters: list[int | None] = [0, 1]
    for adapter in adapters:
        warm.read_prompt(adapter, other)

    for adapter in [*adapters, None]:
        fresh = Decoder(model, route, batch_size=1).read_prompt(adapter, ids)
        assert torch.allclose(warm.read_prompt(adapter, ids), fresh, atol=1e-4)
        warm.remove(2)
    assert warm._prefixes.find(0, ids) is not None


def test_prefixes_forget_the_oldest() -> None:
    """Memory stays within its limit, and what was used last stays longest."""
    state = [(torch.zeros(1, 1, 100, 4), torch.zeros(1, 1, 100, 4))]
    prefixes = Prefixes(2 * 3200)
    prompts = [[number] * 100 for number in range(3)]
    prefixes.add("a", prompts[0], state)
    prefixes.add("a", prompts[1], state)
    assert prefixes.find("a", [*prompts[0], 9]) is not None
    prefixes.add("a", prompts[2], state)

    assert prefixes.find("a", prompts[0]) is not None
    assert prefixes.find("a", prompts[1]) is None
    assert prefixes.find("b", prompts[2]) is None


@pytest.mark.parametrize("bias", [pytest.param(True, id="bias"), pytest.param(False, id="plain")])
def test_faster_layers_compute_the_same(*, bias: bool) -> None:
    """The faster linear layers differ from the usual ones by rounding only, for any rows."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(24, 40, bias=bias))
    usual = model[0]
    replace_linears(model)

    for shape in [(1, 24), (8, 1, 24), (3, 7, 24), (48, 24), (49, 24)]:
        x = torch.randn(shape)
        assert torch.allclose(model(x), usual(x), atol=1e-6)
    assert model[0] is not usual
    assert model[0].weight is usual.weight


def test_top_p_draws_from_the_likeliest() -> None:
    """A small `top_p` leaves the likeliest token only; 1 draws each by its weight."""
    logits = torch.tensor([0.1, 0.2, 0.7]).log()
    narrow = Chooser(Sampling(max_tokens=1, temperature=1.0, top_p=0.1, seed=1))
    wide = Chooser(Sampling(max_tokens=1, temperature=1.0, seed=1))
    drawn = [wide.choose(logits) for _ in range(2000)]

    assert {narrow.choose(logits) for _ in range(50)} == {2}
    assert drawn.count(0) / 2000 == pytest.approx(0.1, abs=0.03)
    assert drawn.count(2) / 2000 == pytest.approx(0.7, abs=0.04)


def test_greedy_rows_and_drawn_rows_share_a_batch() -> None:
    """Temperature 0 takes the likeliest token; a tiny temperature does, too, without overflow."""
    logits = torch.randn(2, 50, generator=torch.Generator().manual_seed(0)) * 100
    choosers = [
        Chooser(Sampling(max_tokens=1)),
        Chooser(Sampling(max_tokens=1, temperature=1e-9, seed=3)),
    ]

    assert choose_tokens(logits, choosers) == logits.argmax(-1).tolist()


def test_context_is_what_the_model_has(served: Served) -> None:
    """The limit is the model's own; a sliding window shortens it; other memories are refused."""
    model = load_model(served.base, torch.float32)
    assert find_context_limit(model) == 2048
    assert count_token_bytes(model) == 2 * 2 * 2 * 16 * 4
    model.config.sliding_window = 512
    assert find_context_limit(model) == 512
    model.config.layer_types = ["linear_attention", "full_attention"]

    with pytest.raises(InputError, match="linear_attention"):
        find_context_limit(model)


def test_an_engine_ends_at_once(served: Served) -> None:
    """Closing an idle engine takes no time and leaves no thread."""
    model = load_model(served.base, torch.float32).eval()
    model, route = load_adapters(model, [])
    engine = Engine(
        Decoder(model, route, batch_size=1),
        load_tokenizer(served.base),
        end_tokens=(0,),
        batch_tokens=100,
        threads=1,
    )
    engine.start()
    engine.close()

    assert not engine.is_alive()
