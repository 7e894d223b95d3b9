"""How does a model of the Hugging Face hub come to this machine? Through huggingface_hub, into its own cache.

Only what is read is fetched: configuration, tokenizer, safetensors. Nothing of it is run. What is in the cache is used
where there is no network.
"""

from importlib.util import find_spec
from pathlib import Path

from ray_jobs.outcome import ConfigError

WANTED = ("*.json", "*.safetensors", "*.jinja", "tokenizer.model", "merges.txt", "LICENSE*", "README.md")


def fetch_model(name: str) -> Path:
    """Return the folder of ORG/NAME or ORG/NAME@REVISION; ConfigError where it cannot be had."""
    if find_spec("huggingface_hub") is None:
        raise ConfigError(
            f"model.from={name} is no folder here, and the hub needs huggingface_hub, which is not installed; "
            "pip install 'headrace[hub]', or name a folder"
        )
    from huggingface_hub import errors, snapshot_download  # half a second, and nobody else needs it

    repository, _, revision = name.partition("@")
    try:
        return Path(snapshot_download(repository, revision=revision or None, allow_patterns=list(WANTED)))
    except errors.HFValidationError as error:
        raise ConfigError(
            f"model.from={name} is no folder, no checkpoint and no name of the hub; correct it"
        ) from error
    except (errors.LocalEntryNotFoundError, errors.HfHubHTTPError, OSError) as error:
        why = " ".join(str(error).split())[:200]
        raise ConfigError(
            f"model.from={name} is no folder here, and the hub does not give it ({type(error).__name__}: {why}); "
            "correct the name, log in (HF_TOKEN), or fetch it where there is a network"
        ) from error
