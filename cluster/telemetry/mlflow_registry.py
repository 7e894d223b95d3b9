"""How does a model registry of MLflow know which checkpoint is in service, without MLflow ever stopping a run?

One registered model, whose alias `champion` follows our champion pointer: a checkpoint becomes a version once, found
again by its tag, and the alias moves to it. Told again, nothing changes; so a driver that was killed between any two
calls ends with the same registry after its next start. Weights stay where they are: a version refers to the store.
"""

import logging
import os
from collections.abc import Mapping

from cluster.redaction import redact
from cluster.telemetry.wandb_run import Champion

logger = logging.getLogger(__name__)
ALIAS, TAG = "champion", "headrace.checkpoint"
SERVERS = ("MLFLOW_REGISTRY_URI", "MLFLOW_TRACKING_URI")  # MLflow's own variables, the first that is set
PATIENCE = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "20", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1"}  # MLflow's own: 14 minutes
MOST_TAG = 5000  # characters that MLflow keeps of a tag


class MlflowRegistry:
    """A sink that takes champions, and no metrics."""

    def __init__(self, model: str) -> None:
        """model: name of the registered model, which is made when the first champion comes."""
        self.model = model

    def log(self, event: Mapping[str, object]) -> None:
        """Do nothing: runs and their metrics are not MLflow's here."""

    def promoted(self, champion: Champion) -> None:
        """Let the alias name this checkpoint; what fails is told, and mended by the next call."""
        try:
            self._follow(champion)
        except Exception as error:  # noqa: BLE001 - whatever it is, a run does not end for its registry
            why = redact({"why": " ".join(str(error).split())[:300]})["why"]
            logger.warning(
                "MLflow does not know yet that %s is the champion of %s; the next start or promotion tells it (%s)",
                champion.checkpoint,
                self.model,
                why,
            )

    def conclude(self, summary: Mapping[str, object]) -> None:
        """Do nothing, as above."""

    def close(self) -> None:
        """Nothing is held."""

    def _follow(self, champion: Champion) -> None:
        for name, value in PATIENCE.items():
            os.environ.setdefault(name, value)
        from mlflow import MlflowClient, MlflowException  # an extra, which preflight looked for

        server = next(filter(None, map(os.environ.get, SERVERS)), None)
        client = MlflowClient(tracking_uri=server, registry_uri=server)  # without the first it makes a database here
        try:
            client.create_registered_model(self.model)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        known = client.search_model_versions(
            f"name='{self.model}' and tags.`{TAG}`='{champion.checkpoint}' and tags.`headrace.store`='{champion.store}'"
        )
        version = min((int(found.version) for found in known), default=None)
        if version is None:
            facts = {f"headrace.{name}": str(value)[:MOST_TAG] for name, value in champion.facts.items()}
            described = f"{champion.checkpoint} of {champion.store}, after {champion.previous or 'no champion'}"
            tags = {**facts, TAG: champion.checkpoint, "headrace.store": champion.store}
            folder = champion.files[0].rpartition("/")[0]
            place = folder if "://" in folder else f"headrace://{folder}"  # a server takes no path of its own disk
            made = client.create_model_version(
                self.model, place, tags=tags, description=described, await_creation_for=None
            )
            version = int(made.version)
        client.set_registered_model_alias(self.model, ALIAS, str(version))
