"""Versions: what a change of settings or of code changes, and what it does not."""

from __future__ import annotations

import ast
import shutil
from collections import defaultdict
from collections.abc import Callable, Collection
from copy import deepcopy
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml

from hardneg.config import load, read_yaml
from hardneg.data import readers
from hardneg.methods.axes import AXES, answers, function_of, root_of
from hardneg.planning.plan import Plan
from hardneg.planning.targets import TARGETS, targets
from hardneg.stages.artifacts import canonical_json
from hardneg.stages.kinds import KINDS, TRAINS
from hardneg.stages.revision import RUNTIME_MODULES, code_revision
from hardneg.stages.stage import Stage

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = {**{entry.script: kind for kind, entry in KINDS.items()}, "seal_passages": "passages"}
CHOSEN_ROOTS = {"collection": [*readers.ROOTS.values()], "passages": ["hardneg.model.untied:passage_side"]}
CHOSEN_ROOTS["bm25_index"] = ["hardneg.text.terms:weighted_texts"]
CHOSEN_ROOTS["index"] = ["hardneg.retrieval.search.centroids:write_trained"]
CHOSEN_ROOTS["collection"].append(readers.MEMBERS)
for _kind, _function in {"run": "retrieve_within", "bm25_index": "index_within", "bm25_run": "search_within"}.items():
    CHOSEN_ROOTS[_kind] = [*CHOSEN_ROOTS.get(_kind, []), f"hardneg.retrieval.members:{_function}"]
"""Code that decides the result of some stages of a kind, which the plan adds to these alone."""
LOOKED_INTO = {"pairwise_errors", "trajectory", "diagnosis", "agreement", "movement", "export", "negatives_export"}


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The embedded default, with ANCE's rounds and an ADORE on a system that knows no RankNet."""
    monkeypatch.chdir(tmp_path)
    raw = read_yaml(ROOT / "config.yaml")
    raw["systems"] |= {
        "rand": {"preset": "rand", "from": "inbatch_softmax", "train": {"steps": 10}},
        "ance": {"preset": "ance", "from": "bm25neg", "train": {"steps": 10}},
        "adore_inbatch": {"preset": "adore", "from": "inbatch_softmax", "train": {"steps": 10}},
    }
    return raw


Versions = dict[tuple[str, str], list[str]]


def versions(raw: dict[str, Any]) -> Versions:
    """Versions by kind and label; BM25 ranks twice, for evaluation and for mining."""
    found: Versions = defaultdict(list)
    for stage in Plan(load(raw)).stages:
        found[stage.kind, stage.label].append(stage.version)
    return dict(found)


def changed(before: Versions, after: Versions) -> set[tuple[str, str]]:
    assert before.keys() == after.keys()
    return {key for key in before if before[key] != after[key]}


def following(raw: dict[str, Any], chosen: Callable[[Stage], bool]) -> set[tuple[str, str]]:
    """Kind and label of the chosen stages and of all that hang below them."""
    found: set[Stage] = set()
    for stage in Plan(load(raw)).stages:  # parents come first
        if chosen(stage) or found & set(stage.parents.values()):
            found.add(stage)
    return {(stage.kind, stage.label) for stage in found}


def with_change(raw: dict[str, Any], path: Collection[str], value: Any) -> dict[str, Any]:
    raw = deepcopy(raw)
    *way, last = path
    place = raw
    for key in way:
        place = place.setdefault(key, {})
    place[last] = value
    return raw


def test_parents_come_first_and_folders_are_their_own(settings: dict[str, Any]) -> None:
    plan = Plan(load(settings))
    for number, stage in enumerate(plan.stages):
        assert set(stage.parents.values()) <= set(plan.stages[:number])
        assert stage.folder == Path("artifacts/pydocs", stage.kind, f"{stage.label}-{stage.version}")
        assert plan.stage(stage.dataset, stage.kind, stage.label, stage.version) is stage
        assert canonical_json(stage.record)  # JSON types only
    assert len({stage.folder for stage in plan.stages}) == len(plan.stages)
    elsewhere = {"download", "given_run", "given_vectors", "given_lists", "negatives_export", "trajectory", "movement"}
    with_a_cross_encoder = {"cross_encoder", "late_interaction", "rerank", "pair_scores", "clusters"}
    asked_for = {"generated", "outside", "narrowed", "letor", "letor_run", "deepct", "weighted"}
    assert {s.kind for s in plan.stages} == KINDS.keys() - elsewhere - with_a_cross_encoder - asked_for
    for stage in plan.stages:
        families = tuple(role for role in KINDS[stage.kind].roles if role.endswith("."))
        assert all(role in KINDS[stage.kind].roles or role.startswith(families) for role in stage.parents)


