"""The configuration: presets, merging, `extends`, and what is said about mistakes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from hardneg.config import load, merge, read_yaml
from hardneg.errors import HardnegError
from hardneg.methods.published import names, preset

ROOT = Path(__file__).resolve().parents[2]
BUDGET = {"steps": 10}


def config(**systems: Any) -> dict[str, Any]:
    base = {"bm25": {"preset": "bm25"}, "warm": {"preset": "bm25neg", "train": BUDGET}}
    return {"collection": {"format": "pydocs"}, "systems": {**base, **systems}}


def refusal(raw: dict[str, Any]) -> str:
    with pytest.raises(HardnegError) as raised:
        load(raw)
    return str(raised.value)


@pytest.mark.parametrize("name", [name for name in names() if "system" in preset(name)])
def test_every_preset_is_valid_once_completed(name: str) -> None:
    completed: dict[str, dict[str, Any]] = {
        "bm25": {},
        "zero_shot": {"from": "other:star"},
        "pretrained": {},
        "cross_encoder": {"train": BUDGET},
        "colbert": {"train": BUDGET},
        "letor": {},
        "deepct": {"train": BUDGET},
        "rerank": {"train": BUDGET},
        "given_run": {"runs": {"dev": "dev.trec", "test": "test.trec"}},
        "given_vectors": {"vectors": {"passages": ["p.npy"], "queries": {"dev": "d.npy", "test": "t.npy"}}},
    }
    own = {"preset": name, **completed.get(name, {"train": BUDGET, "from": "warm"})}
    # The teachers that presets name.
    others = {name: {"preset": name, "train": BUDGET} for name in ("cross_encoder", "colbert")}
    pairs = {"format": "pairs", "name": "pairs", "path": "pairs.jsonl"}  # whose rows may give what a preset needs
    whole = {
        **config(**others, tried=own),
        "collection": pairs,
        "generation": {"model": "written"},
        "studies": {"other": "other.yaml"},
    }
    system = load(whole).systems["tried"]
    assert system.trains == preset(name)["system"]["trains"]


def test_the_embedded_default_is_valid() -> None:
    assert list(load(read_yaml(ROOT / "config.yaml")).systems) == [
        "bm25",
        "inbatch_softmax",
        "bm25neg",
        "bm25neg_longer",
        "star",
        "adore_star",
    ]


@pytest.mark.parametrize(
    ("path", "value", "where", "near"),
    [
        (("sede",), 3, "sede", "seed"),
        (("encoder",), {"poolling": "mean"}, "encoder.poolling", "pooling"),
        (("systems", "warm", "form"), "bm25", "systems.warm.form", "from"),
        (("systems", "warm", "train"), {"lrr": 1, **BUDGET}, "systems.warm.train.lrr", "lr"),
        (("systems", "warm", "preset"), "bm25negs", "systems.warm.preset", "bm25neg"),
        (("systems", "warm", "loss"), "rankent", "systems.warm.loss.name", "ranknet"),
        (("systems", "warm", "sampler"), {"name": "uniform", "kk": 2}, "systems.warm.sampler.kk", "k"),
        (("systems", "warm", "source"), {"name": "run", "system": "bm52"}, "systems.warm.source.system", "bm25"),
        (("encoder",), {"pooling": "meen"}, "encoder.pooling", "mean"),
    ],
)
def test_a_misspelt_name_is_told_with_the_nearest(path: tuple[str, ...], value: Any, where: str, near: str) -> None:
    raw = config()
    place = raw
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    said = refusal(raw)
    assert f"where:    {where}\n" in said
    assert f"did you mean {near}?" in said


def test_all_mistakes_are_told_at_once() -> None:
    raw = config()
    raw["systems"]["warm"]["train"] = {"lr": -1, "batch_size": "many", **BUDGET}
    raw["seed"] = -3
    said = refusal(raw)
    assert all(
        f"where:    {key}\n" in said for key in ("seed", "systems.warm.train.lr", "systems.warm.train.batch_size")
    )


@pytest.mark.parametrize(
    ("systems", "said"),
    [
        ({"a": {"preset": "star", "from": "b", "train": BUDGET}, "b": {"preset": "star", "from": "a", "train": BUDGET}},
         "a -> b -> a"),
        ({"a": {"preset": "bm25neg", "train": {"steps": 1, "epochs": 1}}}, "either steps or epochs"),
        ({"a": {"preset": "bm25neg"}}, "either steps or epochs"),
        ({"a": {"preset": "adore", "train": BUDGET}}, "systems.a.from"),
        ({"a": {"preset": "inbatch", "train": {**BUDGET, "new_queries": True}}}, "systems.a.train.new_queries"),
        ({"a": {"preset": "adore", "from": "bm25", "train": BUDGET}}, "cannot start from BM25"),
        ({"a": {"preset": "adore", "from": "warm", "loss": {"cut": 0}, "train": BUDGET}}, "systems.a.loss.cut"),
        ({"a": {"preset": "star", "from": "warm", "sampler": {"k": 500}, "train": BUDGET}}, "source.depth, 200"),
        ({"a": {"preset": "inbatch", "train": {**BUDGET, "batch_size": 1}}}, "no negatives at all"),
        ({"2nd": {"preset": "bm25"}}, "name is not usable"),
    ],
)  # fmt: skip
def test_contradictions_are_refused(systems: dict[str, Any], said: str) -> None:
    assert said in refusal(config(**systems))


def test_merging_goes_key_by_key() -> None:
    base = {"train": {"lr": 1, "steps": 2}, "source": {"name": "run", "depth": 5}, "loss": "softmax", "splits": [1, 2]}
    over = {"train": {"lr": 3}, "source": {"depth": 7}, "splits": [3], "new": 1}
    expected = {"train": {"lr": 3, "steps": 2}, "source": {"name": "run", "depth": 7}, "loss": "softmax"}
    assert merge(base, over) == {**expected, "splits": [3], "new": 1}
    assert base["train"] == {"lr": 1, "steps": 2}


def test_an_answer_of_another_name_replaces_the_whole_answer() -> None:
    assert merge({"name": "run", "depth": 5}, {"name": "live", "depth": 9}) == {"name": "live", "depth": 9}
    assert merge({"name": "run", "depth": 5}, {"name": "random"}) == {"name": "random"}
    assert merge({"name": "run", "depth": 5}, {"name": "run", "system": "a"}) == {
        "name": "run",
        "depth": 5,
        "system": "a",
    }
    assert merge({"name": "run", "depth": 5}, "none") == "none"
    assert merge("ranknet", {"alpha": 0.5}) == {"name": "ranknet", "alpha": 0.5}
    warm = load(config(a={"preset": "star", "from": "warm", "source": "random", "train": BUDGET})).systems["a"]
    assert [source.name for source in warm.source] == ["random"]


def test_extends(tmp_path: Path) -> None:
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "root.yaml").write_text("seed: 1\nbm25: {k1: 0.5, b: 0.1}\n")
    (tmp_path / "base" / "middle.yaml").write_text("extends: root.yaml\nseed: 2\n")
    (tmp_path / "study.yaml").write_text("extends: base/middle.yaml\nbm25: {k1: 0.7}\n")
    assert read_yaml(tmp_path / "study.yaml") == {"seed": 2, "bm25": {"k1": 0.7, "b": 0.1}}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("extends: other.yaml", "in a circle"),
        ("extends: study.yaml", "in a circle"),
        ("extends: nowhere.yaml", "does not exist"),
        ("seed: [1\n", "not valid YAML"),
        ("- 1", "not a YAML mapping"),
        ("", "not a YAML mapping"),
    ],
)
def test_files_that_cannot_be_read(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "study.yaml").write_text(text)
    (tmp_path / "other.yaml").write_text("extends: study.yaml")
    with pytest.raises(HardnegError, match=said):
        read_yaml(tmp_path / "study.yaml")


def test_text_from_the_command_line_becomes_numbers() -> None:
    """Nested scalars of `--config` arrive as text."""
    raw = config()
    raw["seed"] = "7"
    raw["systems"]["warm"] |= {"train": {"steps": "10", "lr": "1e-4"}, "sampler": {"k": "5"}}
    raw["encoder"] = {"normalize": "true"}
    read = load(raw)
    warm = read.systems["warm"]
    assert (read.seed, warm.train.steps, warm.train.lr, warm.sampler.k) == (7, 10, 1e-4, 5)  # type: ignore[union-attr]
    assert read.encoder.normalize is True
    raw["seed"] = 7
    raw["systems"]["warm"] |= {"train": {"steps": 10, "lr": 1e-4}, "sampler": {"k": 5}}
    raw["encoder"] = {"normalize": True}
    assert load(raw) == read


def test_a_read_configuration_can_be_written_again() -> None:
    read = load(read_yaml(ROOT / "config.yaml"))
    written = read.model_dump(mode="json", by_alias=True)
    assert load(json.loads(json.dumps(written))) == read
    assert load(yaml.safe_load(yaml.safe_dump(written))) == read


# --- collections, and systems from elsewhere ---

DOWNLOAD = {"url": "https://example.org/qrels.tsv"}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"collection": {"format": "pydocs", "holdout": {"dev": 0.5, "test": 0.5}}}, ["collection.holdout", "below 1"]),
        (
            {"collection": {"format": "pydocs", "windows": {"words": 20, "overlap": 20}}},
            ["collection.windows.overlap", "20 of 20 words"],
        ),
        ({"collection": {"format": "files", "name": "x", "passages": "p.tsv"}}, ["exactly one of two ways", "none"]),
        (
            {"collection": {"format": "files", "name": "x", "passages": "p.tsv", "queries": "q.tsv"}},
            ["exactly one of two ways", "queries"],
        ),
        (
            {"collection": {"format": "beir", "name": "x", "path": "/data", "download": [DOWNLOAD]}},
            ["collection.path", "/data", "`download: []`"],
        ),
        (
            {"collection": {"format": "beir", "name": "x", "path": ".", "download": [DOWNLOAD, DOWNLOAD]}},
            ["collection.download", "qrels.tsv"],
        ),
        ({"splits": {"train": None}}, ["systems.warm", "splits.train: null", "preset: zero_shot"]),
        ({"evaluation": {"relevant_grade": {"tets": 2}}}, ["evaluation.relevant_grade.tets", "did you mean test?"]),
        (
            {"evaluation": {"measures": ["MRR@10", "nDCG(rel=2)@10"]}},
            ["evaluation.measures.1", "no lowest relevant grade", "write nDCG@10"],
        ),
        (
            {"evaluation": {"measures": ["R(rel=2)@10"], "main_measure": "R(rel=2)@10"}},
            ["evaluation.main_measure", "set evaluation.relevant_grade to 2"],
        ),
        ({"splits": {"evaluate": ["train"]}}, ["splits.evaluate", "collection.holdout"]),
        ({"collection": {"format": "pydocs", "holdout": {"a/b": 0.1}}}, ["name is not usable", "a/b"]),
        ({"collection": {"format": "beir", "name": "x", "path": "~nobody-there/data"}}, ["collection.path"]),
        ({"encoder": {"passage_template": "{body}"}}, ["encoder.passage_template", "{body}"]),
        ({"bm25": {"passage_template": "no field"}}, ["bm25.passage_template"]),
        ({"encoder": {"lower_case": True}}, ["encoder.lower_case", "encoder.tiny.lower_case"]),
        ({"encoder": {"head_from": {"linear": "a", "norm": "b"}}}, ["encoder.head_from", "projection None"]),
    ],
)
def test_what_a_collection_or_an_encoder_cannot_be(change: dict[str, Any], said: list[str]) -> None:
    text = refusal({**config(), **change})
    assert all(part in text for part in said), text


@pytest.mark.parametrize(
    ("system", "said"),
    [
        ({"preset": "zero_shot", "from": "warm"}, ["systems.tried.from", "study:system"]),
        ({"preset": "zero_shot", "from": "othr:star"}, ["systems.tried.from", "did you mean other?"]),
        ({"preset": "given_run", "runs": {"dev": "dev.trec"}}, ["systems.tried.runs", "the file of test"]),
        ({"preset": "given_run", "from": "warm", "runs": {}}, ["A given run trains nothing."]),
        ({"preset": "star", "from": "warm", "train": BUDGET, "runs": {"dev": "x"}}, ["systems.tried.runs"]),
        (
            {"preset": "star", "from": "warm", "train": {**BUDGET, "passage_length": 500}},
            ["systems.tried.train.passage_length", "at most encoder.passage_length, 128"],
        ),
    ],
)
def test_what_a_system_from_elsewhere_cannot_be(system: dict[str, Any], said: list[str]) -> None:
    text = refusal({**config(tried=system), "studies": {"other": "other.yaml"}})
    assert all(part in text for part in said), text


def test_a_system_that_is_null_is_left_out() -> None:
    assert list(load(config(warm=None)).systems) == ["bm25"]


def test_another_format_replaces_the_whole_collection() -> None:
    base = {"format": "beir", "name": "x", "path": "data"}
    over = {"format": "files", "name": "y", "passages": "p"}
    assert merge(base, over) == over
    assert merge(base, {"path": "other"}) == {**base, "path": "other"}


def test_columns_laid_on_a_bare_path_keep_it() -> None:
    assert merge({"passages": "p.csv"}, {"passages": {"id": "key"}}) == {"passages": {"path": "p.csv", "id": "key"}}
    assert merge({"loss": "ranknet"}, {"loss": {"alpha": 1}}) == {"loss": {"name": "ranknet", "alpha": 1}}


def test_a_home_folder_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    made = load({**config(), "collection": {"format": "beir", "name": "x", "path": "~/data"}})
    assert made.collection.path == Path("/home/somebody/data")  # type: ignore[union-attr]


QUERY_SIDE = {"from": "warm", "train": BUDGET}


@pytest.mark.parametrize(
    "system",
    [
        {"preset": "adore", **QUERY_SIDE},
        {"preset": "static", **QUERY_SIDE},
        {"preset": "static", "source": "self", "refresh": "rounds", **QUERY_SIDE},
        {"preset": "static", "source": "random", "sampler": {"name": "uniform", "count": 9}, **QUERY_SIDE},
        {"preset": "static", "source": {"name": "run", "system": "bm25"}, "loss": "list_ranknet", **QUERY_SIDE},
        {"preset": "static", "sampler": "all", **QUERY_SIDE},
        {"preset": "static", "loss": "ranknet", **QUERY_SIDE},
        {"preset": "zero_shot", "from": "warm", "index": "PQ8"},
    ],
)
def test_the_query_encoder_trains_on_live_or_static_lists(system: dict[str, Any]) -> None:
    assert load(config(tried=system)).systems["tried"].trains == system.get(
        "trains", preset(system["preset"])["system"]["trains"]
    )


@pytest.mark.parametrize(
    "change",
    [
        {"source": "none"},
        {"source": "live"},
        {"sampler": "margin_bins"},
        {"refresh": "every_step"},
        {"labels": "teacher"},
        {"order": {"name": "topics", "system": "bm25"}},
        {"source": "none", "batch": "in_batch"},
        {"source": "self"},
    ],
)
def test_lists_that_do_not_go_together_are_refused(change: dict[str, Any]) -> None:
    assert "systems.tried" in refusal(config(tried={"preset": "static", **QUERY_SIDE, **change}))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"export": ["wram"]}, ["where:    export", "did you mean warm?"]),
        ({"analyses": {"split": "train"}}, ["analyses.split", "dev, test"]),
        ({"analyses": {"baselines": ["bm52"]}}, ["analyses.baselines", "did you mean bm25?"]),
        ({"analyses": {"negatives": {"teacher": "bm25"}}}, ["analyses.negatives.teacher", "with encoders"]),
        (
            {"analyses": {"trajectory": {"systems": ["warm"]}}},
            ["analyses.trajectory.systems", "that trains query_encoder"],
        ),
        ({"analyses": {"movement": {"system": "adored"}}}, ["analyses.movement.system", "analyses.trajectory.systems"]),
        (
            {"analyses": {"compression": {"base": "bm25", "systems": ["adored"]}}},
            ["compression.base", "starts from another"],
        ),
        ({"analyses": {"seeds": {"more": [13], "systems": ["warm"]}}}, ["analyses.seeds.more", "13"]),
        ({"analyses": {"ablation": {"warm": {"a": "b"}}}}, ["analyses.ablation.warm", "found:    b"]),
    ],
)
def test_what_cannot_be_looked_into(change: dict[str, Any], said: list[str]) -> None:
    text = refusal({**config(adored={"preset": "adore", **QUERY_SIDE}), **change})
    assert all(part in text for part in said), text


def test_an_index_may_be_written_as_its_factory_string() -> None:
    asked = {
        **config(tried={"preset": "adore", "index": "PQ8", **QUERY_SIDE}),
        "index": {"factory": "IVF64,Flat", "nprobe": 4},
    }
    made = load(asked)
    assert {key: index.label for key, index in made.indexes().items()} == {
        "index": "IVF64,Flat, nprobe 4",
        "systems.tried.index": "PQ8",
    }
    assert (made.index_of("warm"), made.index_of("tried").nprobe) == (made.index, None)
    assert merge("PQ8", {"train_rows": 5}) == {"factory": "PQ8", "train_rows": 5}
    assert merge({"factory": "IVF64,Flat", "nprobe": 4}, {"factory": "PQ8"}) == {"factory": "PQ8"}
    assert merge({"factory": "IVF64,Flat", "nprobe": 4}, {"nprobe": 8}) == {"factory": "IVF64,Flat", "nprobe": 8}
