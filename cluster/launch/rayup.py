"""What is wrong with a `ray up` file: keys that do not exist, settings that let strangers in?

Ray's own schema is applied as `ray up` does, with defaults filled in. It leaves provider and node_config free, so these
are checked here: provider keys against those that Ray 2.60 reads, node_config against EC2's RunInstances (botocore's
model, if boto3 is installed), Ray's Azure template, or the fields of a Compute Engine instance. The safety rules exist
because Ray's defaults are open: SSH from everywhere, roles with all of EC2, public addresses.
"""

import functools
from collections.abc import Collection, Iterator, Mapping
from typing import TYPE_CHECKING

from cluster.launch.finding import Finding, items, mapping, unknown_keys

if TYPE_CHECKING:
    from botocore.model import Shape

Values = Mapping[str, object]

SHARED_KEYS = {"type", "cache_stopped_nodes", "use_internal_ips", "availability_zone", "disable_node_updaters"}
PROVIDER_KEYS = {
    "aws": SHARED_KEYS | {"region", "security_group", "key_pair", "aws_credentials", "cloudwatch"},
    "gcp": SHARED_KEYS | {"region", "project_id", "gcp_credentials"},
    "azure": SHARED_KEYS
    | {"location", "resource_group", "subscription_id", "subnet_mask", "msi_name", "msi_resource_group", "tags"}
    | {"unique_id", "use_external_head_ip"},
    "local": {"type", "head_ip", "worker_ips", "external_head_ip", "coordinator_address", "disable_node_updaters"},
}
RAY_ADDS = {"SubnetIds"}  # understood by Ray's AWS provider, not by EC2
GCP_NODE = {
    *("machineType", "disks", "networkInterfaces", "serviceAccounts", "scheduling", "resourcePolicies", "labels"),
    *("shieldedInstanceConfig", "guestAccelerators", "metadata", "tags", "minCpuPlatform", "reservationAffinity"),
    *("networkPerformanceConfig", "advancedMachineFeatures", "confidentialInstanceConfig", "canIpForward", "hostname"),
    *("deletionProtection", "description", "sourceMachineImage", "params", "displayDevice"),
}
GCP_SCHEDULING = {
    *("provisioningModel", "instanceTerminationAction", "onHostMaintenance", "automaticRestart", "preemptible"),
    *("maxRunDuration", "terminationTime", "nodeAffinities", "minNodeCpus", "locationHint", "onInstanceStopAction"),
    *("hostErrorTimeoutSeconds", "localSsdRecoveryTimeout"),
}
AGENT = "cluster.launch.spot"


def ray_up_findings(config: Values) -> list[Finding]:
    """Everything that is wrong with a `ray up` configuration, to Ray itself and to us."""
    return [*_schema(config), *own_findings(config)]


def own_findings(config: Values) -> list[Finding]:
    """What Ray's schema leaves free or allows."""
    provider = config.get("provider")
    kind = provider.get("type") if isinstance(provider, dict) else None
    if not isinstance(provider, dict) or not isinstance(kind, str) or kind not in PROVIDER_KEYS:
        return [Finding("provider.type", f"{kind!r} is not known here", f"use one of {sorted(PROVIDER_KEYS)}")]
    found = list(unknown_keys(provider, PROVIDER_KEYS[kind], "provider"))
    found += _commands(config)
    if kind != "local":
        found += _network(provider)
    for name, node in _node_types(config):
        place = f"available_node_types.{name}.node_config"
        found += {"aws": _aws_node, "gcp": _gcp_node, "azure": _azure_node}[kind](node, place, name, config)
        if _is_spot(node):
            found += _spot(config, place, is_head=name == config.get("head_node_type"))
    return found


