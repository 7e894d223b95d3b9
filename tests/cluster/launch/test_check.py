"""Do the launch files start closed clusters, and does doctor catch what is wrong with one?"""

import re

import pytest
import yaml

from cluster.launch.check import check_launch_file
from cluster.launch.kuberay import KINDS
from ray_jobs.commands.doctor import check_cluster_file
from tests.support.root import ROOT

FOLDER = ROOT / "cluster" / "launch"
RAY_UP, KUBERAY = ["aws", "gcp", "azure", "local"], ["kuberay-cluster", "kuberay-job"]
CONSTRAINTS = (ROOT / "constraints.txt").read_text()


def filled_in(name: str) -> str:
    """A launch file as somebody would fill it in."""
    text = (FOLDER / f"{name}.yaml").read_text(encoding="utf-8")
    text = text.replace("CHANGE-ME-WORKER-1", "10.0.0.2").replace("sha256:CHANGE-ME-DIGEST", f"sha256:{'0' * 64}")
    return re.sub(r"CHANGE-ME[A-Z0-9-]*", lambda found: found[0].removeprefix("CHANGE-ME-").lower(), text)


def check(tmp_path, text):
    path = tmp_path / "launch.yaml"
    path.write_text(text, encoding="utf-8")
    return check_launch_file(path)


@pytest.mark.parametrize("name", RAY_UP + KUBERAY)
def test_a_file_that_is_filled_in_is_right(name, tmp_path):
    assert check(tmp_path, filled_in(name)) == []


@pytest.mark.parametrize("name", RAY_UP + KUBERAY)
def test_every_placeholder_of_a_file_as_it_comes_is_named(name):
    found = check_launch_file(FOLDER / f"{name}.yaml")
    given = set(re.findall(r"(?<!every )CHANGE-ME[A-Z0-9-]+", (FOLDER / f"{name}.yaml").read_text()))
    assert {finding.problem.split()[0] for finding in found} == given and len(given) >= 4


#: For each file: a right piece, the same with a wrong key or value, and a word that doctor has to say.
WRONG = [
    ("aws", "max_workers: 4\nidle", "max_wrkers: 4\nidle", "max_wrkers"),
    ("aws", "max_workers: 4\nidle", "max_workers: four\nidle", "four"),
    ("aws", "  use_internal_ips", "  use_internal_ip: true\n  use_internal_ips", "did you mean use_internal_ips"),
    ("aws", "InstanceType: p4de", "InstancType: p4de", "InstancType"),
    ("aws", "InterfaceType: efa", "InterfaceTyp: efa", "InterfaceTyp"),
    ("aws", "VolumeSize: 500", "VolumeSize: big", "VolumeSize"),
    ("gcp", "  project_id", "  project: x\n  project_id", "did you mean project_id"),
    ("gcp", "machineType: a2", "machinType: a2", "did you mean machineType"),
    ("gcp", "provisioningModel", "provisionModel", "did you mean provisioningModel"),
    ("gcp", "head_node_type:", "head_node:", "head_node"),
    ("azure", "  location:", "  region: x\n  location:", "region"),
    ("azure", "vmSize: Standard_ND", "vmsize: Standard_ND", "did you mean vmSize"),
    ("azure", "azure_arm_parameters:", "arm_parameters:", "did you mean azure_arm_parameters"),
    ("azure", "ssh_user", "sshuser", "sshuser"),
    ("local", "worker_ips", "workers_ips", "did you mean worker_ips"),
    ("local", "setup_commands: [", "setup_command: [", "setup_command"),
    ("local", "type: local", "type: lokal", "lokal"),
    ("kuberay-cluster", "minReplicas", "minReplica", "did you mean minReplicas"),
    ("kuberay-cluster", "replicas: 0", "replicas: two", "whole number"),
    ("kuberay-cluster", "headGroupSpec", "headGroup", "did you mean headGroupSpec"),
    ("kuberay-cluster", "terminationGracePeriodSeconds: 180", "terminationGraceSeconds: 180", "did you mean term"),
    ("kuberay-cluster", "volumeMounts", "volumeMount", "did you mean volumeMounts"),
    ("kuberay-cluster", "policyTypes", "policyType", "did you mean policyTypes"),
    ("kuberay-cluster", "runAsNonRoot: true", "runAsNonRoot: 'yes'", "true or false"),
    ("kuberay-cluster", "kind: RayCluster", "kind: RayClusters", "RayClusters is not known"),
    ("kuberay-cluster", "apiVersion: ray.io/v1", "apiVersion: ray.io/v1alpha1", "use ray.io/v1"),
    ("kuberay-job", "entrypoint:", "entryPoint:", "did you mean entrypoint"),
    ("kuberay-job", "backoffLimit: 3", "backoffLimit: true", "whole number"),
    ("kuberay-job", "rayClusterSpec", "clusterSpec", "clusterSpec"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "right", "wrong", "said"), WRONG, ids=[f"{n}-{s}" for n, _, _, s in WRONG])
