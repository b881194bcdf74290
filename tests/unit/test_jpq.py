"""JPQ: the centroids of the index that serves train with the query encoder; codes and rotation stay."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import numpy.typing as npt
import pytest
import torch
from accelerate.state import AcceleratorState
from made import JUDGED, POSITIVE, RUNTIME, TRAIN, Small, mined_lists, seal, small, stage_of, training_settings
from made_index import DIM, PER_FILE, ROWS, built, made_queries, made_vectors, opened
from safetensors.torch import load_file
from torch import nn

from hardneg.config import load
from hardneg.errors import HardnegError
from hardneg.methods.published import preset
from hardneg.model.embedding import encode_passages
from hardneg.planning.plan import Plan
from hardneg.retrieval.search.centroids import FILE, CodedIndex, decoded
from hardneg.retrieval.search.factory import check_centroids, transforms_of
from hardneg.retrieval.search.index import FaissSearcher, ServedVectors, build_index
from hardneg.retrieval.search.retrieve import files_of
from hardneg.retrieval.search.vectors import VectorStore
from hardneg.stages.artifacts import Artifact, StageFolder
from hardneg.text.tokens import TokenStore
from hardneg.training.draws import Draws
from hardneg.training.loop import new_accelerator
from hardneg.training.optimizers import optimizer_of
from hardneg.training.scorers import QueryEncoderAndCentroids, WithCentroids, scorer_of
from hardneg.training.state import TrainingState
from hardneg.training.train import train
from workflow_scripts import build_index as script

CPU = torch.device("cpu")
FACTORY = "PCA12,PQ4x4"  # 40 passages train no more than 16 centroids, and no OPQ
LR = 3e-2
FACTORIES = ["PQ4", "OPQ4,PQ4", "PQ4x6", "PCA12,PQ4x4"]


# --- the index as its parts ---


@pytest.fixture(scope="module")
def vectors(tmp_path_factory: pytest.TempPathFactory) -> VectorStore:
    return made_vectors(tmp_path_factory.mktemp("vectors"))


def parts_of(path: Path) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32], list[npt.NDArray[np.float32]]]:
    """Codes, centroids and the matrices of the transforms of a file, as FAISS reads it."""
    whole, matrices = opened(path), []
    quantised = whole  # a part of it, which must not outlive it
    if isinstance(whole, faiss.IndexPreTransform):
        transforms: list[Any] = [*transforms_of(whole)]
        matrices = [faiss.vector_to_array(transform.A) for transform in transforms]
        quantised = faiss.downcast_index(whole.index)
    return faiss.vector_to_array(quantised.codes), faiss.vector_to_array(quantised.pq.centroids), matrices


@pytest.mark.parametrize("factory", FACTORIES)
def test_scores_are_those_of_centroids_and_codes(tmp_path: Path, vectors: VectorStore, factory: str) -> None:
    paths, queries = built(vectors, factory, tmp_path, PER_FILE), made_queries() / 200
    index = CodedIndex(paths, factory)
    assert len(paths) == 4 and index.codes([]).shape == (0, 4)
    some = np.array([999, 0, 300, 299, 0])
    plain = decoded(torch.from_numpy(index.centroids()), index.codes(some)).numpy()
    assert np.array_equal(plain, ServedVectors(paths, factory).take(some))
    with pytest.raises(IndexError, match="1000 rows"):
        index.codes([ROWS])

    other = np.random.default_rng(3).normal(size=index.centroids().shape).astype(np.float32)
    before = index.search(queries, 10)
    index.put(other)
    positions, scores = index.search(queries, 10)
    every = index.query(queries) @ decoded(torch.from_numpy(other), index.codes(np.arange(ROWS))).T
    torch.testing.assert_close(scores, every.gather(1, positions), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(scores, every.topk(10).values, rtol=1e-4, atol=1e-4)
    assert not torch.equal(before[0], positions)

    (tmp_path / "again").mkdir()
    written = [tmp_path / "again" / name for name in index.write(tmp_path / "again")]
    for path, target in zip(paths, written, strict=True):
        (codes, _, matrices), (kept, put, still) = parts_of(path), parts_of(target)
        assert np.array_equal(codes, kept) and np.array_equal(put, other.ravel())
        assert all(map(np.array_equal, matrices, still)) and len(matrices) == len(still) == factory.count(",")
    assert all(map(torch.equal, FaissSearcher(written).search(queries, 10), (positions, scores)))


def test_gradients_are_those_of_the_chosen_centroids() -> None:
    """Against a product with one-hot codes, in double precision."""
    rng = np.random.default_rng(0)
    centroids = torch.from_numpy(rng.normal(size=(3, 5, 2))).requires_grad_()
    codes, weights = rng.integers(5, size=(40, 3)), torch.from_numpy(rng.normal(size=(40, 6)))
    (found,) = torch.autograd.grad((decoded(centroids, codes) * weights).square().sum(), centroids)
    chosen = nn.functional.one_hot(torch.from_numpy(codes), 5).double()
    by_hand = torch.einsum("nmk,mkd->nmd", chosen, centroids).reshape(40, 6)
    (expected,) = torch.autograd.grad((by_hand * weights).square().sum(), centroids)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("factory", ["Flat", "SQ8", "IVF4,PQ4", "HNSW4", "PQ4x4fs", "PQ4,RFlat", "L2norm,PQ4"])
def test_other_indexes_have_no_centroids_that_train(factory: str) -> None:
    with pytest.raises(HardnegError, match="The centroids of this index cannot train") as refusal:
        check_centroids(factory, DIM, "systems.a.index.factory")
    assert "systems.a.index.factory" in str(refusal.value)
    for trains in FACTORIES:
        check_centroids(trains, DIM)


# --- training ---


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Small:
    return small(tmp_path_factory.mktemp("small"))


@pytest.fixture(scope="module")
def parents(made: Small, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Artifact]:
    """A model, its vectors of all passages, and a PQ index of them in three files."""
    folder = tmp_path_factory.mktemp("parents")
    encoder, stage = made.encoder(seed=1), stage_of(folder / "passages", {})
    stage.facts, store = {"shards": ["all.npy"], "rows": 40}, TokenStore(made.tokens, "passages")
    target = stage.folder / "all.npy"
    encode_passages(encoder, store, target, (0, 40), dtype="float32", precision="fp32", device=CPU, label="encode")
    index = stage_of(folder / "index", {"factory": FACTORY})
    index.facts = build_index(VectorStore([target]), FACTORY, index.folder, train_rows=40, seed=0, rows_per_file=15)
    return {
        "collection": made.collection,
        "tokens": made.tokens,
        "init": made.model(folder / "model", encoder),
        "passages": seal(stage, stage.facts["shards"]),
        "index": seal(index, index.facts["files"]),
    }


def jpq_of(folder: Path, parents: dict[str, Artifact], **changes: Any) -> StageFolder:
    answers = {key: preset("jpq")["system"][key] for key in ("sampler", "refresh", "loss")}
    answers |= {"source": {"name": "live", "depth": 7}, **changes}
    return stage_of(
        folder, training_settings("query_encoder", **answers, train={**TRAIN, "centroids": {"lr": LR}}), parents
    )


@dataclass
class Trained:
    """A finished training, and the checkpoints of its last steps but one."""

    stage: Artifact
    checkpoints: Path


@pytest.fixture(scope="module")
def trained(parents: dict[str, Artifact], tmp_path_factory: pytest.TempPathFactory) -> Trained:
    folder = tmp_path_factory.mktemp("trained")
    stage = jpq_of(folder / "jpq", parents)
    names = train(stage, RUNTIME, [CPU])
    shutil.copytree(stage.checkpoints, folder / "checkpoints")  # which go when a stage is finished
    return Trained(seal(stage, names), folder / "checkpoints")


def coded(index: Artifact) -> CodedIndex:
    return CodedIndex(files_of(index), FACTORY, TRAIN["batch_size"])


def test_centroids_and_encoder_move_and_the_index_that_serves_has_them(
    parents: dict[str, Artifact], trained: Trained, tmp_path: Path
) -> None:
    before = [path.read_bytes() for path in files_of(parents["index"])]
    start, moved = coded(parents["index"]).centroids(), np.load(trained.stage.path(FILE))
    assert moved.dtype == np.float32 and moved.shape == start.shape == (4, 16, 3)
    assert 1e-3 < np.abs(moved - start).max() < TRAIN["steps"] * LR * 1.01  # AdamW moves at most lr a step
    weights = "encoder/backbone/model.safetensors"
    assert trained.stage.path(weights).read_bytes() != parents["init"].path(weights).read_bytes()

    stage = stage_of(
        tmp_path / "served",
        {"factory": FACTORY},
        {"index": parents["index"], "model": trained.stage, "passages": parents["passages"]},
    )
    served = seal(stage, script.run(stage, RUNTIME, []))
    assert [path.read_bytes() for path in files_of(parents["index"])] == before  # the index it started from stays
    assert served.facts == {**parents["index"].facts, "bytes": sum(map(len, before))}
    for old, new in zip(files_of(parents["index"]), files_of(served), strict=True):
        (codes, _, (matrix,)), (kept, put, (still,)) = parts_of(old), parts_of(new)
        assert np.array_equal(codes, kept) and np.array_equal(matrix, still) and np.array_equal(put, moved.ravel())


def test_each_step_searches_the_centroids_of_that_step(parents: dict[str, Artifact], trained: Trained) -> None:
    """The newest checkpoint holds those of the last step, whose queries and hits were kept."""
    kept, last = load_file(trained.stage.path("kept.safetensors")), TRAIN["steps"]
    state = load_file(trained.checkpoints / f"step-{last - 1:09d}.safetensors")
    start = coded(parents["index"])
    for step, present in ((1, start.centroids()), (last, state["module/centroids"].numpy())):
        index, vectors = coded(parents["index"]), kept[f"{step:06d}.vectors"]
        index.put(present)
        positions, scores = index.search(vectors, 7)
        assert torch.equal(positions, kept[f"{step:06d}.retrieved"]) and torch.equal(scores, kept[f"{step:06d}.scores"])
        assert torch.equal(scores, start.search(vectors, 7)[1]) == (step == 1)
    moments = [key for key in state if key.startswith("optimizer/") and state[key].shape == (4, 16, 3)]
    assert {key.rsplit("/", 1)[1] for key in moments} == {"exp_avg", "exp_avg_sq"} and len(moments) == 2


@pytest.fixture
def another_precision() -> Iterator[None]:
    """Accelerate allows one a process, as a stage's job has one."""
    AcceleratorState._reset_state(reset_partial_state=True)
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.mark.usefixtures("another_precision")
def test_mixed_precision_is_for_the_encoder(parents: dict[str, Artifact], tmp_path: Path) -> None:
    stage = jpq_of(tmp_path / "jpq", parents, precision="bf16")
    names = train(stage, RUNTIME, [CPU])
    assert np.load(stage.folder / FILE).dtype == np.float32 and FILE in names
    kept, index = load_file(stage.folder / "kept.safetensors"), coded(parents["index"])
    positions, scores = index.search(kept["000001.vectors"], 7)
    assert kept["000001.vectors"].dtype == torch.float32
    assert torch.equal(positions, kept["000001.retrieved"]) and torch.equal(scores, kept["000001.scores"])


