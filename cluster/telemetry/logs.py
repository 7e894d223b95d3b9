"""How are log lines written: plain for people, or one JSON object a line?"""

import logging
import sys
import warnings

import orjson

from cluster.readable import visible

OUR_PACKAGES = ("cluster", "data_ops", "models", "tune", "ray_jobs")


def setup_logging(json_lines: bool = False) -> None:
    """Show our INFO lines and everybody's errors on stderr, and nobody else's noise."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JsonFormatter() if json_lines else _PlainFormatter("%(message)s"))
    logging.basicConfig(level=logging.ERROR, handlers=[handler], force=True)
    for name in OUR_PACKAGES:
        logging.getLogger(name).setLevel(logging.INFO)
    for name in ("ray", "DeepSpeed", "deepspeed", "wandb", "botocore", "urllib3", "torch"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore")


class _PlainFormatter(logging.Formatter):
    """File names, records and answers of others stand in messages: none of them may steer the terminal."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        return visible(super().formatMessage(record))


class _JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = {"time": record.created, "level": record.levelname.lower(), "logger": record.name}
        said = "\n".join(map(visible, super().format(record).split("\n")))
        return orjson.dumps(line | {"message": said}).decode()