def test_versions_repeat(settings: dict[str, Any]) -> None:
    assert versions(settings) == versions(settings)


def test_the_learning_rate_of_adore_changes_what_hangs_below_it(settings: dict[str, Any]) -> None:
    other = with_change(settings, ["systems", "adore_star", "train", "lr"], 2e-4)
    kinds = ("query_encoder", "queries", "run", "measure", "pairwise_errors", "diagnosis", "export")
    assert changed(versions(settings), versions(other)) == {
        *((kind, "adore_star") for kind in kinds),
        ("agreement", "pydocs"),
    }


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (["runtime", "shards"], 7),
        (["runtime", "device"], "cpu"),
        (["runtime", "checkpoint_seconds"], 0),
        (["runtime"], {"gpus_per_search": 4, "gpus_per_training": 4, "java_heap_mib": 300}),
        (["runtime", "trackers"], ["tensorboard"]),
        (["evaluation", "main_measure"], "R@100"),
        (["systems", "star", "train", "precision"], None),
    ],
)
def test_settings_that_change_no_version(settings: dict[str, Any], path: list[str], value: Any) -> None:
    assert versions(with_change(settings, path, value)) == versions(settings)


def test_the_seed_changes_training_and_what_follows(settings: dict[str, Any]) -> None:
    expected = following(settings, lambda stage: stage.kind in TRAINS.values())
    assert changed(versions(settings), versions(with_change(settings, ["seed"], 14))) == expected
    kept = {(kind, label) for kind, label in versions(settings) if (kind, label) not in expected}
    assert kept == {
        ("collection", "pydocs"),
        ("tokenizer", "tiny"),
        ("tokens", "all"),
        ("bm25_index", "lucene"),
        ("bm25_run", "bm25"),
        ("mine", "bm25"),
        ("measure", "bm25"),
    }


@pytest.mark.parametrize(
    ("path", "value", "kinds"),
    [
        (["bm25", "k1"], 1.2, {"bm25_run"}),
        (["evaluation", "measures"], ["MRR@10"], {"measure"}),
        (["encoder", "passage_length"], 65, {"tokens"}),
        (["encoder", "tiny", "vocabulary"], 9000, {"tokenizer"}),
        (["encoder", "temperature"], 0.1, {"dual_encoder"}),
        (["arithmetic", "encoding_threads"], 2, {"passages", "queries", "run", "pairwise_errors", "diagnosis"}),
        (["arithmetic", "training_threads"], 1, {"dual_encoder", "query_encoder"}),
        (["arithmetic", "vectors"], "float16", {"passages"}),
        (["index", "factory"], "PQ8", {"index"}),
        (["analyses", "pairwise_errors"], {"k": 50}, {"pairwise_errors"}),
        (["analyses", "agreement"], {"k": 5}, {"agreement"}),
        (["analyses", "split"], "test", {"pairwise_errors", "agreement"}),
    ],
)
def test_a_setting_changes_its_stages_and_what_follows(
    settings: dict[str, Any], path: list[str], value: Any, kinds: set[str]
) -> None:
    found = changed(versions(settings), versions(with_change(settings, path, value)))
    assert found == following(settings, lambda stage: stage.kind in kinds)


def test_a_system_more_changes_no_other(settings: dict[str, Any]) -> None:
    fewer = deepcopy(settings)
    del fewer["systems"]["adore_inbatch"], fewer["systems"]["ance"]
    before, after = versions(settings), versions(fewer)
    assert before.pop(("agreement", "pydocs")) != after.pop(("agreement", "pydocs"))  # it compares them all
    assert after.items() <= before.items()


