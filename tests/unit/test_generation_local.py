"""Texts from a model on this machine: a tiny one with random weights writes the same texts again and again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from hardneg.errors import HardnegError
from hardneg.generation.answers import ANSWERS, Answers
from hardneg.generation.cost import Budget
from hardneg.generation.generate import generate, open_writer
from hardneg.generation.local import LocalWriter, model_files
from hardneg.generation.settings import GenerationSettings
from hardneg.generation.types import Answer, Generated, Question, Request

REQUESTS = [Request(at, at, f"query {at}", f"passage {at} " * (at + 1)) for at in range(3)]
END, CONTEXT = 256, 1024
TEMPLATE = "{% for message in messages %}[{{ message.role }}] {{ message.content }}\n{% endfor %}[assistant] "


def saved(folder: Path, template: str | None = None, **penalties: Any) -> Path:
    """A tiny Llama over bytes with random weights, and its tokenizer."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    bare = Tokenizer(models.BPE(vocab={sign: at for at, sign in enumerate(alphabet)} | {"<end>": END}, merges=[]))
    bare.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bare.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bare, eos_token="<end>")
    if template is not None:
        tokenizer.chat_template = template
    tokenizer.save_pretrained(folder)
    torch.manual_seed(4)
    config = LlamaConfig(
        vocab_size=END + 1,
        hidden_size=32,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=CONTEXT,
        eos_token_id=END,
        bos_token_id=None,
        initializer_range=0.5,
    )
    model = LlamaForCausalLM(config)
    for name, value in penalties.items():
        setattr(model.generation_config, name, value)
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(tmp_path_factory.mktemp("model"))


def settings(model: Path, **own: object) -> GenerationSettings:
    given = {"model": str(model), "per_query": 2, "max_new_tokens": 6, "self_check": False, "batch": 4}
    return GenerationSettings.model_validate({**given, **own})


def run(folder: Path, chosen: GenerationSettings) -> tuple[Generated, ...]:
    folder.mkdir(exist_ok=True)
    return generate(REQUESTS, chosen, folder, open_writer(chosen)).generated


def question(text: str, limit: int = 12, temperature: float = 0.0) -> Question:
    return Question(
        ({"role": "system", "content": "S"}, {"role": "user", "content": text}), 1, limit, temperature, 1.0, 7
    )


def answered(writer: LocalWriter, questions: list[Question]) -> list[Answer]:
    found: dict[int, Answer] = {}
    writer.write(questions, range(len(questions)), Budget(writer.settings), found.__setitem__)
    return [found[at] for at in range(len(questions))]


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_the_same_texts_again_whatever_was_drawn_before(tmp_path: Path, model: Path, temperature: float) -> None:
    chosen = settings(model, temperature=temperature)
    first = run(tmp_path / "one", chosen)
    torch.rand(3)
    state = torch.get_rng_state()
    assert run(tmp_path / "two", chosen) == first
    assert torch.equal(torch.get_rng_state(), state)  # nor is anything disturbed
    assert (tmp_path / "one" / ANSWERS).read_bytes() == (tmp_path / "two" / ANSWERS).read_bytes()
    assert len({one.text for one in first}) > 4
    other = run(tmp_path / "three", settings(model, temperature=temperature, seed=14))
    assert ([one.text for one in other] == [one.text for one in first]) is (temperature == 0)


def test_greedy_texts_are_those_of_a_loop_over_the_likeliest_token(model: Path) -> None:
    asked = [question("a"), question("a much longer question than the other one"), question("b c")]
    found = answered(LocalWriter(settings(model)), asked)
    network, signs = LlamaForCausalLM.from_pretrained(model), PreTrainedTokenizerFast.from_pretrained(model)
    for one, answer in zip(asked, found, strict=True):
        prompt: list[int] = signs("S\n\n" + one.messages[1]["content"] + "\n\n")["input_ids"]
        ids = list(prompt)
        while len(ids) < len(prompt) + 12 and ids[-1] != END:
            with torch.no_grad():
                ids.append(int(network(torch.tensor([ids])).logits[0, -1].argmax()))
        wrote = ids[len(prompt) :]
        assert answer.text == signs.decode([sign for sign in wrote if sign != END])
        assert (answer.input_tokens, answer.output_tokens) == (len(prompt), len(wrote))
        assert answer.finish == ("stop" if wrote[-1] == END else "length")


