"""What every stage leaves, of whatever kind; what a script refuses; and that each rule calls its kind's script."""

from __future__ import annotations

import ast
import json
import re
import shutil
from importlib.util import find_spec
from pathlib import Path

import pytest
from conftest import ROOT
from made_stages import Said, Stages, types

from hardneg.stages.artifacts import Artifact, manifest_digest
from hardneg.stages.kinds import KINDS

RULES = {path.stem: path.read_text(encoding="utf-8") for path in sorted((ROOT / "rules").glob("*.smk"))}
# A download is made in test_rules_texts.py, which has a server for it; what rows of pairs give in test_rules_given.py,
# what a language model writes in test_rules_generated.py, narrower vectors in test_rules_matryoshka.py, and what
# learns from judgements of words in test_rules_words.py.
ELSEWHERE = ("download", "given_lists", "generated", "outside", "narrowed", "letor", "letor_run", "deepct", "weighted")
PLANNED = [kind for kind in KINDS if kind not in ELSEWHERE]
REPORTING = {"summarise_measures", "write_report"}

ROWS = {"query": "int32", "passage": "int32", "rank": "int32", "score": "float"}
JUDGED = {"query_id": "string", "passage_id": "string", "grade": "int32", "query": "int32", "passage": "int32"}
COUNTS = dict.fromkeys(("queries", "hits", "relevant", "judged_not_relevant", "unjudged", "agreed"), "int64")
SCHEMAS = {
    "collection": {
        "passages.parquet": {"passage_id": "string", "url": "string", "title": "string", "text": "string"},
        "queries.train.parquet": {"query_id": "string", "text": "string"},
        "queries.test.parquet": {"query_id": "string", "text": "string"},
        "qrels.train.parquet": JUDGED,
        "qrels.test.parquet": JUDGED,
    },
    "bm25_run": {"run.test.parquet": ROWS},
    "given_run": {"run.test.parquet": ROWS},
    "run": {"run.test.parquet": ROWS},
    "rerank": {"run.test.parquet": ROWS},
    "mine": {"negatives.parquet": ROWS},
    "pair_scores": {"scores.parquet": {"query": "int32", "passage": "int32", "score": "float"}},
    "clusters": {"clusters.parquet": {"topic": "int32"}},
    "measure": {
        "measures.test.parquet": {"query_id": "large_string", "measure": "large_string", "value": "double"},
    },
    "pairwise_errors": {
        "errors.parquet": {"query": "int32", "passage": "int32", "errors": "int64", "top_k": "int64"},
    },
    "trajectory": {
        "trajectory.parquet": {"step": "int32", "name": "large_string", "value": "double"},
        "per_query.parquet": {"step": "int32", "query_id": "large_string", "value": "double"},
    },
    "agreement": {
        "agreement.parquet": {
            "system": "large_string",
            **COUNTS,
            "hole": "double",
            "measured_false_negative_rate": "double",
        },
    },
    "movement": {
        "movement.parquet": {
            "kind": "large_string",
            "step": "int32",
            "passage": "int32",
            "x": "float",
            "y": "float",
        },
    },
}


