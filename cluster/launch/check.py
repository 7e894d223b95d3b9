"""Would this launch file start a cluster, and one that nobody else can enter?

`check_launch_file` reads a `ray up` configuration or KubeRay manifests and returns what is wrong, each with its mend:
placeholders, keys that do not exist (rayup.py: Ray's own schema and the clouds' parameters; kuberay.py: the fields of
the manifests) and insecure settings. Offline: no cloud and no cluster is asked.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from cluster.launch import kuberay, rayup
from cluster.launch.finding import Finding
from cluster.yaml_text import load_yaml_documents

PLACEHOLDER = "CHANGE-ME"
SECRET_NAME = re.compile(r"(token|password|passwd|secret|api_?key|access_?key)$", re.IGNORECASE)


def check_launch_file(path: str | Path) -> list[Finding]:
    """Everything that is wrong with a launch file; OSError if it cannot be read."""
    try:
        text = Path(path).read_text(encoding="utf-8")
        documents = [found for found in load_yaml_documents(text) if found is not None]
    except ValueError as error:  # also of bytes that are no UTF-8
        return [Finding("file", f"is not valid YAML: {error}", "correct the line it names, or save it as UTF-8")]
    found = [finding for document in documents for finding in (*placeholders(document), *secrets(document))]
    blocks = [document for document in documents if isinstance(document, dict)]
    if not documents or len(blocks) < len(documents):
        return [Finding("file", "holds no keys and values", "start from one of the files in cluster/launch")]
    if any("apiVersion" in block for block in blocks):
        return [*found, *kuberay.kuberay_findings(blocks)]
    if len(blocks) == 1 and "provider" in blocks[0]:
        return [*found, *rayup.ray_up_findings(blocks[0])]
    return [*found, Finding("file", "is neither a `ray up` file (provider:) nor a KubeRay manifest", "say what it is")]


def placeholders(document: object) -> Iterator[Finding]:
    """What is still to be filled in, once a name."""
    named: dict[str, str] = {}
    for place, text in leaves(document):
        for name in re.findall(rf"{PLACEHOLDER}[A-Z0-9-]*", str(text)):
            named.setdefault(name, place)
    for name, place in named.items():
        yield Finding(place, f"{name} is a placeholder", "write your own value there, at every place it stands")


def secrets(document: object) -> Iterator[Finding]:
    """Values that look like secrets and stand in the file."""
    for place, text in leaves(document):
        if place.startswith("file_mounts."):  # these name files
            continue
        assigned = re.search(r"(RAY_AUTH_TOKEN|WANDB_API_KEY|AWS_SECRET_ACCESS_KEY|HF_TOKEN)=\S", str(text))
        name = place.rpartition(".")[2]
        if assigned or (SECRET_NAME.search(name) and isinstance(text, str)):
            what = assigned[1] if assigned else name
            yield Finding(place, f"{what} stands in the file", "use a file, a role or a Kubernetes Secret instead")


def leaves(value: object, place: str = "") -> Iterator[tuple[str, object]]:
    """Every key and every scalar value, with its place: `a.b[0].c`."""
    if isinstance(value, dict):
        for key, inner in value.items():
            here = f"{place}.{key}" if place else str(key)
            if PLACEHOLDER in str(key):
                yield here, key
            yield from leaves(inner, here)
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from leaves(inner, f"{place}[{number}]")
    else:
        yield place, value
