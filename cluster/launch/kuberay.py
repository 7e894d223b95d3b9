"""What is wrong with KubeRay manifests: fields that do not exist, settings that let strangers in?

The operator's own schema is 1.4 MB and in no package, so the fields down to the containers are written here, by name
(RayCluster and RayJob of KubeRay 1.7, pods of Kubernetes 1.3x); below them Kubernetes itself refuses what is wrong. A
field that is newer than this table is refused too: add it. `kubectl apply --dry-run=server` asks the real schema.
"""

from collections.abc import Iterator, Mapping, Sequence

from cluster.launch.finding import Finding, items, unknown_keys

ANY = object()
Shape = object  # a dict of shapes by key, [the shape of an item], a type, or ANY


def _fields(names: str, **known: Shape) -> dict[str, Shape]:
    """Fields by name: those listed hold anything, the others what is said."""
    return {**dict.fromkeys(names.split(), ANY), **known}


CONTAINER = _fields(
    "args command envFrom imagePullPolicy livenessProbe readinessProbe startupProbe resizePolicy restartPolicy "
    "restartPolicyRules stdin stdinOnce terminationMessagePath terminationMessagePolicy tty volumeDevices workingDir",
    name=str,
    image=str,
    env=[_fields("name value valueFrom")],
    lifecycle=_fields("postStart preStop stopSignal"),
    ports=[_fields("hostIP hostPort protocol", containerPort=int, name=str)],
    resources=_fields("claims", limits=dict, requests=dict),
    securityContext=_fields(
        "appArmorProfile capabilities procMount runAsGroup runAsUser seLinuxOptions seccompProfile windowsOptions",
        allowPrivilegeEscalation=bool,
        privileged=bool,
        readOnlyRootFilesystem=bool,
        runAsNonRoot=bool,
    ),
    volumeMounts=[_fields("mountPath mountPropagation name readOnly recursiveReadOnly subPath subPathExpr")],
)
POD = _fields(
    "activeDeadlineSeconds affinity dnsConfig dnsPolicy enableServiceLinks ephemeralContainers hostAliases hostIPC "
    "hostNetwork hostPID hostUsers hostname hostnameOverride imagePullSecrets nodeName os overhead preemptionPolicy "
    "priority priorityClassName readinessGates resourceClaims resources restartPolicy runtimeClassName schedulerName "
    "schedulingGates schedulingGroup serviceAccount setHostnameAsFQDN shareProcessNamespace subdomain "
    "topologySpreadConstraints",
    automountServiceAccountToken=bool,
    containers=[CONTAINER],
    initContainers=[CONTAINER],
    nodeSelector=dict,
    securityContext=_fields(
        "appArmorProfile fsGroup fsGroupChangePolicy runAsGroup runAsUser seLinuxChangePolicy seLinuxOptions "
        "seccompProfile supplementalGroups supplementalGroupsPolicy sysctls windowsOptions",
        runAsNonRoot=bool,
    ),
    serviceAccountName=str,
    terminationGracePeriodSeconds=int,
    tolerations=[_fields("effect key operator tolerationSeconds value")],
    volumes=[
        _fields(
            "configMap csi downwardAPI emptyDir ephemeral hostPath image name nfs persistentVolumeClaim projected "
            "secret"
        )
    ],
)
METADATA = _fields("annotations labels name namespace generateName finalizers ownerReferences")
TEMPLATE = {"metadata": METADATA, "spec": POD}
CLUSTER = _fields(
    "headServiceAnnotations historyServerOptions managedBy suspend tlsOptions upgradeStrategy",
    authOptions={"mode": str, "secretName": str, "enableK8sTokenAuth": bool},
    autoscalerOptions=_fields(
        "args command env envFrom image imagePullPolicy resources securityContext upscalingMode version volumeMounts",
        idleTimeoutSeconds=int,
    ),
    enableInTreeAutoscaling=bool,
    gcsFaultToleranceOptions=_fields(
        "backend externalStorageNamespace redisAddress redisPassword redisUsername storage"
    ),
    headGroupSpec=_fields(
        "enableIngress headService ingressOptions labels resources serviceType", rayStartParams=dict, template=TEMPLATE
    ),
    networkPolicy=_fields("mode head worker workerGroups"),
    rayVersion=str,
    workerGroupSpecs=[
        _fields(
            "labels priority resources scaleStrategy suspend",
            groupName=str,
            idleTimeoutSeconds=int,
            maxReplicas=int,
            minReplicas=int,
            numOfHosts=int,
            rayStartParams=dict,
            replicas=int,
            template=TEMPLATE,
        )
    ],
)
JOB = _fields(
    "clusterSelector deletionStrategy entrypointResources jobId managedBy metadata runtimeEnvYAML submitterConfig "
    "suspend",
    activeDeadlineSeconds=int,
    backoffLimit=int,
    entrypoint=str,
    entrypointNumCpus=ANY,
    entrypointNumGpus=ANY,
    preRunningDeadlineSeconds=int,
    rayClusterSpec=CLUSTER,
    shutdownAfterJobFinishes=bool,
    submissionMode=str,
    submitterPodTemplate=TEMPLATE,
    ttlSecondsAfterFinished=int,
)
RULE = _fields("ports from to")
POLICY = {"podSelector": dict, "policyTypes": [str], "ingress": [RULE], "egress": [RULE]}
KINDS: dict[str, tuple[str, Shape]] = {
    "RayCluster": ("ray.io/v1", _fields("apiVersion kind", metadata=METADATA, spec=CLUSTER)),
    "RayJob": ("ray.io/v1", _fields("apiVersion kind", metadata=METADATA, spec=JOB)),
    "NetworkPolicy": ("networking.k8s.io/v1", _fields("apiVersion kind", metadata=METADATA, spec=POLICY)),
    "ServiceAccount": (
        "v1",
        _fields("apiVersion kind imagePullSecrets secrets", metadata=METADATA, automountServiceAccountToken=bool),
    ),
}
NAMES = {str: "text", int: "a whole number", bool: "true or false", dict: "keys and values"}