def contents(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Every file of a stage's folder, with its time; but for the writer's lock."""
    files = (path for path in folder.rglob("*") if path.is_file() and not path.name.endswith(".writer.lock"))
    return {str(path.relative_to(folder)): (path.stat().st_mtime_ns, path.read_bytes()) for path in files}


@pytest.mark.parametrize("kind", PLANNED)
def test_a_finished_stage_is_what_the_plan_says_and_stays(stages: Stages, kind: str) -> None:
    stage = stages.stage(kind)
    made = stages.make(stage)
    for key, value in stage.record.items():
        assert made.manifest[key] == value, key
    assert set(made.manifest) == {*stage.record, "files", "facts", "libraries", "digest"}

    folder = stages.folder / stage.folder
    left = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    beside = {"manifest.json", "cost.json", ".finished.json", "progress.jsonl", ".writer.lock"}
    shards = {name for name in left if kind == "passages" and name.startswith(("shard-", ".shard-", "000"))}
    assert left - beside - shards == set(made.manifest["files"]), "checkpoints and temporary files are removed"
    cost = json.loads((folder / "cost.json").read_text(encoding="utf-8"))
    assert cost["seconds"] >= 0 and cost["peak_memory_mib"] > 10 and cost["devices"] == 1
    tables = {name: types(made, name) for name in made.manifest["files"] if name.endswith(".parquet")}
    assert tables == SCHEMAS.get(kind, {})

    before = contents(folder)
    for command in stages.commands(stage):
        said = stages.call(command)
        assert (said.status, said.err) == (0, "") and "was finished by another process" in said.out
    assert contents(folder) == before


# --- making it again ---


ANALYSES = ["pairwise_errors", "trajectory", "agreement", "movement", "export"]


@pytest.mark.parametrize("kind", ["tokens", "mine", "pair_scores", "clusters", "query_encoder", "run", *ANALYSES])
def test_a_forced_script_makes_the_same_bytes_again(stages: Stages, kind: str) -> None:
    stage = stages.stage(kind)
    made = stages.make(stage)
    names = (*made.manifest["files"], "manifest.json")
    before = contents(made.folder)
    said = stages.call([*stages.commands(stage)[0], "--force"])
    assert said.status == 0 and "was finished" not in said.out
    after = contents(made.folder)
    assert {name: after[name][1] for name in names} == {name: before[name][1] for name in names}
    assert all(after[name][0] > before[name][0] for name in names)


# --- what a script refuses ---


@pytest.fixture
def alone(stages: Stages, tmp_path: Path) -> Stages:
    """The same project elsewhere, with nothing made but the collection, the tokenizer and BM25's ranking to mine."""
    ranking = stages.make(stages.stage("mine", "bm25").parents["run"])
    for artifact in (stages.made("collection"), stages.made("tokenizer"), ranking):
        shutil.copytree(artifact.folder, tmp_path / artifact.folder.relative_to(stages.folder))
    for path in stages.folder.iterdir():
        if path.name == "data":
            shutil.copytree(path, tmp_path / "data")
        elif path.is_file():
            shutil.copy(path, tmp_path)
    return Stages(tmp_path, stages.config)


def check_refused(said: Said, *words: str) -> None:
    assert said.status == 1
    assert said.err.startswith("error: ") and "Traceback" not in said.err
    for part in words:
        assert part in said.err, said.err


@pytest.mark.parametrize("role", ["collection", "run"])
def test_a_missing_input_is_refused(alone: Stages, role: str) -> None:
    stage = alone.stage("mine", "bm25")
    (command,) = alone.commands(stage)
    command.remove(str(stage.parents[role].manifest))
    check_refused(alone.call(command), "An input is missing, or of another version", f"for {role}")
    assert not (alone.folder / stage.manifest).exists()


def test_an_input_that_was_never_made_is_refused_in_a_process_of_its_own(alone: Stages) -> None:
    (command,) = alone.commands(alone.stage("clusters"))
    check_refused(alone.call_apart(command), "A stage's manifest is missing.", "queries/bm25neg-")


def test_an_input_of_another_version_is_refused(alone: Stages) -> None:
    stage, other = alone.stage("tokens"), alone.stage("tokenizer")
    manifest = alone.folder / other.manifest
    content = json.loads(manifest.read_text(encoding="utf-8"))
    content["version"] = "0" * 12
    manifest.write_text(json.dumps({**content, "digest": manifest_digest(content)}), encoding="utf-8")
    said = alone.call(alone.commands(stage)[0])
    check_refused(said, "of another version than the plan asks for", "(000000000000)", f"version {other.version}")
    assert not (alone.folder / stage.manifest).exists()


def test_a_flipped_byte_of_an_input_is_refused(alone: Stages) -> None:
    made = Artifact.open(alone.folder / alone.stage("collection").manifest)
    path = made.path("passages.parquet")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    said = alone.call(alone.commands(alone.stage("bm25_index"))[0])
    check_refused(said, "A file of a finished stage has changed.", "passages.parquet", "SHA-256")


def test_a_lost_manifest_is_put_back_in_a_process_of_its_own(alone: Stages) -> None:
    stage = alone.stage("tokenizer")
    manifest = alone.folder / stage.manifest
    sealed = manifest.read_bytes()
    manifest.unlink()
    said = alone.call_apart(alone.commands(stage)[0])
    assert said.status == 0 and "was finished before; nothing of it had changed" in said.out
    assert manifest.read_bytes() == sealed


# --- the rules ---


def rules() -> dict[str, str]:
    """The text of each rule of `rules/`, by its name."""
    parts = [part for text in RULES.values() for part in re.split(r"^rule ", text, flags=re.MULTILINE)[1:]]
    return {part.partition(":")[0]: part for part in parts}


def test_every_rule_calls_the_script_of_its_kind() -> None:
    kinds = dict(re.findall(r'^(\w+) = stage_rule\("(\w+)"', "\n".join(RULES.values()), flags=re.MULTILINE))
    assert set(kinds.values()) == set(KINDS)
    scripts = set()
    for name, text in rules().items():
        if name in REPORTING:
            assert f'reporting("{name}"' in text
        else:
            (used,) = set(re.findall(r"(\w+)\.shell\(", text))
            kind = kinds[used]
            assert name == KINDS[kind].script or f'script="{name}"' in text
            named = {f"{used}.{part}" for part in ("inputs", "record", "log", "threads", "gpu")}
            assert name == "seal_passages" or named <= set(re.findall(r"\w+\.\w+", text))
        scripts.add(name)
        assert find_spec(f"workflow_scripts.{name}") is not None
    starters = {"job", "start", "warm"}
    runnable = [path for path in (ROOT / "workflow_scripts").glob("*.py") if "__main__" in path.read_text("utf-8")]
    assert scripts | starters == {path.stem for path in runnable}


@pytest.mark.parametrize("name", sorted(set(rules()) - REPORTING))
def test_a_rule_gives_what_its_script_asks_for(name: str) -> None:
    tree = ast.parse((ROOT / f"workflow_scripts/{name}.py").read_text(encoding="utf-8"))
    (call,) = [
        node for node in ast.walk(tree) if isinstance(node, ast.Call) and ast.unparse(node.func) == "stage_command"
    ]
    asked = {key for keyword in call.keywords for key in ast.literal_eval(keyword.value)}
    given = re.findall(r"--(\w+)", rules()[name].partition("shell:")[2])
    assert asked == set(given)


def test_every_kind_has_a_test_of_what_it_leaves() -> None:
    """Besides the contract, which all share."""
    looked_at = set()
    for path in Path(__file__).parent.glob("test_rules_*.py"):
        if path != Path(__file__):
            looked_at |= set(re.findall(r"""(?:made|stage|of)\("(\w+)""", path.read_text(encoding="utf-8")))
    assert looked_at == set(KINDS)
