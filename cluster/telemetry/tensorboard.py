"""How does TensorBoard get the same metrics as W&B, without a package that brings torch?

By writing its file format, which is small: TFRecord frames (length, crc, bytes, crc; tensorflow/core/lib/io/
record_writer.h) around `Event` messages of protobuf (tensorboard/compat/proto/event.proto and summary.proto). Each
driver adds a file of its own. Where steps are trained again, a session start tells TensorBoard to forget what it saw
of them. In a bucket the file arrives when the driver ends.
"""

import json
import logging
import os
import socket
import struct
import tempfile
import time
from pathlib import Path
from typing import Any

from cluster.storage.store import Store
from cluster.telemetry.wandb_run import Champion

logger = logging.getLogger(__name__)

VARINT, DOUBLE, BYTES, FLOAT = 0, 1, 2, 5  # protobuf's wire types
POLYNOMIAL = 0x82F63B78  # CRC-32C (Castagnoli), reflected


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
        self._write(_message(3, b"brain.Event:2"))
        self._forget_from(self._step + 1)

    def log(self, event: dict[str, Any]) -> None:
        """Write the numbers of an event at its step, or at the newest one."""
        at = event.get("step", self._step)
        if event.get("event") == "step" and at <= self._step:
            self._forget_from(at)
            self._step = at
        self._step = max(self._step, at)
        numbers = {name: float(value) for name, value in event.items() if isinstance(value, int | float)}
        values = [_scalar(name, value) for name, value in numbers.items() if name not in ("step", "time")]
        if values:
            self._write(_varint(2, at) + _message(5, b"".join(values)))

    def conclude(self, summary: dict[str, Any], champion: Champion | None) -> None:
        """Write summary.json, and the champion's lineage, as texts."""
        texts = {"summary": summary} | ({"champion": champion.lineage} if champion else {})
        for tag, values in texts.items():
            shown = "".join(f"    {line}\n" for line in json.dumps(values, indent=1).splitlines())  # Markdown's code
            self._write(_varint(2, self._step) + _message(5, _text(tag, shown)))

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
        self._write(_varint(2, step) + _message(7, _varint(1, 1)))

    def _write(self, fields: bytes) -> None:
        """Add one event: a frame of length, masked CRC of the length, bytes, masked CRC of the bytes."""
        event = _key(1, DOUBLE) + struct.pack("<d", time.time()) + fields
        length = struct.pack("<Q", len(event))
        if self._file.closed:
            return
        try:
            self._file.write(length + _masked_crc(length) + event + _masked_crc(event))
        except OSError as error:  # a full disk; a frame cut short would end what TensorBoard reads anyway
            logger.warning("TensorBoard gets nothing more from this driver: %s", error)
            self._file.close()


def _scalar(tag: str, value: float) -> bytes:
    """A Summary's value: tag and simple_value."""
    return _message(1, _message(1, tag.encode()) + _key(2, FLOAT) + struct.pack("<f", value))


def _text(tag: str, text: str) -> bytes:
    """A Summary's value for the text plugin: tag, tensor (DT_STRING, no dimension), metadata (plugin name)."""
    tensor = _varint(1, 7) + _message(8, text.encode())
    return _message(1, _message(1, tag.encode()) + _message(8, tensor) + _message(9, _message(1, _message(1, b"text"))))


def _key(number: int, kind: int) -> bytes:
    return bytes([number << 3 | kind])


def _message(number: int, content: bytes) -> bytes:
    return _key(number, BYTES) + _base128(len(content)) + content


def _varint(number: int, value: int) -> bytes:
    return _key(number, VARINT) + _base128(value)


def _base128(value: int) -> bytes:
    """A number of at least 0 in groups of seven bits, the lowest first."""
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def _table() -> list[int]:
    table = []
    for byte in range(256):
        crc = byte
        for _ in range(8):
            crc = crc >> 1 ^ POLYNOMIAL * (crc & 1)
        table.append(crc)
    return table


TABLE = _table()


def _masked_crc(data: bytes) -> bytes:
    """CRC-32C of some bytes, rotated and offset as TFRecord has it; about 0.1 ms a KB."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ TABLE[(crc ^ byte) & 0xFF]
    crc ^= 0xFFFFFFFF
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)
