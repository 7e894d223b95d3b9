"""How does TensorBoard get the same metrics as W&B?

The sink writes TensorBoard's own messages, which come with tensorboardX (the extra `tensorboard`). It does not use the
SummaryWriter there, which writes from a queue and renames tags: here each event is one unbuffered write, so that it is
seen at once and a killed driver leaves no half of it. Each driver adds a file of its own. Where steps are trained
again, a session start tells TensorBoard to forget what it saw of them. In a bucket it arrives when the driver ends.

This module brings torch, because tensorboardX does: import it where TensorBoard is asked for.
"""

import json
import logging
import os
import socket
import struct
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.proto.summary_pb2 import Summary, SummaryMetadata
from tensorboardX.proto.tensor_pb2 import TensorProto
from tensorboardX.record_writer import masked_crc32c

from cluster.storage.store import Store
from cluster.telemetry.wandb_run import Champion

logger = logging.getLogger(__name__)


class TensorBoard:
    """A sink that writes scalars under the names of METRICS over the optimizer step, and the summary as a text."""

    def __init__(self, store: Store, folder: str, resumed_step: int | None = None) -> None:
        """folder: relative to the store. resumed_step: of the checkpoint this driver goes on from."""
        self._store, self._step = store, resumed_step or 0
        name = f"events.out.tfevents.{time.time_ns() // 1_000_000_000:010d}.{socket.gethostname()}.{os.getpid()}"
        self._path, local = f"{folder}/{name}", store.local_path(folder)
        self._scratch = None if local else tempfile.TemporaryDirectory(prefix="headrace-tensorboard-")
        place = local or Path(self._scratch.name)  # type: ignore[union-attr]  # one of both is there
        place.mkdir(parents=True, exist_ok=True)
        self._file = open(place / name, "ab", buffering=0)  # noqa: SIM115 - closed in close()
        self._write(Event(file_version="brain.Event:2"))
        self._forget_from(self._step + 1)

    def log(self, event: Mapping[str, object]) -> None:
        """Write the numbers of an event at its step, or at the newest one."""
        numbers = {name: float(value) for name, value in event.items() if isinstance(value, int | float)}
        at = int(numbers.get("step", self._step))
        if event.get("event") == "step" and at <= self._step:
            self._forget_from(at)
            self._step = at
        self._step = max(self._step, at)
        values = [
            Summary.Value(tag=name, simple_value=value)
            for name, value in numbers.items()
            if name not in ("step", "time")
        ]
        if values:
            self._write(Event(step=at, summary=Summary(value=values)))

    def promoted(self, champion: Champion) -> None:
        """Write a champion's lineage as a text."""
        self._tell("champion", champion.lineage)

    def conclude(self, summary: Mapping[str, object]) -> None:
        """Write summary.json as a text."""
        self._tell("summary", summary)

    def _tell(self, tag: str, values: Mapping[str, object]) -> None:
        shown = "".join(f"    {line}\n" for line in json.dumps(dict(values), indent=1).splitlines())  # Markdown's code
        self._write(Event(step=self._step, summary=Summary(value=[_text(tag, shown)])))

    def close(self) -> None:
        """Close the file; bring it to the bucket."""
        self._file.close()
        if self._scratch is not None:
            try:
                self._store.upload(self._file.name, self._path)
            except OSError as error:
                logger.warning("TensorBoard's file did not reach the store: %s", error)
            self._scratch.cleanup()

    def _forget_from(self, step: int) -> None:
        """Write SessionLog.START; all but the first of a folder take away what was seen of this step and later ones."""
        self._write(Event(step=step, session_log=SessionLog(status=SessionLog.START)))

    def _write(self, event: Event) -> None:
        """Add one event: a frame of length, masked CRC of the length, bytes, masked CRC of the bytes."""
        if self._file.closed:
            return
        event.wall_time = time.time()
        message = event.SerializeToString()
        length = struct.pack("<Q", len(message))
        crcs = [struct.pack("<I", masked_crc32c(part)) for part in (length, message)]
        try:
            self._file.write(length + crcs[0] + message + crcs[1])
        except OSError as error:  # a full disk; a frame cut short would end what TensorBoard reads anyway
            logger.warning("TensorBoard gets nothing more from this driver: %s", error)
            self._file.close()


def _text(tag: str, text: str) -> Summary.Value:
    """A value for the text plugin."""
    tensor = TensorProto(dtype="DT_STRING", string_val=[text.encode()])
    plugin = SummaryMetadata.PluginData(plugin_name="text")
    return Summary.Value(tag=tag, tensor=tensor, metadata=SummaryMetadata(plugin_data=plugin))
