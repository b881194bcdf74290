"""What profiles/kubernetes makes of every kind of stage, as the objects that the API would receive."""

from __future__ import annotations

import json
import logging
import re
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from threading import Lock
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from conftest import PASSAGES_EACH, TOPICS, write_collection
from made_stages import every_kind, write_given

from hardneg.config import load
from hardneg.planning.plan import Plan
from hardneg.stages.kinds import KINDS
from workflow_scripts.planning import rules_of

NEEDED = ("kubernetes", "snakemake_executor_plugin_kubernetes")
MISSING = [name for name in NEEDED if find_spec(name) is None]
pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"needs {', '.join(MISSING)}: pip install '.[kubernetes]'")

ROOT = Path(__file__).parents[2]
PROFILE: dict[str, Any] = yaml.safe_load((ROOT / "profiles/kubernetes/profile.yaml").read_text(encoding="utf-8"))
QUANTITY = re.compile(r"\d+(m|M)?")  # those of the API that the executor writes


def rendered(resources: dict[str, Any]) -> Any:
    """The job object that the executor's plugin sends for a job that asks for these resources."""
    sent: list[Any] = []
    executor: Any = object.__new__(import_module("snakemake_executor_plugin_kubernetes").Executor)
    executor.__dict__ |= {
        "k8s_cpu_scalar": 0.95,
        "k8s_service_account_name": None,
        "container_image": PROFILE["container-image"],
        "namespace": PROFILE["kubernetes-namespace"],
        "privileged": False,
        "persistent_volumes": [],
        "secret_envvars": {},
        "run_namespace": "run",
        "lock": Lock(),
        "logger": logging.getLogger("test"),
        "batchapi": SimpleNamespace(create_namespaced_job=lambda namespace, body: sent.append((namespace, body))),
        "format_job_exec": lambda job: "python -m snakemake",
        "report_job_submission": lambda job: None,
    }
    executor.run_job(SimpleNamespace(resources=resources, jobid=1, attempt=1, is_containerized=False))
    ((namespace, body),) = sent
    assert namespace == "default"
    return body


def asked() -> dict[str, dict[str, Any]]:
    """What a job of each kind asks for: by its rule, and for the rest by the profile."""
    plan = Plan(load(every_kind()))
    rule_of, found = rules_of(plan), {}
    for stage in plan.stages:
        rule, record = rule_of(stage.kind), SimpleNamespace(**stage.record)
        own = {
            "_cores": rule.threads,
            "gpu": rule.gpu,
            "mem_mb": rule.mem_mb(record, 1),
            "runtime": rule.runtime(record, 1),
        }
        found[stage.kind] = {**PROFILE["default-resources"], **own}
    return found


@pytest.fixture
def jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, dict[str, Any]]:
    monkeypatch.chdir(tmp_path)
    write_collection(tmp_path / "data")
    write_given(tmp_path, TOPICS * PASSAGES_EACH)
    return asked()


def test_every_kind_of_stage_makes_a_job_of_the_apis_schema(jobs: dict[str, dict[str, Any]]) -> None:
    assert len(jobs) > 20 and {kind for kind in jobs if KINDS[kind].gpu} >= {"dual_encoder", "passages", "run"}
    client = import_module("kubernetes.client").ApiClient()
    for kind, resources in jobs.items():
        body = rendered(resources)
        plain = client.sanitize_for_serialization(body)
        # Reading it as what the API says a V1Job is checks names and types, and gives the same object.
        assert client.deserialize(SimpleNamespace(data=json.dumps(plain)), "V1Job") == body, kind
        (container,) = plain["spec"]["template"]["spec"]["containers"]
        assert container["image"] == PROFILE["container-image"]
        wanted, limits = container["resources"]["requests"], container["resources"]["limits"]
        assert limits["memory"] == wanted["memory"] == f"{resources['mem_mb']}M"
        assert limits["nvidia.com/gpu"] == wanted["nvidia.com/gpu"] == str(KINDS[kind].gpu and resources["gpu"])
        assert limits["cpu"] == f"{1000 * resources['_cores']}m"
        assert all(QUANTITY.fullmatch(text) for text in (*wanted.values(), *limits.values()))


def test_a_gpu_is_limited_only_because_the_profile_says_so() -> None:
    """Kubernetes refuses a GPU that is requested without a limit, which is what the executor does by itself."""
    resources = {"_cores": 1, "mem_mb": 2000, "gpu": 1, "gpu_manufacturer": "nvidia"}
    assert rendered(resources).spec.template.spec.containers[0].resources.limits is None
    limited = rendered({**resources, "scale": PROFILE["default-resources"]["scale"]})
    assert limited.spec.template.spec.containers[0].resources.limits["nvidia.com/gpu"] == "1"