def test_a_wrong_key_in_each_file_is_caught(name, right, wrong, said, tmp_path):
    text = filled_in(name)
    assert right in text
    found = check(tmp_path, text.replace(right, wrong))
    assert any(said in " ".join(finding) for finding in found), found
    assert all(finding.mend for finding in found)


#: For each file: a safe piece, an insecure one in its place, and a word that doctor has to say.
OPEN = [
    ("aws", "HttpTokens: required", "HttpTokens: optional", "IMDSv2"),
    ("aws", "      MetadataOptions:", "      # MetadataOptions:", "IMDSv2"),
    ("aws", "IamInstanceProfile:", "Monitoring: {Enabled: true} #", "all of EC2"),
    ("aws", "Groups: [security-group]", "Description: none", "0.0.0.0/0"),
    ("aws", "AssociatePublicIpAddress: false", "AssociatePublicIpAddress: true", "public address"),
    ("aws", "Encrypted: true", "Encrypted: false", "not encrypted"),
    ("aws", "MarketType: spot", "MarketType: capacity-block", None),
    ("aws", "python -m cluster.launch.spot", "true", "without the interruption agent"),
    ("aws", "use_internal_ips: true", "use_internal_ips: false", "public addresses"),
    ("aws", "setup_commands: [", "setup_commands: [export RAY_AUTH_TOKEN=abc, ", "RAY_AUTH_TOKEN stands in the file"),
    (
        "aws",
        "  use_internal_ips",
        "  security_group: {IpPermissions: [{FromPort: 22, ToPort: 22, IpRanges: [{CidrIp: 0.0.0.0/0}]}]}\n"
        "  use_internal_ips",
        "ports 22 to 22 are open to 0.0.0.0/0",
    ),
    ("gcp", "{subnetwork: subnet, nicType: GVNIC}", "{subnetwork: subnet, accessConfigs: [{}]}", "public address"),
    ("gcp", "networkInterfaces:", "labels: {a: b} #", "public address"),
    ("gcp", "serviceAccounts:", "disks:", "one of your own"),
    ("gcp", "python -m cluster.launch.spot", "true", "without the interruption agent"),
    ("azure", "use_internal_ips: true", "use_internal_ips: true\n  use_external_head_ip: true", "public address"),
    ("azure", "python -m cluster.launch.spot", "true", "without the interruption agent"),
    ("azure", "vmSize: Standard_D8s_v5", "vmSize: Standard_D8s_v5\n        priority: Spot", "take it on demand"),
    *((name, "RAY_AUTH_MODE=token RAY_USAGE", "RAY_USAGE", "without token auth") for name in RAY_UP),
    *((name, "--dashboard-host=127.0.0.1", "--dashboard-host=0.0.0.0", "every address") for name in RAY_UP),
    *((name, "worker_start_ray_commands:", "worker_setup_commands:", "by defaults") for name in RAY_UP),
    ("kuberay-cluster", "mode: token", "mode: disabled", "anybody's code"),
    ("kuberay-cluster", "kind: NetworkPolicy", "kind: ServiceAccount", "no network policy"),
    ("kuberay-cluster", "serviceType: ClusterIP", "serviceType: LoadBalancer", "outside Kubernetes"),
    ("kuberay-cluster", "runAsNonRoot: true", "runAsNonRoot: false", "may run as root"),
    ("kuberay-cluster", "allowPrivilegeEscalation: false", "allowPrivilegeEscalation: true", "may gain privileges"),
    ("kuberay-cluster", "drop: [ALL]", "drop: [NET_RAW]", "keeps capabilities"),
    ("kuberay-cluster", f"headrace@sha256:{'0' * 64}", "headrace:latest", "pushed last"),
    ("kuberay-cluster", "automountServiceAccountToken: false", "hostNetwork: true", "does not need"),
    ("kuberay-cluster", "automountServiceAccountToken: false", "hostNetwork: true", "own view"),
    ("kuberay-cluster", "requests: {cpu: \"88\"", "limits: {cpu: \"88\"", "no requests"),
    ("kuberay-cluster", "name: NCCL_DEBUG, value: WARN", "name: WANDB_API_KEY, value: abc", "secretKeyRef"),
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(("name", "safe", "unsafe", "said"), OPEN, ids=[f"{n}-{s}" for n, _, _, s in OPEN])
def test_what_lets_strangers_in_is_caught(name, safe, unsafe, said, tmp_path):
    text = filled_in(name)
    assert safe in text
    found = check(tmp_path, text.replace(safe, unsafe))
    if said is None:
        assert found == []
    else:
        assert any(said in " ".join(finding) for finding in found), found


@pytest.mark.parametrize(
    ("text", "said"),
    [("", "no keys"), ("- a\n", "no keys"), ("a: [", "not valid YAML"), ("name: run\nstore: x\n", "neither")],
)
def test_what_is_no_launch_file_is_refused(text, said, tmp_path):
    assert said in check(tmp_path, text)[0].problem


def test_doctor_says_it_all_and_a_missing_file_too(tmp_path):
    assert [check.state for check in check_cluster_file(str(tmp_path / "none.yaml"))] == ["fail"]
    path = tmp_path / "a.yaml"
    path.write_text(filled_in("aws"))
    assert [check.state for check in check_cluster_file(str(path))] == ["ok"]
    assert {check.state for check in check_cluster_file(str(FOLDER / "aws.yaml"))} == {"fail"}


def test_versions_in_the_files_are_those_of_the_constraints():
    ray = re.search(r"^ray==(\S+)$", CONSTRAINTS, re.MULTILINE)[1]
    for name in KUBERAY:
        assert f'rayVersion: "{ray}"' in (FOLDER / f"{name}.yaml").read_text()


def test_the_image_holds_no_secret_and_runs_as_nobody_special():
    lines = (FOLDER / "Dockerfile").read_text().splitlines()
    base = next(line for line in lines if line.startswith("ARG BASE="))
    assert re.search(r":[\d.]+", base) and "latest" not in base
    assert [line for line in lines if line.startswith("USER ")][-1] == "USER ray"
    assert any("-c constraints.txt" in line for line in lines)
    copied = {line.split()[1] for line in lines if line.startswith("COPY ") and "pyproject" not in line}
    assert copied == {"cluster", "data_ops", "models", "tune", "ray_jobs"}
    assert (FOLDER / "Dockerfile.dockerignore").read_text().splitlines()[1] == "*"


def test_the_runtime_environment_is_one_that_ray_accepts():
    from ray.runtime_env import RuntimeEnv

    given = yaml.safe_load((FOLDER / "runtime_env.yaml").read_text())
    given.pop("working_dir")  # ray uploads it here and now
    assert RuntimeEnv(**given)["env_vars"]["NCCL_DEBUG"] == "WARN"


def test_the_two_kuberay_files_describe_the_same_cluster():
    specs = []
    for name, path in (("kuberay-cluster", ("spec",)), ("kuberay-job", ("spec", "rayClusterSpec"))):
        found = next(d for d in yaml.safe_load_all(filled_in(name)) if d["apiVersion"] == KINDS["RayJob"][0])
        for key in path:
            found = found[key]
        head = found["headGroupSpec"]["template"]["spec"]
        head["volumes"] = [v for v in head["volumes"] if v["name"] != "config"]
        mounts = head["containers"][0]["volumeMounts"]
        head["containers"][0]["volumeMounts"] = [m for m in mounts if m["name"] != "config"]
        specs.append(found)
    assert specs[0] == specs[1]