def _schema(config: Values) -> Iterator[Finding]:
    """What `ray up` itself would refuse; it stops at the first."""
    from jsonschema import ValidationError

    from cluster.runtime.ray_internals import validate_launch_file

    try:
        validate_launch_file(config)
    except ValidationError as error:
        place = ".".join(str(part) for part in error.absolute_path)
        yield Finding(place or "file", error.message[:200], "see Ray's page on cluster YAML configuration")
    except Exception as error:  # noqa: BLE001 - ray raises whatever its defaults stumble over
        yield Finding(
            "file", f"Ray cannot read it: {' '.join(str(error).split())[:200] or type(error).__name__}", "mend it"
        )


def _commands(config: Values) -> Iterator[Finding]:
    """Token auth wherever Ray is started, and a dashboard that listens to this machine alone."""
    starts = 0
    for key in ("head_start_ray_commands", "worker_start_ray_commands"):
        for number, command in enumerate(map(str, items(config.get(key)))):
            if "ray start" not in command:
                continue
            starts, place = starts + 1, f"{key}[{number}]"
            if "RAY_AUTH_MODE=token" not in command:
                mend = "begin the command with RAY_AUTH_MODE=token; an open Ray runs anybody's code"
                yield Finding(place, "starts Ray without token auth", mend)
            if any(f"--dashboard-host{sep}{host}" in command for sep in "= " for host in ("0.0.0.0", "::", "[::]")):
                mend = "use --dashboard-host=127.0.0.1 and reach it with `ray dashboard FILE`"
                yield Finding(place, "the dashboard listens on every address", mend)
    if starts < 2:
        yield Finding(
            "head_start_ray_commands", "Ray would be started by defaults, without token auth", "give both lists"
        )


def _network(provider: Values) -> Iterator[Finding]:
    if provider.get("use_internal_ips") is not True:
        yield Finding("provider.use_internal_ips", "nodes get public addresses", "set it to true")
    if provider.get("use_external_head_ip"):
        yield Finding("provider.use_external_head_ip", "the head gets a public address", "remove it")
    for rule in map(mapping, items(mapping(provider.get("security_group")).get("IpPermissions"))):
        ranges = map(mapping, [*items(rule.get("IpRanges")), *items(rule.get("Ipv6Ranges"))])
        open_to = {str(r.get("CidrIp") or r.get("CidrIpv6")) for r in ranges} & {"0.0.0.0/0", "::/0"}
        if open_to:
            ports = f"{rule.get('FromPort', 'all')} to {rule.get('ToPort', 'all')}"
            yield Finding(
                "provider.security_group", f"ports {ports} are open to {sorted(open_to)[0]}", "name your own range"
            )


def _node_types(config: Values) -> list[tuple[str, Values]]:
    nodes = mapping(config.get("available_node_types")).items()
    return [(str(name), found) for name, node in nodes if (found := mapping(mapping(node).get("node_config")))]


def _aws_node(node: Values, place: str, name: str, config: Values) -> Iterator[Finding]:
    yield from _run_instances(node, place)
    cards = [mapping(card) for card in items(node.get("NetworkInterfaces"))]
    for number, card in enumerate(cards):
        if card.get("AssociatePublicIpAddress"):
            yield Finding(
                f"{place}.NetworkInterfaces[{number}]", "gets a public address", "AssociatePublicIpAddress: false"
            )
    grouped = node.get("SecurityGroupIds") or (cards and all(card.get("Groups") for card in cards))
    if not grouped and "security_group" not in mapping(config.get("provider")):
        mend = "name your own security group: Ray's opens SSH to 0.0.0.0/0"
        yield Finding(place, "has no security group of its own", mend)
    if not node.get("IamInstanceProfile"):
        mend = "name your own: Ray gives its head all of EC2 and S3"
        yield Finding(f"{place}.IamInstanceProfile", "is missing", mend)
    if mapping(node.get("MetadataOptions")).get("HttpTokens") != "required":
        mend = "MetadataOptions: {HttpTokens: required}; else any request forged on the node reads its keys (IMDSv1)"
        yield Finding(f"{place}.MetadataOptions", "does not require IMDSv2", mend)
    for disk in map(mapping, items(node.get("BlockDeviceMappings"))):
        if isinstance(volume := disk.get("Ebs"), dict) and volume.get("Encrypted") is not True:
            yield Finding(f"{place}.BlockDeviceMappings", "a disk is not encrypted", "Encrypted: true")


