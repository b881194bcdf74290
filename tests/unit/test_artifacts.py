"""Stage folders: deterministic seals, checks before trust, one writer, nothing half-written."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from made import seal, stage_of

from hardneg.errors import HardnegError
from hardneg.stages.artifacts import (
    UMASK,
    Artifact,
    StageFolder,
    atomic_path,
    cached_digest,
    canonical_json,
    file_digest,
    read_cost,
    write_json,
    writer_lock,
)


def finished(folder: Path, content: bytes = b"vectors", parents: dict[str, Artifact] | None = None) -> Artifact:
    stage = stage_of(folder, {"lr": 0.1}, parents)
    (folder / "part").mkdir()
    (folder / "part" / "a.bin").write_bytes(content)
    stage.facts["rows"] = 7
    return seal(stage, ["part/a.bin"])


def again(stage: Artifact, parents: dict[str, Artifact] | None = None) -> StageFolder:
    """The stage as the next job sees it."""
    names = ("dataset", "kind", "label", "version", "settings", "parents", "revision")
    return StageFolder(stage.folder, {name: stage.manifest[name] for name in names}, parents or {})


def test_a_seal_is_deterministic(tmp_path: Path) -> None:
    first, second = finished(tmp_path / "1" / "star"), finished(tmp_path / "2" / "star")
    manifests = [(stage.folder / "manifest.json").read_bytes() for stage in (first, second)]
    assert manifests[0] == manifests[1]
    assert (first.settings, first.facts, first.path("part/a.bin").read_bytes()) == (
        {"lr": 0.1},
        {"rows": 7},
        b"vectors",
    )
    cost = json.loads((first.folder / "cost.json").read_text())
    assert {"seconds", "peak_memory_mib", "host", "finished"} <= cost.keys() and not cost.keys() & first.manifest.keys()


def test_sealing_removes_what_the_manifest_does_not_name(tmp_path: Path) -> None:
    stage = stage_of(tmp_path / "star", {})
    (stage.checkpoints / "step-000000005.safetensors").write_bytes(b"x")
    (stage.folder / "left.over").write_bytes(b"x")
    (stage.folder / "progress.jsonl").write_text("{}\n")
    (stage.folder / "model.bin").write_bytes(b"x")
    seal(stage, ["model.bin"])
    names = {path.name for path in stage.folder.iterdir()}
    assert names == {"model.bin", "manifest.json", "cost.json", ".finished.json", "progress.jsonl"}


def test_the_marker_of_a_shard_removes_nothing(tmp_path: Path) -> None:
    stage = stage_of(tmp_path / "passages", {})
    for name in ("0.npy", "1.npy"):
        (stage.folder / name).write_bytes(b"x")
    stage.seal(stage.folder / "shard-0000-of-0002.json", ["0.npy"])
    assert (stage.folder / "1.npy").exists()
    assert list(Artifact.open(stage.folder / "shard-0000-of-0002.json").manifest["files"]) == ["0.npy"]


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda file: file.write_bytes(b"vectorz"), "SHA-256"),
        (lambda file: file.write_bytes(b"vect"), "4 bytes"),
        (lambda file: file.unlink(), "no such file"),
    ],
)
def test_a_file_that_changed_is_noticed(tmp_path: Path, damage: object, said: str) -> None:
    stage = finished(tmp_path / "star")
    assert callable(damage)
    damage(stage.folder / "part" / "a.bin")
    with pytest.raises(HardnegError) as raised:
        Artifact.open(stage.folder / "manifest.json")
    assert said in str(raised.value) and str(stage.folder / "part" / "a.bin") in str(raised.value)
    assert f"delete {stage.folder / 'manifest.json'}" in str(raised.value)


@pytest.mark.parametrize(
    "text", ["", '{"seconds": 3.0', "[]", "{}", "null", '{"seconds": 3.0, "peak_memory_mib": null}']
)
def test_a_cost_that_cannot_be_read_is_named(tmp_path: Path, text: str) -> None:
    cost = finished(tmp_path / "star").folder / "cost.json"
    assert read_cost(cost)["seconds"] >= 0
    cost.write_text(text)
    with pytest.raises(HardnegError, match=r"took cannot be read\.\n +where: .*star/cost\.json\n +remedy: +delete it"):
        read_cost(cost)


@pytest.mark.parametrize("text", ["", '{"files": ', "[]", "{}", "null"])
def test_a_manifest_that_cannot_be_read(tmp_path: Path, text: str) -> None:
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(HardnegError, match="cannot be read"):
        Artifact.open(tmp_path / "manifest.json")
    with pytest.raises(HardnegError, match="missing"):
        Artifact.open(tmp_path / "other.json")


def test_a_flipped_bit_anywhere_in_a_manifest_is_noticed(tmp_path: Path) -> None:
    manifest = finished(tmp_path / "star").folder / "manifest.json"
    content = manifest.read_bytes()
    for at in range(0, len(content), 3):
        flipped = bytearray(content)
        flipped[at] ^= 1 << (at % 7)
        manifest.write_bytes(flipped)
        # White space between values means nothing, so a flip that leaves white space there may pass.
        with contextlib.suppress(ValueError):
            if json.loads(flipped) == json.loads(content):
                continue
        with pytest.raises(HardnegError):
            Artifact.open(manifest)
    manifest.write_bytes(content)
    assert Artifact.open(manifest).facts == {"rows": 7}


def test_a_manifest_from_before_they_had_digests_is_read(tmp_path: Path) -> None:
    manifest = finished(tmp_path / "star").folder / "manifest.json"
    content = json.loads(manifest.read_text(encoding="utf-8"))
    del content["digest"]
    write_json(manifest, content)
    assert Artifact.open(manifest).facts == {"rows": 7}
    write_json(manifest, {**content, "dig\u0065st2": "x"})
    with pytest.raises(HardnegError, match="has changed since it was sealed"):
        Artifact.open(manifest)


def test_files_have_the_permissions_that_the_umask_leaves(tmp_path: Path) -> None:
    with atomic_path(tmp_path / "weights") as temporary:
        temporary.touch(mode=0o600)
        temporary.write_bytes(b"x")
    assert (tmp_path / "weights").stat().st_mode & 0o777 == 0o666 & ~UMASK


def test_a_replaced_file_of_equal_size_and_date_has_another_digest(tmp_path: Path) -> None:
    file, cache = tmp_path / "corpus", tmp_path / "digests.json"
    file.write_bytes(b"one")
    before, facts = cached_digest(file, cache), file.stat()
    (tmp_path / "other").write_bytes(b"two")
    (tmp_path / "other").replace(file)
    os.utime(file, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    assert cached_digest(file, cache) == file_digest(file) != before


@pytest.mark.parametrize("text", ["[]", "3", '{"a": 3}', '{"a": [1, 2]}', "not json"])
def test_a_malformed_cache_of_digests_is_passed_over(tmp_path: Path, text: str) -> None:
    file, cache = tmp_path / "corpus", tmp_path / "digests.json"
    file.write_bytes(b"one")
    cache.write_text(text, encoding="utf-8")
    assert cached_digest(file, cache) == file_digest(file)


def test_a_file_that_the_manifest_does_not_name(tmp_path: Path) -> None:
    with pytest.raises(HardnegError, match="lacks a file"):
        finished(tmp_path / "star").path("b.bin")


def test_a_failed_write_leaves_what_was_there(tmp_path: Path) -> None:
    target = tmp_path / "a.json"
    write_json(target, {"b": 1, "a": 2})
    assert target.read_text() == '{\n  "a": 2,\n  "b": 1\n}\n'
    with pytest.raises(RuntimeError), atomic_path(target) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert json.loads(target.read_text()) == {"a": 2, "b": 1}
    assert list(tmp_path.iterdir()) == [target]


def test_a_write_without_permission_is_told(tmp_path: Path) -> None:
    with pytest.raises(HardnegError, match="Could not write a file"), atomic_path(tmp_path / "no" / "a") as temporary:
        temporary.write_text("x")


def test_equal_values_give_equal_text() -> None:
    assert canonical_json({"b": [1, "é"], "a": None}) == '{"a":null,"b":[1,"é"]}'


def test_a_digest_is_read_again_when_the_file_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, cache = tmp_path / "corpus", tmp_path / "new" / "digests.json"
    file.write_bytes(b"one")
    assert cached_digest(file, cache) == file_digest(file)
    with monkeypatch.context() as patch:
        patch.setattr("hardneg.stages.artifacts.file_digest", lambda path: pytest.fail("read again"))
        first = cached_digest(file, cache)
    file.write_bytes(b"three")
    assert cached_digest(file, cache) == file_digest(file) != first
    cache.write_text("{")
    assert cached_digest(file, cache) == file_digest(file)


def test_a_second_writer_waits(tmp_path: Path) -> None:
    order: list[str] = []
    inside = threading.Event()

    def first() -> None:
        with writer_lock(tmp_path / "star"):
            inside.set()
            while "waiting" not in order:
                time.sleep(0.01)
            time.sleep(0.1)
            order.append("first done")

    thread = threading.Thread(target=first)
    thread.start()
    inside.wait()
    order.append("waiting")
    with writer_lock(tmp_path / "star"):
        order.append("second")
    thread.join()
    assert order == ["waiting", "first done", "second"]


def test_a_writer_that_never_ends_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    holds = "import sys; from hardneg.stages.artifacts import writer_lock\nfrom pathlib import Path\n"
    holds += "with writer_lock(Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", holds, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None and other.stdout.readline() == "held\n"
        holder = f"process {other.pid} on "
        with pytest.raises(HardnegError, match=holder), writer_lock(tmp_path, patience=0.1):
            pass
        assert holder in capsys.readouterr().out
        other.kill()
    with writer_lock(tmp_path, patience=5):  # a killed writer holds nothing up
        assert capsys.readouterr().out == ""


def test_a_lost_manifest_is_put_back(tmp_path: Path) -> None:
    parent = finished(tmp_path / "parent")
    stage = finished(tmp_path / "star", parents={"model": parent})
    manifest = stage.folder / "manifest.json"
    before = manifest.read_bytes()
    manifest.unlink()
    assert again(stage, {"model": parent}).restore(manifest)
    assert manifest.read_bytes() == before


@pytest.mark.parametrize("change", ["parent", "file", "settings", "never finished"])
def test_a_stage_that_changed_is_made_anew(tmp_path: Path, change: str) -> None:
    parent = finished(tmp_path / "parent")
    stage = finished(tmp_path / "star", parents={"model": parent})
    manifest, next_time = stage.folder / "manifest.json", again(stage, {"model": parent})
    manifest.unlink()
    if change == "parent":
        next_time.parents["model"] = finished(tmp_path / "other", b"others")
    elif change == "file":
        (stage.folder / "part" / "a.bin").write_bytes(b"vectorz")
    elif change == "settings":
        next_time.record["settings"] = {"lr": 0.2}
    else:
        (stage.folder / ".finished.json").unlink()
    assert not next_time.restore(manifest)
    assert not manifest.exists()