def test_static_lists_train_centroids_too(parents: dict[str, Artifact], tmp_path: Path) -> None:
    lists = {q: [p for p in range(40) if (q, p) not in POSITIVE][:6] for q in range(12)}
    answers = {"source": "run", "sampler": {"name": "top", "count": 5}, "refresh": "never"}
    given = {**parents, "negatives": mined_lists(tmp_path / "mined", lists)}
    stage = jpq_of(tmp_path / "jpq", given, **answers)
    train(stage, RUNTIME, [CPU])
    assert np.abs(np.load(stage.folder / FILE) - coded(parents["index"]).centroids()).max() > 1e-3


def test_a_resumed_training_ends_with_the_same_bytes(
    parents: dict[str, Artifact], trained: Trained, tmp_path: Path
) -> None:
    stage, source = jpq_of(tmp_path / "jpq", parents), trained.checkpoints / "step-000000004.safetensors"
    stage.checkpoints.mkdir(exist_ok=True)
    shutil.copy(source, stage.checkpoints / source.name)
    names = train(stage, RUNTIME, [CPU])
    assert FILE in names
    assert {name: (stage.folder / name).read_bytes() for name in names} == {
        name: trained.stage.path(name).read_bytes() for name in names
    }


@pytest.mark.parametrize("batch", ["own", "in_batch"])
def test_a_step_has_the_gradients_of_the_decoded_vectors(
    parents: dict[str, Artifact], tmp_path: Path, batch: str
) -> None:
    """What the loss gives each decoded vector is added up in the centroids that made it."""
    sampler: Any = {"name": "uniform", "k": 5, "count": 2, "positives": "one"} if batch == "in_batch" else "all"
    stage = jpq_of(tmp_path / "jpq", parents, batch=batch, sampler=sampler)
    scorer = scorer_of(stage, RUNTIME, [CPU], JUDGED, live=True)
    assert isinstance(scorer, QueryEncoderAndCentroids)
    draws = Draws.of(stage.settings, stage.parents, JUDGED, scorer.live)
    query = scorer.queries(draws.rows(0))
    meeting = draws.at(0, query)
    scores = scorer.scores(query, meeting)
    weights = torch.from_numpy(np.random.default_rng(1).normal(size=scores.shape).astype(np.float32))
    torch.autograd.backward((scores * weights).sum())
    centroids = scorer.weights.centroids
    assert isinstance(centroids, nn.Parameter) and centroids.grad is not None
    assert any(p.grad is not None and p.grad.any() for p in scorer.module.parameters())

    index, files = coded(parents["index"]), files_of(parents["index"])
    passages = np.maximum(meeting.passages, 0).ravel()
    vectors = torch.from_numpy(ServedVectors(files, FACTORY).take(passages)).double().requires_grad_()
    asked = ServedVectors(files, FACTORY).query(query.detach()).double()
    shape = (1, *meeting.passages.shape) if batch == "in_batch" else meeting.passages.shape
    by_hand = (asked[:, None] * vectors.view(*shape, -1)).sum(-1) / 0.05
    torch.testing.assert_close(scores.detach().double(), by_hand.detach(), rtol=1e-4, atol=1e-4)
    (each,) = torch.autograd.grad((by_hand * weights).sum(), vectors)
    expected = np.zeros((4, 16, 3))
    for codes, gradient in zip(index.codes(passages), each.numpy().reshape(-1, 4, 3), strict=True):
        expected[np.arange(4), codes] += gradient
    np.testing.assert_allclose(centroids.grad.numpy(), expected, rtol=1e-3, atol=1e-3)


