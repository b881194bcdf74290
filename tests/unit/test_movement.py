"""A query's way to its passages: which rows are projected, and that it is t-SNE of exactly those."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from made import stage_of
from made_analysis import collection_of, model_of, normal, passages_of
from sklearn.manifold import TSNE
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from hardneg.errors import HardnegError
from hardneg.stages.artifacts import Artifact, StageFolder
from workflow_scripts import project_movement

QUERIES, PASSAGES, OTHERS, STEPS = 12, 200, 15, (0, 4, 8)
# The last two queries have no relevant passage; the lower grade is not relevant.
GRADES = {(q, (q * 13 + n) % PASSAGES): 1 + (n > 0) for q in range(QUERIES - 2) for n in range(1 + q % 3)}
GRADES |= {(q, q): 2 for q in range(QUERIES - 2)}
RELEVANT = {q: sorted(p for (query, p), grade in GRADES.items() if query == q and grade > 1) for q in range(QUERIES)}


def probes() -> dict[int, np.ndarray]:
    """Each probe is nearer to the query's first relevant passage, by another length for each query."""
    start, passages = normal(QUERIES, 2), normal(PASSAGES, 1)
    aims = np.stack([passages[(RELEVANT[q] or [0])[0]] for q in range(QUERIES)])
    pull = np.random.default_rng(4).uniform(0, 0.06, (QUERIES, 1)).astype(np.float32)
    return {step: start + step * pull * aims for step in STEPS}


def ranking(step: int, query: int) -> list[int]:
    """All passages, best first, by scores in float64."""
    scores = normal(PASSAGES, 1).astype(np.float64) @ probes()[step][query].astype(np.float64)
    order: list[int] = np.argsort(-scores).tolist()
    return order


def first_rank(step: int, query: int) -> int:
    return min(ranking(step, query).index(passage) for passage in RELEVANT[query]) + 1


@pytest.fixture
def parents(tmp_path: Path) -> dict[str, Artifact]:
    kept = {f"probe.{step:06d}": vectors for step, vectors in probes().items()}
    return {
        "collection": collection_of(tmp_path / "collection", PASSAGES, {"dev": QUERIES}, {"dev": GRADES}),
        "model": model_of(tmp_path / "model", "adore", kept),
        "passages": passages_of(tmp_path / "passages", normal(PASSAGES, 1)),
    }


def projected(folder: Path, parents: dict[str, Artifact], query: str | None) -> StageFolder:
    settings: dict[str, Any] = {"split": "dev", "query": query, "passages": OTHERS, "relevant_grade": 2, "seed": 3}
    stage = stage_of(folder, settings, parents)
    assert project_movement.run(stage, {}, ["cpu"]) == ["movement.parquet", "inputs.npy"]
    return stage


@pytest.mark.parametrize("query", [None, "dev2", "dev5"])
def test_what_is_projected(tmp_path: Path, parents: dict[str, Artifact], query: str | None) -> None:
    stage = projected(tmp_path / "movement", parents, query)
    rises = [1 / first_rank(8, q) - 1 / first_rank(0, q) for q in range(QUERIES - 2)]
    chosen = rises.index(max(rises)) if query is None else int(query.removeprefix("dev"))
    relevant = RELEVANT[chosen]
    before, after = ([p for p in ranking(step, chosen) if p not in relevant][:OTHERS] for step in (0, 8))
    expected = [("query", step, -1) for step in STEPS] + [("relevant", -1, passage) for passage in relevant]
    expected += [("near_before", -1, passage) for passage in before]
    expected += [("near_after", -1, passage) for passage in after if passage not in before]
    assert len(expected) < len(STEPS) + len(relevant) + 2 * OTHERS  # some are near before and after
    table = pq.read_table(stage.folder / "movement.parquet")
    assert [tuple(row.values())[:3] for row in table.to_pylist()] == expected
    assert [str(kind) for kind in table.schema.types[1:]] == ["int32", "int32", "float", "float"]

    inputs = np.load(stage.folder / "inputs.npy")
    passages = [passage for _, _, passage in expected[len(STEPS) :]]
    vectors = np.stack([*(probes()[step][chosen] for step in STEPS), *normal(PASSAGES, 1)[passages]])
    assert inputs.dtype == np.float32 and np.array_equal(inputs, vectors)

    perplexity = min(30, (len(vectors) - 1) / 3)
    tsne = TSNE(2, perplexity=perplexity, metric="cosine", init="pca", random_state=3)
    with threadpool_limits(1):
        places = tsne.fit_transform(vectors)
    assert np.array_equal(np.stack([table["x"].to_numpy(), table["y"].to_numpy()], 1), places.astype(np.float32))
    assert stage.facts == {
        "query_id": f"dev{chosen}",
        "text": f"what is dev{chosen}?",
        "rank_before": first_rank(0, chosen),
        "rank_after": first_rank(8, chosen),
        "perplexity": perplexity,
        "kl_divergence": float(tsne.kl_divergence_),
    }


def test_the_query_that_rises_most(parents: dict[str, Artifact], tmp_path: Path) -> None:
    """It is not the first one, and it does rise."""
    facts = projected(tmp_path / "movement", parents, None).facts
    assert facts["query_id"] != "dev0"
    assert facts["rank_after"] < facts["rank_before"]


def test_the_same_bytes_again(tmp_path: Path, parents: dict[str, Artifact]) -> None:
    stages = [projected(tmp_path / name, parents, None) for name in ("once", "again")]
    once, again = ((stage.folder / "movement.parquet").read_bytes() for stage in stages)
    assert once == again
    assert stages[0].facts == stages[1].facts


@pytest.mark.parametrize(("query", "what"), [("devil", "has no query with this id"), ("dev11", "no relevant passage")])
def test_a_query_that_cannot_be_shown(tmp_path: Path, parents: dict[str, Artifact], query: str, what: str) -> None:
    with pytest.raises(HardnegError, match=rf"{what}(.|\n)*{query}"):
        projected(tmp_path / "movement", parents, query)