def test_a_search_parameter_builds_no_index_again(settings: dict[str, Any]) -> None:
    ivf = with_change(settings, ["index"], {"factory": "IVF64,Flat", "nprobe": 4})
    more = with_change(settings, ["index"], {"factory": "IVF64,Flat", "nprobe": 8})
    found = changed(versions(ivf), versions(more))
    searching = following(ivf, lambda stage: bool((stage.settings.get("search") or {}).get("nprobe")))
    assert found == searching
    assert {"index", "dual_encoder", "passages"}.isdisjoint(kind for kind, _ in found)
    assert {("query_encoder", "adore_star"), ("run", "star")} <= found  # what trains on the index, and what it ranks


QUERY_SIDE = {"from": "star", "train": {"steps": 9}}


def test_a_system_may_have_its_own_index(settings: dict[str, Any]) -> None:
    settings["systems"] |= {
        "adore_pq": {"preset": "adore", "index": "PQ8", **QUERY_SIDE},
        "star_pq": {"preset": "zero_shot", "from": "star", "index": "PQ8"},
    }
    systems = Plan(load(settings)).systems
    trained, served = systems["adore_pq"], systems["star_pq"]
    assert trained.index is served.index is trained.run.parents["index"]
    assert trained.model is not None and trained.model.parents["index"] is trained.index
    assert served.model is systems["star"].model and served.queries is systems["star"].queries
    assert trained.index is not systems["star"].index and trained.passages is systems["star"].passages


def test_rounds_of_a_query_encoder_are_mined_with_it_over_the_same_passages(settings: dict[str, Any]) -> None:
    rounds = {"preset": "static", "source": "self", "refresh": "rounds", **QUERY_SIDE}
    plan = Plan(load(with_change(settings, ["systems", "refreshed"], rounds)))
    trained = {stage.label: stage for stage in plan.of("query_encoder")}
    first, second = trained["refreshed.1"], trained["refreshed.2"]
    assert "continues" not in first.parents and second.parents["continues"] is first
    assert second.parents["init"] is first.parents["init"] is plan.systems["star"].model
    mined = second.parents["negatives"].parents["run"]
    assert mined.parents["queries"].parents["model"] is first
    assert mined.parents["passages"] is plan.systems["star"].passages is plan.systems["refreshed"].passages


def test_probes_change_what_is_probed_alone(settings: dict[str, Any]) -> None:
    probed = with_change(settings, ["analyses", "trajectory"], {"systems": ["adore_star"]})
    plan, before, after = Plan(load(probed)), versions(settings), versions(probed)
    (follows,) = plan.analyses.trajectory["adore_star"]
    assert follows.parents["model"] is plan.systems["adore_star"].model
    del after["trajectory", "adore_star"]
    assert changed(before, after) == following(settings, lambda stage: stage.label == "adore_star")


def test_compression_serves_every_system_on_every_index(settings: dict[str, Any]) -> None:
    settings["systems"] |= {
        f"adore_{number}": {"preset": "adore", "index": f"PQ{number}", **QUERY_SIDE} for number in (8, 16)
    }
    settings["analyses"] = {"compression": {"base": "star", "systems": ["adore_8", "adore_16", "adore_star"]}}
    plan = Plan(load(settings))
    cells = {(cell.system, cell.served_on.factory): cell for cell in plan.analyses.compression}
    systems, kinds = ("star", "adore_8", "adore_16", "adore_star"), ("PQ8", "PQ16", "Flat")
    assert list(cells) == [(system, kind) for system in systems for kind in kinds]
    for (system, kind), cell in cells.items():
        run = cell.measure.parents["run"]
        assert run.parents["index"] is cell.built and cell.built.settings["factory"] == kind
        assert run.parents["queries"] is plan.systems[system].queries
        assert cell.built.parents["passages"] is plan.systems["star"].passages
    own = [cell for cell in cells.values() if cell.trained_on == cell.served_on]
    assert [cell.system for cell in own] == ["adore_8", "adore_16", "adore_star"]


