"""Published methods: every preset and recipe loads and has its page, and `hardneg methods` prints what it should."""

from __future__ import annotations

from typing import Any

import pytest

from hardneg.cli import main as cli
from hardneg.config import Config, System, load
from hardneg.config.checks.references import references
from hardneg.errors import HardnegError
from hardneg.methods.axes import AXES, answers
from hardneg.methods.published import PAGE, names, preset

BUDGET = {"steps": 10}
RECIPES = [name for name in names() if "steps" in preset(name)]
COMPLETED: dict[str, dict[str, Any]] = {
    "zero_shot": {"from": "other:star"},
    "pretrained": {},
    "cross_encoder": {"train": BUDGET},
    "colbert": {"train": BUDGET},
    "deepct": {"train": BUDGET},
    "rerank": {"train": BUDGET},
    "given_run": {"runs": {"dev": "dev.trec", "test": "test.trec"}},
    "given_vectors": {"vectors": {"passages": ["p.npy"], "queries": {"dev": "d.npy", "test": "t.npy"}}},
}
"""What a preset cannot know; of those not here, where one that trains starts, and how long it trains."""

CHAIN = {"preset": "star_adore", "train": BUDGET}


def loaded(**systems: Any) -> Config:
    """A configuration with what presets name: BM25, a warm-up, and two that teach."""
    others = {
        "bm25": {"preset": "bm25"},
        "warm": {"preset": "bm25neg", "train": BUDGET},
        "cross_encoder": {"preset": "cross_encoder", "train": BUDGET},
        "colbert": {"preset": "colbert", "train": BUDGET},
    }
    # Pairs, whose rows may give what a preset needs.
    collection = {"format": "pairs", "name": "pairs", "path": "pairs.jsonl"}
    systems = {**others, **systems}
    written = {"generation": {"model": "written"}, "studies": {"other": "other.yaml"}}
    raw = {"collection": collection, **written, "systems": systems}
    return load(raw)


def refusal(**systems: Any) -> str:
    with pytest.raises(HardnegError) as raised:
        loaded(**systems)
    return str(raised.value)


@pytest.mark.parametrize("name", names())
def test_every_preset_and_recipe_loads_and_has_a_page(name: str) -> None:
    content = preset(name)
    assert content["about"].strip().endswith(".")
    assert content.keys() <= {*PAGE, "system", "steps"}
    assert ("system" in content) != ("steps" in content)
    trains = content.get("system", {}).get("trains") != "nothing"
    own = COMPLETED.get(name, {"from": "warm", "train": BUDGET} if trains else {})
    systems = loaded(tried={"preset": name, **own}).systems
    made = [label for label in systems if label == "tried" or label.startswith("tried.")]
    if "steps" not in content:
        assert made == ["tried"] and systems["tried"].trains == content["system"].get("trains", "both_encoders")
        return
    steps = list(content["steps"])
    assert made == [*(f"tried.{step}" for step in steps[:-1]), "tried"]
    for _, other in (pair for label in made for pair in references(systems[label])):
        assert other in systems and not other.startswith(".")


def test_a_recipes_steps_start_from_each_other() -> None:
    systems = loaded(ours={**CHAIN, "from": "warm"}).systems
    chain = {name: system for name, system in systems.items() if name.startswith("ours")}
    assert {name: (system.preset, system.from_) for name, system in chain.items()} == {
        "ours.warmup": ("bm25neg", "warm"),
        "ours.star": ("star", "ours.warmup"),
        "ours": ("adore", "ours.star"),
    }
    assert {system.train.steps for system in chain.values()} == {10}


def test_a_steps_own_settings_win() -> None:
    steps = {"star": {"train": {"steps": 3}, "sampler": {"k": 50}}, "warmup": {"loss": "softmax"}}
    systems = loaded(ours={**CHAIN, "steps": steps}).systems
    assert [systems[name].train.steps for name in ("ours.warmup", "ours.star", "ours")] == [10, 3, 10]
    star: System = systems["ours.star"]
    assert star.sampler is not None and star.sampler.reach() == ("k", 50)
    assert [loss.name for loss in systems["ours.warmup"].loss] == ["softmax"]


