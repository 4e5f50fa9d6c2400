"""TensorBoard's event files (`tensorboard --logdir FOLDER`), written without TensorBoard.

A file is a sequence of records (TensorFlow's TFRecord): length, its checksum, content, its checksum. The content is a
protobuf message `Event`, of which four fields are needed; the tests read the files back with a parser of their own.
"""

import struct
from pathlib import Path

from silogan.common.files import write_bytes_atomically
from silogan.server.tracking.tracked import Metric, Tracked

_POLYNOMIAL = 0x82F63B78  # CRC-32C (Castagnoli, 1993), bits reversed
_MASK = 0xA282EAD8  # added by TFRecord, so that a checksum of data with checksums in it is not weak
_VARINT, _EIGHT_BYTES, _BYTES, _FOUR_BYTES = 0, 1, 2, 5  # protobuf's wire types


def write(run: Tracked, out: Path) -> Path:
    """Writes a run as one file of events; returns its folder, which names the run in TensorBoard."""
    folder = out / run.name
    folder.mkdir(parents=True, exist_ok=True)
    version = _double(1, run.started) + _bytes(3, b"brain.Event:2")
    records = [version, *(_scalar(metric) for metric in run.metrics)]
    path = folder / f"events.out.tfevents.{int(run.started)}.silogan"
    write_bytes_atomically(path, b"".join(_record(record) for record in records))
    return folder


def _scalar(metric: Metric) -> bytes:
    """An `Event` (wall_time = 1, step = 2, summary = 5) with a `Summary` of one value (tag = 1, simple_value = 2)."""
    value = _bytes(1, metric.name.replace(".", "/").encode()) + _key(2, _FOUR_BYTES) + struct.pack("<f", metric.value)
    step = _key(2, _VARINT) + _varint(metric.step)
    return _double(1, metric.time) + step + _bytes(5, _bytes(1, value))


def _record(content: bytes) -> bytes:
    length = struct.pack("<Q", len(content))
    return length + _checksum(length) + content + _checksum(content)


def _checksum(content: bytes) -> bytes:
    crc = 0xFFFFFFFF
    for byte in content:
        crc = (crc >> 8) ^ _TABLE[(crc ^ byte) & 0xFF]
    crc ^= 0xFFFFFFFF
    return struct.pack("<I", ((crc >> 15 | crc << 17) + _MASK) & 0xFFFFFFFF)


def _table_entry(byte: int) -> int:
    for _ in range(8):
        byte = byte >> 1 ^ (_POLYNOMIAL if byte & 1 else 0)
    return byte


_TABLE = tuple(_table_entry(byte) for byte in range(256))


def _key(field: int, wire_type: int) -> bytes:
    return _varint(field << 3 | wire_type)


def _varint(number: int) -> bytes:
    """Seven bits a byte, the lowest first; all but the last have their highest bit set."""
    found = bytearray()
    while number > 0x7F:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*found, number])


def _double(field: int, number: float) -> bytes:
    return _key(field, _EIGHT_BYTES) + struct.pack("<d", number)


def _bytes(field: int, content: bytes) -> bytes:
    return _key(field, _BYTES) + _varint(len(content)) + content