def _run_instances(node: Values, place: str) -> Iterator[Finding]:
    """Compare with EC2's RunInstances, as boto3 would just before the call."""
    try:
        from botocore.validate import ParamValidator

        shape = _run_instances_shape()
    except ImportError:
        yield Finding(place, "cannot be compared with EC2's parameters", "pip install boto3, which `ray up` needs too")
        return
    asked = {key: value for key, value in node.items() if key not in RAY_ADDS}
    report = ParamValidator().validate({**asked, "MinCount": 1, "MaxCount": 1}, shape)
    for line in report.generate_report().splitlines():
        text, _, choices = line.partition(", must be one of: ")
        mend = f"use one of {choices[:160]}..." if choices else "see EC2's RunInstances"
        yield Finding(place, text.replace(" in input", "")[:200], mend)


@functools.cache
def _run_instances_shape() -> "Shape":
    """EC2's description of the call, which comes with botocore; 1 s to read."""
    import botocore.session

    return botocore.session.Session().get_service_model("ec2").operation_model("RunInstances").input_shape


def _gcp_node(node: Values, place: str, name: str, config: Values) -> Iterator[Finding]:
    yield from unknown_keys(node, GCP_NODE, place)
    yield from _keys_of(node, "scheduling", GCP_SCHEDULING, place)
    cards = [mapping(card) for card in items(node.get("networkInterfaces"))]
    if not cards:
        yield Finding(f"{place}.networkInterfaces", "is missing, so Ray gives a public address", "name your subnetwork")
    if any(card.get("accessConfigs") for card in cards):
        yield Finding(f"{place}.networkInterfaces", "gets a public address", "remove accessConfigs")
    if not node.get("serviceAccounts") and name != config.get("head_node_type"):
        yield Finding(f"{place}.serviceAccounts", "is missing", "name one of your own with the store's bucket alone")


def _azure_node(node: Values, place: str, name: str, config: Values) -> Iterator[Finding]:
    from cluster.runtime.ray_internals import azure_parameters

    yield from unknown_keys(node, {"azure_arm_parameters", "tags"}, place)
    yield from _keys_of(node, "azure_arm_parameters", azure_parameters() | {"availability_zone"}, place)


def _keys_of(node: Values, name: str, known: Collection[str], place: str) -> Iterator[Finding]:
    """Compare the keys of a block that need not be there."""
    block = node.get(name)
    if isinstance(block, dict):
        yield from unknown_keys(block, known, f"{place}.{name}")
    elif block is not None:
        yield Finding(f"{place}.{name}", f"is {block!r}"[:120], "it has to be keys and values")


def _is_spot(node: Values) -> bool:
    """Can the cloud take the machine away?"""
    blocks = ("scheduling", "azure_arm_parameters", "InstanceMarketOptions")
    scheduling, arm, market = (mapping(node.get(name)) for name in blocks)
    return bool(
        market.get("MarketType") == "spot"
        or scheduling.get("provisioningModel") == "SPOT"
        or scheduling.get("preemptible")
        or arm.get("priority") == "Spot"
    )


def _spot(config: Values, place: str, *, is_head: bool) -> Iterator[Finding]:
    if is_head:
        yield Finding(place, "the head is a spot machine; every run ends with it", "take it on demand")
    elif not any(AGENT in str(command) for command in items(config.get("worker_start_ray_commands"))):
        mend = f"start `python -m {AGENT} --cloud ...` in worker_start_ray_commands"
        yield Finding(place, "a spot machine without the interruption agent", mend)