def test_positives_that_were_not_retrieved_join_once(parents: dict[str, Artifact], tmp_path: Path) -> None:
    stage = jpq_of(tmp_path / "jpq", parents)
    scorer = scorer_of(stage, RUNTIME, [CPU], JUDGED, live=True)
    draws = Draws.of(stage.settings, stage.parents, JUDGED, scorer.live)
    for step in range(3):
        meeting = draws.at(step, scorer.queries(draws.rows(step)))
        for row, query in enumerate(meeting.rows.tolist()):
            listed = meeting.passages[row][meeting.listed[row]].tolist()
            assert len(listed) == len(set(listed))
            assert {passage for q, passage in POSITIVE if q == query} <= set(listed)


def test_centroids_are_neither_decayed_nor_clipped_and_have_a_rate_of_their_own(tmp_path: Path) -> None:
    module = WithCentroids(nn.Linear(3, 2), torch.ones(2, 4, 3))
    options = {**TRAIN, "weight_decay": 0.5, "centroids": {"lr": LR}}
    optimizer = optimizer_of(module, options)
    (group,) = [group for group in optimizer.param_groups if any(p is module.centroids for p in group["params"])]
    assert (group["lr"], group["weight_decay"], len(group["params"])) == (LR, 0.0, 1)
    assert sum(len(group["params"]) for group in optimizer.param_groups) == 3
    accelerator = new_accelerator(CPU, "fp32", [], tmp_path)
    scheduler = torch.optim.lr_scheduler.ConstantLR(optimizer, factor=1.0)
    state = TrainingState(module, optimizer, scheduler, accelerator)
    loss = 30 * module.centroids.sum() + 40 * module.encoder(torch.ones(1, 3)).sum()
    assert state.update(loss, max_grad_norm=1.0) == TRAIN["lr"]
    assert module.centroids.grad is not None and torch.equal(module.centroids.grad, torch.full((2, 4, 3), 30.0))
    norm = torch.cat([p.grad.ravel() for p in module.encoder.parameters() if p.grad is not None]).norm()
    assert float(norm) == pytest.approx(1.0, rel=1e-4)
    torch.testing.assert_close(module.centroids.detach(), torch.full((2, 4, 3), 1 - LR))