def test_an_answer_ends_at_the_models_end(model: Path) -> None:
    loaded = LocalWriter(settings(model))._model
    ended = loaded._answer([1, 2], [65, 66, END, 67, 68], {END})
    assert (ended.finish, ended.input_tokens, ended.output_tokens) == ("stop", 2, 3)
    assert loaded._answer([1, 2], [65, 66], {END}).finish == "length"


def test_the_models_own_defaults_do_not_join_in(tmp_path: Path, model: Path) -> None:
    asked = [question("a", 40), question("b", 40)]
    plain = answered(LocalWriter(settings(model)), asked)
    punished = saved(tmp_path / "punished", repetition_penalty=5.0)
    assert json.loads((punished / "generation_config.json").read_text())["repetition_penalty"] == 5.0
    assert answered(LocalWriter(settings(punished)), asked) == plain


def test_a_chat_template_is_used_where_there_is_one(tmp_path: Path) -> None:
    writer = LocalWriter(settings(saved(tmp_path, TEMPLATE)))
    ids = writer._model._ids(question("hello"))
    assert writer._model.tokenizer.decode(ids) == "[system] S\n[user] hello\n[assistant] "


@pytest.mark.parametrize("stop_after", [1, 4, 5])
def test_an_interrupted_block_is_written_with_the_same_neighbours(
    tmp_path: Path, model: Path, stop_after: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = settings(model, temperature=1.0)
    whole = run(tmp_path / "whole", chosen)
    add = Answers.add

    def dying(self: Answers, key: str, asked: Question, answer: Answer) -> None:
        if len(self.lines) == stop_after:
            raise KeyboardInterrupt
        add(self, key, asked, answer)

    with monkeypatch.context() as patch:
        patch.setattr(Answers, "add", dying)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / "cut", chosen)
    assert len(Answers.open(tmp_path / "cut" / ANSWERS).lines) == stop_after
    assert run(tmp_path / "cut", chosen) == whole
    assert (tmp_path / "cut" / ANSWERS).read_bytes() == (tmp_path / "whole" / ANSWERS).read_bytes()


def test_a_prompt_that_is_too_long_is_not_put(model: Path) -> None:
    found = answered(LocalWriter(settings(model)), [question("x" * CONTEXT), question("short")])
    assert found[0].finish == "too_long" and found[0].text == "" and found[0].output_tokens == 0
    assert found[1] == answered(LocalWriter(settings(model)), [question("short")])[0]


def test_a_rerun_loads_no_model(tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = run(tmp_path, settings(model))
    monkeypatch.setattr(LlamaForCausalLM, "from_pretrained", None)
    assert run(tmp_path, settings(model)) == before


def test_a_model_is_known_by_its_files(tmp_path: Path, model: Path) -> None:
    copied = saved(tmp_path / "copy")
    assert LocalWriter(settings(copied)).identity == LocalWriter(settings(model)).identity
    named = {path.name for path in model_files(settings(copied)) or []}
    assert {"model.safetensors", "config.json", "tokenizer.json"} <= named
    (copied / "config.json").write_text((copied / "config.json").read_text() + " ")
    assert LocalWriter(settings(copied)).identity != LocalWriter(settings(model)).identity
    assert model_files(settings(Path("owner/name"))) is None
    hub = GenerationSettings(model="owner/name", revision="abc")
    assert LocalWriter(hub).identity == {"model": "owner/name", "revision": "abc"}


@pytest.mark.parametrize(
    ("name", "own", "said"),
    [
        ("./nowhere", {}, "does not exist"),
        ("package:no_such_package/model", {}, "not installed"),
        ("package:../x", {}, "does not name a folder"),
        ("package:numpy/../x", {}, "does not name a folder"),
        ("package:numpy", {}, "no weights that can be read"),
        ("package:numpy", {"gguf_file": "x.gguf"}, "lacks the GGUF file"),
    ],
)
def test_a_model_that_is_not_there(name: str, own: dict[str, str], said: str) -> None:
    with pytest.raises(HardnegError, match=said):
        _ = LocalWriter(GenerationSettings.model_validate({"model": name, **own})).identity


def test_a_folder_that_cannot_be_loaded(tmp_path: Path) -> None:
    saved(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "no such kind"}')
    with pytest.raises(HardnegError, match="could not be loaded"):
        answered(LocalWriter(settings(tmp_path)), [question("a")])


def test_a_gguf_file_without_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util

    (tmp_path / "model.gguf").write_bytes(b"GGUF")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(HardnegError, match=r"package gguf[\s\S]*\[generation\]"):
        answered(LocalWriter(settings(tmp_path, gguf_file="model.gguf")), [question("a")])