def kuberay_findings(documents: Sequence[Mapping[str, object]]) -> list[Finding]:
    """Everything that is wrong with the manifests of one file."""
    found: list[Finding] = []
    for document in documents:
        kind = str(document.get("kind"))
        if kind not in KINDS:
            found.append(Finding("kind", f"{kind} is not known here", f"this file is for {', '.join(KINDS)}"))
            continue
        version, shape = KINDS[kind]
        if document.get("apiVersion") != version:
            found.append(Finding(f"{kind}.apiVersion", f"is {document.get('apiVersion')}", f"use {version}"))
        found += compare_shape(document, shape, kind)
    clusters = [(str(c["kind"]), spec) for c in documents if isinstance(spec := _cluster_spec(c), dict)]
    if not clusters and not found:
        found.append(Finding("file", "holds no RayCluster and no RayJob", "start from a file in cluster/launch"))
    has_policy = any(document.get("kind") == "NetworkPolicy" for document in documents)
    for kind, spec in clusters:
        found += _safety(spec, kind, has_policy=has_policy)
    return found


def compare_shape(value: object, shape: Shape, place: str) -> Iterator[Finding]:
    """Compare a value with its shape."""
    if shape is ANY:
        return
    if isinstance(shape, dict) and isinstance(value, dict):
        yield from unknown_keys(value, shape, place)
        for key, inner in value.items():
            yield from compare_shape(inner, shape.get(key, ANY), f"{place}.{key}")
    elif isinstance(shape, list) and isinstance(value, list):
        for number, item in enumerate(value):
            yield from compare_shape(item, shape[0], f"{place}[{number}]")
    elif not isinstance(shape, type) or not isinstance(value, shape) or (shape is int and isinstance(value, bool)):
        what = "a list" if isinstance(shape, list) else NAMES[shape if isinstance(shape, type) else dict]
        yield Finding(place, f"is {value!r}"[:120], f"it has to be {what}")


