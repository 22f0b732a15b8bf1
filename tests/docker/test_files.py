"""The files in docker/, by the linters and schemas of their kinds; no engine is needed."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
DOCKER = ROOT / "docker"
COMPOSE = yaml.safe_load((DOCKER / "compose.yaml").read_text())
SERVICES = COMPOSE["services"]
KUBERNETES_TOKEN = "/var/run/secrets/kubernetes.io/serviceaccount"
KUBERNETES = list(yaml.safe_load_all((DOCKER / "kuberay.yaml").read_text()))


def checked(*command: str | Path) -> subprocess.CompletedProcess[str]:
    tool = Path(sys.executable).parent / str(command[0])
    return subprocess.run([tool, *command[1:]], capture_output=True, text=True, cwd=ROOT)


@pytest.mark.parametrize(
    "command",
    [
        ("hadolint", "--failure-threshold", "warning", "docker/Dockerfile"),
        ("check-jsonschema", "--builtin-schema", "vendor.compose-spec", "docker/compose.yaml"),
        ("shellcheck", *sorted(map(str, [*DOCKER.glob("*.sh"), DOCKER / "slurm.sbatch"]))),
        ("python", "docker/check_kubernetes.py", "docker/kuberay.yaml"),
    ],
    ids=lambda command: command[0],
)
def test_the_linter_of_its_kind_finds_nothing(command):
    done = checked(*command)
    assert (done.returncode, done.stdout + done.stderr) in (
        (0, ""),
        (0, "ok -- validation done\n"),
    )


# -- Kubernetes ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("right", "wrong", "said"),
    [
        ("rayStartParams:", "rayStartParam:", "RayCluster/bnsweep"),
        ("minReplicas: 0", "minReplicas: none", "RayCluster/bnsweep"),
        ("idleTimeoutSeconds: 300", "idleTimeout: 300", "RayCluster/bnsweep"),
        ("claimName: bnsweep-store", "claim: bnsweep-store", "RayCluster/bnsweep: head"),
        ("accessModes:", "accessMode:", "PersistentVolumeClaim"),
        ("kind: RayCluster", "kind: RayClutser", "no schema is known"),
        ("containerPort: 5000", "containerPort: five", "Deployment/mlflow"),
    ],
)
def test_a_planted_mistake_in_a_kubernetes_file_is_found(tmp_path, right, wrong, said):
    text = (DOCKER / "kuberay.yaml").read_text()
    assert right in text
    (tmp_path / "planted.yaml").write_text(text.replace(right, wrong))
    done = checked("python", "docker/check_kubernetes.py", tmp_path / "planted.yaml")
    assert done.returncode == 1
    assert said in done.stdout


def pods():
    for document in KUBERNETES:
        spec = document.get("spec", {})
        groups = [spec.get("headGroupSpec"), *spec.get("workerGroupSpecs", []), spec]
        for group in groups:
            if group and "template" in group:
                yield pytest.param(group["template"]["spec"], id=group.get("groupName"))


@pytest.mark.parametrize("pod", list(pods()))
def test_no_pod_runs_as_root_or_may_become_it(pod):
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] > 0
    mounted = [m["mountPath"] for c in pod["containers"] for m in c.get("volumeMounts", [])]
    # The head's pod has a token, for the autoscaler; our own container finds nothing in its place.
    assert pod["automountServiceAccountToken"] is False or KUBERNETES_TOKEN in mounted
    for container in pod["containers"]:
        assert container["securityContext"]["allowPrivilegeEscalation"] is False
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}


@pytest.mark.parametrize("pod", list(pods()))
def test_no_secret_stands_in_a_pod(pod):
    for container in pod["containers"]:
        for variable in container.get("env", []):
            if any(word in variable["name"] for word in ("TOKEN", "PASSWORD", "SECRET")):
                assert "secretKeyRef" in variable["valueFrom"], variable["name"]


def test_workers_have_the_time_to_end_their_trials():
    cluster = next(d for d in KUBERNETES if d["kind"] == "RayCluster")["spec"]
    assert cluster["enableInTreeAutoscaling"] is True
    for group in cluster["workerGroupSpecs"]:
        pod = group["template"]["spec"]
        env = {e["name"]: e.get("value") for e in pod["containers"][0]["env"]}
        drain_s = int(env["RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S"])
        assert 60 <= drain_s < pod["terminationGracePeriodSeconds"]


def test_every_ray_node_is_told_to_use_tokens():
    cluster = next(d for d in KUBERNETES if d["kind"] == "RayCluster")["spec"]
    for group in [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]:
        names = {
            e["name"]: e.get("value") for e in group["template"]["spec"]["containers"][0]["env"]
        }
        assert names["RAY_AUTH_MODE"] == "token"
        assert "RAY_AUTH_TOKEN" in names


# -- Compose ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("service", SERVICES.values(), ids=list(SERVICES))
def test_a_published_port_is_bound_to_loopback_unless_said_otherwise(service):
    for port in service.get("ports", []):
        assert port.startswith("${BIND:-127.0.0.1}:")


@pytest.mark.parametrize("service", SERVICES.values(), ids=list(SERVICES))
def test_a_container_has_no_capability_and_gets_no_new_one(service):
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not service.get("privileged")
    assert service.get("user") != "root"


@pytest.mark.parametrize("service", SERVICES.values(), ids=list(SERVICES))
def test_a_secret_is_required_from_outside_and_never_on_a_command_line(service):
    for name, value in service.get("environment", {}).items():
        if any(word in name for word in ("TOKEN", "PASSWORD", "SECRET")):
            assert value.startswith("${"), name
            assert ":?" in value, name
    assert "PASSWORD" not in str(service.get("command"))
    assert "TOKEN" not in str(service.get("command"))


def test_every_image_comes_from_a_variable():
    assert all(service["image"].startswith("${") for service in SERVICES.values())


def test_head_and_workers_are_told_to_use_tokens():
    for name in ("head", "worker", "gpu-worker"):
        environment = SERVICES[name]["environment"]
        assert environment["RAY_AUTH_MODE"] == "token"
        assert ":?" in environment["RAY_AUTH_TOKEN"]


def test_gpus_are_reserved_in_the_gpu_profile_only():
    reserving = [name for name, service in SERVICES.items() if "deploy" in service]
    assert reserving == ["gpu-worker"]
    assert SERVICES["gpu-worker"]["profiles"] == ["gpu"]


def test_the_example_of_an_env_file_names_each_required_variable_and_fills_in_none():
    example = (DOCKER / ".env.example").read_text()
    required = {
        part.partition(":?")[0]
        for part in (DOCKER / "compose.yaml").read_text().split("${")
        if ":?" in part.partition("}")[0]
    }
    assert required
    for name in required:
        assert f"\n{name}=\n" in example


def test_the_image_ends_as_a_numeric_user_that_is_not_root():
    lines = (DOCKER / "Dockerfile").read_text().splitlines()
    users = [line.split()[1] for line in lines if line.startswith("USER")]
    assert users == ["${UID}:${UID}"]
    assert "ARG UID=10001" in lines


# -- Slurm -----------------------------------------------------------------------------------------

STUB = """#!/bin/sh
echo "$(basename "$0") $*" >> "$CALLS"
case "$(basename "$0") $*" in
  *"show hostnames"*) echo n1; echo n2 ;;
  *hostname*) echo 10.0.0.1 ;;
  *"ray start"*) exec sleep 60 ;;
  "python -c import ray"*) echo 2 ;;
  python*) echo token ;;
  *launch*) trap 'echo "stopped" >> "$CALLS"; exit 4' TERM; echo running >> "$CALLS"; %s ;;