# --- configurations and plans ---

BUDGET = {"steps": 2}


def configuration(**systems: Any) -> dict[str, Any]:
    warm = {"preset": "inbatch", "train": BUDGET}
    return {"collection": {"format": "pydocs"}, "systems": {"warm": warm, **systems}, "export": [], "analyses": {}}


def test_what_serves_is_the_index_that_training_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    systems: dict[str, Any] = {
        "jpq": {"preset": "jpq", "from": "warm", "train": BUDGET},
        "adore": {"preset": "adore", "from": "warm", "index": "OPQ16,PQ16", "train": BUDGET},
    }
    raw = configuration(**systems)
    raw["analyses"] = {"compression": {"base": "warm", "systems": ["jpq", "adore"]}}
    plan = Plan(load(raw))
    jpq, adore = plan.systems["jpq"], plan.systems["adore"]
    assert jpq.index is not None and jpq.model is not None and adore.index is not None and adore.model is not None
    assert jpq.index.parents["model"] is jpq.model and jpq.run.parents["index"] is jpq.index
    assert jpq.index.parents["index"] is jpq.model.parents["index"] is adore.index is adore.model.parents["index"]
    assert jpq.index.settings == adore.index.settings and jpq.index.revision != adore.index.revision
    assert jpq.model.settings["train"]["centroids"] == {"lr": 5e-6}
    assert "centroids" not in adore.model.settings["train"] and adore.index.parents.keys() == {"passages"}
    cells = {cell.system: cell.built for cell in plan.analyses.compression}
    assert cells == {"warm": adore.index, "jpq": jpq.index, "adore": adore.index}


@pytest.mark.parametrize(
    ("system", "analyses", "said"),
    [
        ({"index": "SQ8"}, {}, ["systems.tried.index", "found:    SQ8", "OPQ16,PQ16"]),
        ({"preset": "inbatch", "train": {**BUDGET, "centroids": {"lr": 1}}}, {}, ["centroids", "both_encoders"]),
        ({"train": {**BUDGET, "centroids": {"lr": 0}}}, {}, ["systems.tried.train.centroids.lr"]),
        ({}, {"trajectory": {"systems": ["tried"]}}, ["analyses.trajectory.systems", "without train.centroids"]),
    ],
)
def test_what_has_no_centroids_to_train_is_refused(
    system: dict[str, Any], analyses: dict[str, Any], said: list[str]
) -> None:
    tried = {"preset": "jpq", "from": "warm", "train": BUDGET, **system}
    with pytest.raises(HardnegError) as refusal:
        load({**configuration(tried=tried), "analyses": analyses})
    assert all(part in str(refusal.value) for part in said), str(refusal.value)