def _cluster_spec(document: Mapping[str, object]) -> object:
    spec = document.get("spec")
    if document.get("kind") == "RayJob":
        return spec.get("rayClusterSpec") if isinstance(spec, dict) else None
    return spec if document.get("kind") == "RayCluster" else None


def _get(value: object, *path: str) -> object:
    """A nested value, None where a step of the way is missing."""
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _safety(spec: Mapping[str, object], place: str, *, has_policy: bool) -> Iterator[Finding]:
    if _get(spec, "authOptions", "mode") != "token":
        yield Finding(f"{place}.authOptions.mode", "is not token; an open Ray runs anybody's code", "mode: token")
    if not has_policy and not _get(spec, "networkPolicy"):
        mend = "add the NetworkPolicy of cluster/launch/kuberay-cluster.yaml"
        yield Finding(place, "has no network policy; every pod of the cluster may knock", mend)
    if _get(spec, "headGroupSpec", "serviceType") in ("LoadBalancer", "NodePort") or _get(
        spec, "headGroupSpec", "enableIngress"
    ):
        mend = "use ClusterIP and `kubectl port-forward`"
        yield Finding(f"{place}.headGroupSpec", "offers the dashboard outside Kubernetes", mend)
    groups = [("headGroupSpec", spec.get("headGroupSpec"))]
    groups += [(f"workerGroupSpecs[{n}]", g) for n, g in enumerate(items(spec.get("workerGroupSpecs")))]
    for name, group in groups:
        pod = _get(group, "template", "spec")
        needs_api = name == "headGroupSpec" and spec.get("enableInTreeAutoscaling") is True
        if isinstance(pod, dict):
            yield from _pod(pod, f"{place}.{name}.template.spec", needs_api=needs_api)


def _pod(pod: Mapping[str, object], place: str, *, needs_api: bool) -> Iterator[Finding]:
    if not needs_api and pod.get("automountServiceAccountToken") is not False:
        mend = "automountServiceAccountToken: false"
        yield Finding(place, "holds a key to Kubernetes' API that it does not need", mend)
    for key in ("hostNetwork", "hostPID", "hostIPC"):
        if pod.get(key):
            yield Finding(f"{place}.{key}", "gives the pod the node's own view", "remove it")
    for number, container in enumerate(items(pod.get("containers"))):
        if isinstance(container, dict):
            yield from _container(container, _get(pod, "securityContext"), f"{place}.containers[{number}]")


def _container(container: Mapping[str, object], of_pod: object, place: str) -> Iterator[Finding]:
    own = container.get("securityContext")
    if _get(own, "runAsNonRoot") is not True and _get(of_pod, "runAsNonRoot") is not True:
        yield Finding(f"{place}.securityContext", "may run as root", "runAsNonRoot: true, here or in the pod")
    if _get(own, "privileged"):
        yield Finding(f"{place}.securityContext", "is privileged", "remove it")
    if _get(own, "allowPrivilegeEscalation") is not False:
        yield Finding(f"{place}.securityContext", "may gain privileges", "allowPrivilegeEscalation: false")
    if "ALL" not in items(_get(own, "capabilities", "drop")):
        yield Finding(f"{place}.securityContext", "keeps capabilities", "capabilities: {drop: [ALL]}")
    image = str(container.get("image", ""))
    if "@sha256:" not in image and (":" not in image.rpartition("/")[2] or image.endswith(":latest")):
        yield Finding(f"{place}.image", f"{image or 'nothing'} is whatever was pushed last", "name a tag or a digest")
    for part in ("requests", "limits"):
        if not _get(container, "resources", part):
            yield Finding(f"{place}.resources", f"has no {part}", "say cpu and memory; Ray sizes itself by them")
    for entry in items(container.get("env")):
        name = str(_get(entry, "name"))
        if any(word in name for word in ("TOKEN", "PASSWORD", "SECRET", "API_KEY")) and _get(entry, "value"):
            yield Finding(f"{place}.env", f"{name} stands in the file", "use valueFrom.secretKeyRef")
