"""Late interaction: its score, what padding does to it, its gradient, its training, and what reads it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from made import ENCODER, JUDGED, RUNTIME, TRAIN, Small, mined_lists, seal, small

from hardneg.config import load
from hardneg.errors import HardnegError
from hardneg.methods.published import preset
from hardneg.model.late_interaction import LateInteraction, max_sim, token_vectors
from hardneg.planning.plan import Plan
from hardneg.stages.artifacts import Artifact, StageFolder
from hardneg.text.tokens import TokenStore
from hardneg.training.draws import Draws
from hardneg.training.train import train

CPU = torch.device("cpu")
WIDTH = 6
SYSTEM = preset("colbert")["system"]
LATE: dict[str, Any] = {
    "trains": "late_interaction",
    "encoder": {"backbone": "builtin:tiny", "tiny": ENCODER["tiny"], "width": WIDTH},
    "source": "run",
    "sampler": {**SYSTEM["sampler"], "k": 3},
    **{key: SYSTEM[key] for key in ("loss", "batch")},
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Small:
    return small(tmp_path_factory.mktemp("made"))


def stage_in(made: Small, folder: Path, **changes: Any) -> StageFolder:
    mined = mined_lists(folder.parent / f"mined-{folder.name}", {q: [20, 21, 22] for q in range(12)})
    return made.training(folder, {"negatives": mined}, **{**LATE, **changes})


def trained(made: Small, folder: Path, **changes: Any) -> Artifact:
    stage = stage_in(made, folder, **changes)
    return seal(stage, train(stage, RUNTIME, [CPU]))


def padded(texts: list[torch.Tensor]) -> torch.Tensor:
    """Token vectors of texts of any length, with zeros behind each."""
    return torch.nn.utils.rnn.pad_sequence(texts, batch_first=True)


def by_hand(query: torch.Tensor, passage: torch.Tensor) -> float:
    """The score of two texts, token by token."""
    return sum(max(float(asked @ read) for read in passage) for asked in query)


def some(lengths: list[int], seed: int) -> list[torch.Tensor]:
    """Token vectors of unit length; all products are negative with those of the other sign."""
    generator = torch.Generator().manual_seed(seed)
    drawn = [torch.randn(length, 4, generator=generator, dtype=torch.float64) for length in lengths]
    return [torch.nn.functional.normalize(each, dim=-1) for each in drawn]


def test_the_score_is_the_sum_of_the_best_matches() -> None:
    queries, passages = some([3, 1, 5], 1), some([2, 7, 4, 1], 2)
    scores = max_sim(padded(queries), padded(passages))
    for i, j in np.ndindex(3, 4):
        assert float(scores[i, j]) == pytest.approx(by_hand(queries[i], passages[j]), abs=1e-12)


def test_padding_never_counts_even_where_all_products_are_negative() -> None:
    query = torch.tensor([[1.0, 0.0]])
    passage = torch.tensor([[-0.6, 0.8], [-1.0, 0.0]])
    padding = torch.zeros(5, 2)
    alone = max_sim(query[None], passage[None])
    beside = max_sim(torch.cat((query, padding))[None], torch.cat((passage, padding))[None])
    assert float(alone) == float(beside) == pytest.approx(-0.6)


def test_the_gradient_is_that_of_differences() -> None:
    query, passage = padded(some([2, 3], 3)), padded(some([4, 2, 3], 4))
    query.requires_grad_()
    assert torch.autograd.gradcheck(lambda asked: max_sim(asked, passage), (query[:, :2].detach().requires_grad_(),))
    weights = torch.arange(6, dtype=torch.float64).view(2, 3)
    (max_sim(query, passage) * weights).sum().backward()  # type: ignore[no-untyped-call]
    expected = torch.zeros_like(query)
    for i, j in np.ndindex(2, 3):
        for token in range(2 + i):
            real = [n for n in range(passage.shape[1]) if passage[j, n].any()]
            best = max(real, key=lambda n: float(query[i, token].detach() @ passage[j, n]))
            expected[i, token] += weights[i, j] * passage[j, best]
    assert query.grad is not None
    torch.testing.assert_close(query.grad, expected)


def test_a_text_has_the_same_vectors_in_any_company(made: Small) -> None:
    model = LateInteraction(made.encoder(), WIDTH).eval()
    store = TokenStore(made.tokens, "passages")
    positions = np.array([4, 0, 20, 9])  # the longest, a short one and the empty one
    together = token_vectors(model, store, positions, 4, CPU)
    for row, position in enumerate(positions):
        length = int(store.lengths(np.array([position]))[0])
        alone = token_vectors(model, store, np.array([position]), 4, CPU)[0, :length]
        torch.testing.assert_close(together[row, :length], alone, atol=1e-5, rtol=0)
        torch.testing.assert_close(alone.norm(dim=-1), torch.ones(length))
        assert not together[row, length:].any()


def test_pairs_score_as_they_do_in_a_batch(made: Small) -> None:
    model = LateInteraction(made.encoder(), WIDTH).eval()
    stores = TokenStore(made.tokens, "queries.train"), TokenStore(made.tokens, "passages")
    queries, passages = np.arange(12), np.array([3, 20, 4, 11, 39])
    with torch.no_grad():
        vectors = [token_vectors(model, *each, 64, CPU) for each in zip(stores, (queries, passages), strict=True)]
        matrix = max_sim(*vectors)
        row, column = (each.ravel() for each in np.mgrid[:12, :5])
        pairs = model.score(stores, (queries[row], passages[column]), rows=7)
    torch.testing.assert_close(pairs.view(12, 5), matrix, atol=1e-4, rtol=0)


def test_training_repeats_and_what_is_saved_scores_alike(made: Small, tmp_path: Path) -> None:
    first, second = trained(made, tmp_path / "one"), trained(made, tmp_path / "two")
    names = [name for name in first.manifest["files"] if name != "loss.csv"]
    assert first.facts["dim"] == WIDTH and "encoder/tokens.safetensors" in names
    assert all(first.path(name).read_bytes() == second.path(name).read_bytes() for name in [*names, "loss.csv"])
    stage = stage_in(made, tmp_path / "fresh")
    fresh, model = LateInteraction.starting(stage, RUNTIME), LateInteraction.load(first)
    moved = {name for name, value in model.state_dict().items() if not torch.equal(value, fresh.state_dict()[name])}
    assert "head.weight" in moved and any(name.startswith("encoder.backbone") for name in moved)
    again = stage_in(made, tmp_path / "again")
    again.parents["init"] = first
    for name, value in LateInteraction.starting(again, RUNTIME).state_dict().items():
        assert torch.equal(value, model.state_dict()[name])


def test_chunks_give_the_same_training(made: Small, tmp_path: Path) -> None:
    dropped = {**LATE["encoder"], "tiny": {**ENCODER["tiny"], "dropout": 0.0}}
    plain, chunked = (
        LateInteraction.load(trained(made, tmp_path / str(chunk), encoder=dropped, train={**TRAIN, "chunk": chunk}))
        for chunk in (None, 2)
    )
    for name, value in plain.state_dict().items():
        torch.testing.assert_close(value, chunked.state_dict()[name], atol=1e-4, rtol=0)


def test_all_queries_of_a_step_meet_the_same_passages(made: Small, tmp_path: Path) -> None:
    for number, batch in enumerate(("own", "in_batch")):
        stage = stage_in(made, tmp_path / str(number), batch=batch)
        meeting = Draws.of(stage.settings, stage.parents, JUDGED).at(0)
        assert meeting.passages.ndim == 1
        others = meeting.listed & (meeting.origin > 1)
        assert others.any() == (batch == "in_batch")


# --- plans ---

BUDGET = {"steps": 5}


def plan_of(**more: Any) -> Plan:
    systems: dict[str, Any] = {"bm25": {"preset": "bm25"}, "colbert": {"preset": "colbert", "train": BUDGET}}
    config = {"collection": {"format": "pydocs"}, "systems": {**systems, **more}}
    return Plan(load({**config, "late_interaction": {"width": 32}, "encoder": {"pooling": "cls", "temperature": 0.1}}))


def test_it_reads_the_texts_of_the_encoder_and_its_width_is_its_own() -> None:
    taught = {"preset": "margin_mse", "labels": {"system": "colbert"}, "train": BUDGET}
    plan = plan_of(taught=taught)
    (stage,) = plan.of("late_interaction")
    assert stage.settings["encoder"]["width"] == 32
    assert not {"pooling", "temperature", "normalize"} & stage.settings["encoder"].keys()
    (student,) = [each for each in plan.of("dual_encoder") if each.label == "taught"]
    scored, (reordered,) = student.parents["teacher"], plan.of("rerank")
    for reader in (scored, reordered):
        assert reader.parents["model"] is stage and reader.parents["tokens"] is student.parents["tokens"]


def test_a_cross_encoder_cannot_start_from_it() -> None:
    cross = {"preset": "cross_encoder", "from": "colbert", "train": BUDGET}
    with pytest.raises(HardnegError, match="cannot start from each other"):
        plan_of(cross=cross)


def test_it_searches_nothing() -> None:
    with pytest.raises(HardnegError, match="reorder another ranking"):
        plan_of(wrong={"trains": "late_interaction", "source": {"name": "run", "system": "bm25"}, "train": BUDGET})