def test_further_seeds_share_what_no_seed_enters(settings: dict[str, Any]) -> None:
    asked = with_change(settings, ["analyses", "seeds"], {"more": [1, 2], "systems": ["star"]})
    plan = Plan(load(asked))
    assert set(plan.analyses.seeds) == {("star", 1), ("star", 2)}
    alone = Plan(load(with_change(settings, ["seed"], 1))).systems["star"]
    assert plan.analyses.seeds["star", 1].version == alone.measure.version
    counted = {kind: len(plan.of(kind)) for kind in ("collection", "tokens", "bm25_run")}
    assert counted == {kind: len(Plan(load(settings)).of(kind)) for kind in counted}
    assert {stage.settings["seed"] for stage in plan.of("dual_encoder")} == {13, 1, 2}
    assert not {stage.label for stage in plan.of("dual_encoder") if stage.settings["seed"] != 13} & {"rand", "ance"}


def test_the_report_waits_for_what_it_looks_into(settings: dict[str, Any]) -> None:
    plan = Plan(load(settings))
    looked = {stage.manifest for stage in plan.stages if stage.kind in LOOKED_INTO - {"export"}}
    assert set(plan.analyses.manifests) == looked
    assert plan.analyses.parts == {"errors", "negatives", "agreement"}
    nothing = dict.fromkeys(("pairwise_errors", "negatives", "agreement"))
    assert Plan(load(with_change(settings, ["analyses"], nothing))).analyses.manifests == []


def test_rounds_go_on_from_each_other(settings: dict[str, Any]) -> None:
    trained = {stage.label: stage for stage in Plan(load(settings)).of("dual_encoder")}
    rounds = [trained[label] for label in ("ance.1", "ance.2", "ance")]
    assert [stage.settings["round"] for stage in rounds] == [1, 2, 3]
    assert rounds[0].parents["init"] is trained["bm25neg"]
    for earlier, later in pairwise(rounds):
        assert later.parents["continues"] is earlier
        assert later.parents["negatives"].parents["run"].parents["passages"].parents["model"] is earlier


# --- targets ---


def labels(plan: Plan, name: str) -> set[tuple[str, str]]:
    """Kind and label of the stages behind a target."""
    by_manifest = {stage.manifest: (stage.kind, stage.label) for stage in plan.stages}
    return {by_manifest[manifest] for manifest in targets(plan, name)}


def test_star_and_adore_are_the_systems_with_that_preset_and_the_warm_up_is_what_others_start_from(
    settings: dict[str, Any],
) -> None:
    plan = Plan(load(settings))
    assert labels(plan, "star") == {("dual_encoder", "star")}
    assert labels(plan, "adore") == {("query_encoder", "adore_star"), ("query_encoder", "adore_inbatch")}
    # STAR is what ADORE starts from, but it has a target of its own.
    assert labels(plan, "warmup") == {("dual_encoder", "inbatch_softmax"), ("dual_encoder", "bm25neg")}


def test_targets_of_kinds_are_all_stages_of_those_kinds(settings: dict[str, Any]) -> None:
    plan = Plan(load(settings))
    kinds = {"bm25": ("bm25_index", "bm25_run"), "encode": ("passages", "queries"), "mine": ("mine",)}
    for name, of in {**kinds, "index": ("index",)}.items():
        assert targets(plan, name) == [stage.manifest for stage in plan.of(*of)]
        assert targets(plan, name)
    assert {"star", "adore", "warmup", "index", "generate", *kinds} == set(TARGETS)


def test_a_recipes_steps_have_their_targets(settings: dict[str, Any]) -> None:
    chain = {"preset": "star_adore", "train": {"steps": 5}}
    plan = Plan(load({**settings, "systems": {"bm25": {"preset": "bm25"}, "ours": chain}, "export": []}))
    assert labels(plan, "warmup") == {("dual_encoder", "ours.warmup")}
    assert labels(plan, "star") == {("dual_encoder", "ours.star")}
    assert labels(plan, "adore") == {("query_encoder", "ours")}


# --- code ---


RANKNET = "methods/losses/ranknet.py"