def test_a_step_may_change_one_setting_of_a_common_training() -> None:
    chain = {**CHAIN, "train": {"steps": 10, "lr": 1e-3}, "steps": {"adore": {"train": {"lr": 1e-5}}}}
    systems = loaded(ours=chain).systems
    made = [(systems[name].train.steps, systems[name].train.lr) for name in ("ours.warmup", "ours.star", "ours")]
    assert made == [(10, 1e-3), (10, 1e-3), (10, 1e-5)]


def test_other_systems_may_name_a_step() -> None:
    further = {"preset": "star", "from": "ours.star", "train": BUDGET}
    assert loaded(ours=CHAIN, further=further).systems["further"].from_ == "ours.star"


@pytest.mark.parametrize(
    ("own", "what", "lines"),
    [
        (
            {"steps": {"stra": {}}},
            "The recipe star_adore has no such step.",
            ["systems.ours.steps", "stra", "warmup, star, adore", "did you mean star?"],
        ),
        (
            {"loss": "softmax"},
            "The recipe star_adore has no such setting.",
            ["systems.ours.loss", "loss", "preset, from, train, steps", "set it for a step, under `steps`."],
        ),
        (
            {"preset": "star_adora"},
            "Unknown preset.",
            ["systems.ours.preset", "star_adora", "star_adore", "did you mean star_adore?"],
        ),
        (
            {"steps": {"star": {"sampler": {"kk": 3}}}},
            None,
            ["systems.ours.star.sampler.kk", "did you mean k?"],
        ),
    ],
)
def test_what_a_recipe_has_not_is_refused_in_a_paragraph(
    own: dict[str, Any], what: str | None, lines: list[str]
) -> None:
    text = refusal(ours={**CHAIN, **own})
    first, *rest = text.split("\n")
    assert what is None or first == what
    assert all(line.startswith("  ") for line in rest)
    assert all(part in text for part in lines), text


# --- hardneg methods ---


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    cli.main(["methods", *arguments])
    return capsys.readouterr().out


def test_all_are_listed_by_question(capsys: pytest.CaptureFixture[str]) -> None:
    lines = printed(capsys).splitlines()
    questions = [f"{key}: {axis.question}" for key, axis in AXES.items()]
    places = [lines.index(question) for question in questions]
    assert places == sorted(places)
    for key, place in zip(AXES, places, strict=True):
        here = lines[place + 1 : lines.index("", place)]
        assert [line.split()[0] for line in here if not line.startswith("   ")] == list(answers(key))
    last = lines[lines.index("presets and recipes (`preset:` of a system)") :]
    assert {line.split()[0] for line in last if line.startswith("  ") and line[2] != " "} == set(names())
    assert all(len(line) <= 100 for line in lines)


def test_a_preset_is_described(capsys: pytest.CaptureFixture[str]) -> None:
    text = printed(capsys, "star")
    assert text.startswith("star: a preset\n")
    assert "Zhan et al. 2021, section 6.1 (STAR)" in text
    assert "  source            {name: run, depth: 200}\n" in text
    assert "  batch             in_batch\n" in text
    assert printed(capsys, "star_adore").startswith("star_adore: a recipe\n")


def test_an_answer_is_described(capsys: pytest.CaptureFixture[str]) -> None:
    text = printed(capsys, "ranknet")
    assert text.startswith("ranknet: an answer to `loss`. What is minimised?\n")
    assert "  alpha = null " in text and "  weight = 1.0 " in text
    needs = printed(capsys, "margin_mse")
    assert "\nneeds\n" in needs and "a teacher's scores (labels teacher)" in needs
    assert "margin_mse: a preset" in needs, "a preset of the same name is described too"


@pytest.mark.parametrize(("name", "remedy"), [("xyzzy", "`hardneg methods` lists all."), ("ranknett", "ranknet?")])
def test_a_method_that_there_is_not(name: str, remedy: str) -> None:
    with pytest.raises(SystemExit) as raised:
        cli.main(["methods", name])
    said = str(raised.value.code)
    assert said.startswith("error: There is no such method.\n") and f"found:    {name}\n" in said
    assert said.endswith(remedy)