esac
"""


def run_slurm(tmp_path, launch: str, *, signal_after: str = ""):
    stubs = tmp_path / "bin"
    stubs.mkdir()
    for name in ("srun", "scontrol", "bnsweep", "python"):
        (stubs / name).write_text(STUB % launch)
        (stubs / name).chmod(0o755)
    calls = tmp_path / "calls"
    calls.touch()
    environment = {
        "PATH": f"{stubs}:{os.environ['PATH']}",
        "CALLS": str(calls),
        "SLURM_JOB_NODELIST": "n[1-2]",
        "SLURM_JOB_ID": "7",
        "SLURM_CPUS_PER_TASK": "4",
        "BNSWEEP_STORE": "/shared/runs",
    }
    process = subprocess.Popen(
        [shutil.which("bash"), DOCKER / "slurm.sbatch", "a.yaml", "--set", "depth=14"],
        env=environment,
        start_new_session=True,
    )
    try:
        if signal_after:
            while signal_after not in calls.read_text():
                assert process.poll() is None
            process.terminate()
        return process.wait(timeout=60), calls.read_text()
    finally:
        # Slurm ends what is left of an allocation; here it is the test's process group.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def test_a_slurm_job_starts_a_head_and_workers_and_ends_with_launchs_exit_code(tmp_path):
    code, calls = run_slurm(tmp_path, "exit 1")
    assert code == 1
    assert "--nodelist=n1 --export=ALL ray start --head --port=20007" in calls
    assert "--nodelist=n2 --export=ALL ray start --address=10.0.0.1:20007" in calls
    assert "bnsweep launch a.yaml --set depth=14 --yes" in calls
    assert "requeue" not in calls


def test_a_slurm_job_that_is_told_to_end_stops_the_launch_cleanly_and_asks_to_be_requeued(tmp_path):
    code, calls = run_slurm(tmp_path, "while :; do sleep 0.1; done", signal_after="running")
    assert code == 4
    assert calls.splitlines()[-2:] == ["stopped", "scontrol requeue 7"]