@pytest.fixture
def copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the package, to edit, that the plan takes its revisions from."""
    package = tmp_path / "copy" / "hardneg"
    shutil.copytree(ROOT / "hardneg", package, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr("hardneg.planning.graph.PACKAGE", package)
    return package


def edit(file: Path, old: str, new: str) -> None:
    text = file.read_text(encoding="utf-8")
    assert text.count(old) == 1, old
    file.write_text(text.replace(old, new), encoding="utf-8")


def test_ranknets_arithmetic_changes_what_trains_with_it(settings: dict[str, Any], copied: Path) -> None:
    before = versions(settings)
    edit(copied / RANKNET, "pairs = softplus(", "pairs = 2 * softplus(")
    expected = following(settings, lambda stage: "ranknet" in [loss["name"] for loss in stage.settings.get("loss", [])])
    assert changed(before, versions(settings)) == expected
    assert ("dual_encoder", "star") in expected
    assert not {("dual_encoder", "inbatch_softmax"), ("query_encoder", "adore_inbatch")} & expected


def test_comments_and_messages_change_nothing(settings: dict[str, Any], copied: Path) -> None:
    before = versions(settings)
    for file in copied.rglob("*.py"):
        file.write_text("# A word more.\n" + file.read_text(encoding="utf-8"), encoding="utf-8")
    edit(copied / RANKNET, '"""RankNet (Zhan et al., Eq. 14)', '"""RankNet')
    edit(copied / RANKNET, 'ge=0, description="', 'ge=0, description="in other words: ')
    edit(copied / "errors.py", '"where", where', '"place", where')
    assert versions(settings) == before


def imported(script: Path) -> list[tuple[str, str]]:
    """Module and name of the library's functions and classes that a script imports."""
    return [
        (node.module, alias.name)
        for node in ast.walk(ast.parse(script.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("hardneg")
        for alias in node.names
        if not alias.name.isupper()
    ]


def test_every_script_is_of_a_stage() -> None:
    scripts = {path.stem: path.read_text(encoding="utf-8") for path in (ROOT / "workflow_scripts").glob("*.py")}
    assert {name for name, text in scripts.items() if "import stage_command" in text} == SCRIPTS.keys()
    rules = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "rules").glob("*.smk"))
    assert all(f"rule {name}:" in rules for name in SCRIPTS)


@pytest.mark.parametrize("script", SCRIPTS)
def test_what_a_script_calls_is_in_its_stages_revision(script: str, copied: Path) -> None:
    """Each function that it imports is edited, and the stage's revision must change."""
    kind = SCRIPTS[script]
    roots = [*KINDS[kind].roots, *CHOSEN_ROOTS.get(kind, [])]
    before = code_revision(roots, copied)
    for module, name in imported(ROOT / "workflow_scripts" / f"{script}.py"):
        if module in RUNTIME_MODULES:
            continue
        file = copied.joinpath(*module.split(".")[1:]).with_suffix(".py")
        text = file.read_text(encoding="utf-8")
        tree = ast.parse(text)
        definition = next((node for node in tree.body if getattr(node, "name", None) == name), None)
        if definition is None:  # a type
            continue
        assert isinstance(definition, ast.FunctionDef | ast.ClassDef)
        definition.body.append(ast.parse("edited = 1").body[0])
        file.write_text(ast.unparse(tree), encoding="utf-8")
        assert code_revision(roots, copied) != before, f"{module}:{name} is not reached"
        file.write_text(text, encoding="utf-8")
    assert code_revision(roots, copied) == before


def test_every_answer_is_implemented() -> None:
    for key in AXES:
        for name, answer in answers(key).items():
            assert callable(function_of(key, {"name": name}))
            assert code_revision([root_of(key, answer)])


# --- collections ---


def files_of(folder: Path, splits: dict[str, Any]) -> dict[str, Any]:
    return {
        "collection": {"format": "files", "name": "x", "passages": str(folder / "p.tsv"), "splits": splits},
        "splits": {"train": None, "evaluate": list(splits)},
        "systems": {"bm25": {"preset": "bm25"}},
    }


def test_how_a_split_is_read_is_part_of_the_version_and_where_it_lies_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("here", "there"):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "p.tsv").write_text("p1\tsome text\n")
        (folder / "q.tsv").write_text("q1\tthe first\tthe second\n")
        (folder / "r.tsv").write_text("q1 0 p1 1\n")

    def version(folder: str, text: int) -> str:
        queries = {"path": str(tmp_path / folder / "q.tsv"), "header": False, "id": 0, "text": text}
        splits = {"test": {"queries": queries, "qrels": str(tmp_path / folder / "r.tsv")}}
        return Plan(load(files_of(tmp_path / folder, splits))).collection.version

    assert version("here", 1) == version("there", 1)
    assert version("here", 1) != version("here", 2)
    (tmp_path / "there" / "r.tsv").write_text("q1 0 p1 2\n")
    assert version("here", 1) != version("there", 1)


def test_which_of_what_was_downloaded_is_read_is_part_of_the_version() -> None:
    def version(path: str) -> str:
        download = [{"url": "https://example.org/all.zip", "unpack": True}]
        collection = {"format": "beir", "name": "x", "path": path, "download": download}
        return Plan(load({"collection": collection, "systems": {"bm25": {"preset": "bm25"}}})).collection.version

    assert version("android") != version("english")


@pytest.fixture
def drawing(settings: dict[str, Any]) -> dict[str, Any]:
    """A study that trains on what another has made, and mines it."""
    Path("base.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    return {
        "collection": {"format": "pydocs", "name": "mine"},
        "studies": {"base": "base.yaml"},
        "encoder": {"passage_length": 64, "passage_template": "{text}", "temperature": 0.5},
        "systems": {"further": {"preset": "star", "from": "base:adore_star", "train": {"steps": 5}}},
    }


def test_only_what_is_used_of_another_study_is_planned(drawing: dict[str, Any]) -> None:
    plan = Plan(load(drawing))
    needed: set[Stage] = set()
    waiting = [plan.systems["further"].measure]
    while waiting:
        stage = waiting.pop()
        needed.add(stage)
        waiting += stage.parents.values()
    assert {stage for stage in plan.stages if stage.kind not in LOOKED_INTO} == needed
    model = plan.systems["further"].model
    assert (
        model is not None
        and model.parents["init"].dataset == "pydocs"
        and model.parents["init"].kind == "query_encoder"
    )


def test_what_starts_from_another_study_keeps_its_encoder_and_reads_texts_by_its_own_settings(
    drawing: dict[str, Any],
) -> None:
    plan = Plan(load(drawing))
    model = plan.systems["further"].model
    assert model is not None
    assert model.settings["encoder"]["temperature"] == 0.05
    tokens = model.parents["tokens"]
    assert tokens.dataset == "mine" and tokens.parents["tokenizer"].dataset == "pydocs"
    lengths = {"query_length": 32, "passage_length": 64}
    assert tokens.settings == {**lengths, "passage_template": "{text}", "characters": None}


def test_places_are_those_of_the_study_that_plans_a_stage(drawing: dict[str, Any]) -> None:
    places = Plan(load(drawing)).runtime["places"]
    collections = {name: place["collection"] for name, place in places.items() if "collection" in place}
    named = {name.partition("/")[0]: collection["name"] for name, collection in collections.items()}
    assert named == {"pydocs": "pydocs", "mine": "mine"}


def test_another_studys_stages_do_not_take_this_ones_backbone(drawing: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "bert").mkdir()
    (tmp_path / "bert" / "config.json").write_text("{}", encoding="utf-8")
    (tmp_path / "bert" / "model.safetensors").write_bytes(b"")
    drawing["encoder"]["backbone"] = "./bert"
    drawing["systems"]["own"] = {"preset": "inbatch", "train": {"steps": 5}}
    plan = Plan(load(drawing))
    assert {place["backbone"] for place in plan.places.values() if "backbone" in place} == {"bert"}
    taken = [name for name, place in plan.places.items() if "backbone" in place]
    assert {name.rpartition("-")[0] for name in taken} == {"mine/tokenizer/backbone", "mine/dual_encoder/own"}
