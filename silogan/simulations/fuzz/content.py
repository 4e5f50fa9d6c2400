"""Mutations of bytes, and of archives, images, databases and tensors from within."""

import hashlib
import io
import json
import pickle
import sqlite3
import struct
import tarfile
import tempfile
import warnings
import zipfile
import zlib
from collections.abc import Callable
from contextlib import closing, suppress
from functools import lru_cache
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from silogan.client.ledger.chain import GENESIS
from silogan.common.privacy.plan import canonical_json
from silogan.simulations.fuzz.values import Mutator, as_json, mutated, mutated_text, nonsense

SITE_KEY = Ed25519PrivateKey.from_private_bytes(hashlib.sha256(b"fuzz").digest())
"""The key of the hospital whose files are mutated: the same in each campaign."""

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_EXTREMES = (b"\x00" * 4, b"\xff" * 4, b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f", b"\x00\x00\x00\x80", b"\xff" * 8)


def bytes_file(rng: Random, original: bytes) -> bytes:
    """Flips, extremes, cuts, insertions and copies, wherever they fall."""
    changed = bytearray(original)
    for _ in range(rng.choice([1, 1, 1, 2, 4, 16])):
        at = rng.randint(0, max(0, len(changed) - 1))
        length = rng.choice([1, 2, 4, 64, 1024])
        match rng.randrange(8):
            case 0 | 1 | 2 if changed:
                changed[at] ^= 1 << rng.randrange(8)
            case 3 if changed:
                extreme = rng.choice(_EXTREMES)
                changed[at : at + len(extreme)] = extreme
            case 4:
                del changed[at : at + length]
            case 5:
                changed[at:at] = rng.randbytes(length)
            case 6:
                other = rng.randint(0, max(0, len(changed) - 1))
                changed[at : at + length] = changed[other : other + length]
            case _:
                del changed[at:]
    return bytes(changed)


def either(*mutators: Mutator) -> Mutator:
    """One of several, by chance."""
    return lambda rng, original: rng.choice(mutators)(rng, original)


def mostly(mutator: Mutator) -> Mutator:
    """This one two times in three, else the bare bytes."""
    return either(mutator, mutator, bytes_file)


# --- zip -------------------------------------------------------------------------------------------------------------

_BOMB_MEGABYTES = {zipfile.ZIP_DEFLATED: 65, zipfile.ZIP_BZIP2: 8, zipfile.ZIP_LZMA: 8}
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
_NAMES = (
    *("", "/", "../x", "client/../x.py", "a" * 60_000, "\x1b[2J", "client/app.py", ".info/x", "x/"),
    *("pyproject.toml", "ü"),
)


@lru_cache(maxsize=8)
def _zeros(method: int, megabytes: int) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", method) as archive:
        archive.writestr("zeros", bytes(megabytes << 20), compresslevel=1)
    return made.getvalue()


def zip_file(inner: Mutator = bytes_file) -> Mutator:
    """A rewritten archive: members mutated by `inner`, dropped, repeated, renamed, or packed otherwise."""

    def mutate(rng: Random, original: bytes) -> bytes:
        how = rng.randrange(8)
        if how == 0:
            return _bomb(rng, original)
        if how == 1:
            return _headers(rng, original)
        with zipfile.ZipFile(io.BytesIO(original)) as archive:
            members = [(name, archive.read(name)) for name in archive.namelist()]
        chosen = rng.randrange(len(members))
        name, content = members[chosen]
        match rng.randrange(6):
            case 0:
                del members[chosen]
            case 1:
                members.append((name, inner(rng, content)))
            case 2:
                members[chosen] = (rng.choice(_NAMES), content)
            case 3:
                members.extend((f"client/{number}.py", b"") for number in range(rng.choice([10, 1200])))
            case _:
                members[chosen] = (name, inner(rng, content))
        return _zipped(members, rng.choice(_METHODS))

    return mutate


def _zipped(members: list[tuple[str, bytes]], method: int) -> bytes:
    made = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(made, "w", method) as archive:
        warnings.simplefilter("ignore")  # of names that are there twice
        for name, content in members:
            info = zipfile.ZipInfo(name or "x")
            info.filename = name
            info.compress_type = method
            archive.writestr(info, content)
    return made.getvalue()


def _bomb(rng: Random, original: bytes) -> bytes:
    """Little that unpacks to much, behind the original's members."""
    method = rng.choice(_METHODS[1:])
    megabytes = rng.choice([1, _BOMB_MEGABYTES[method]])
    with zipfile.ZipFile(io.BytesIO(_zeros(method, megabytes))) as bomb:
        raw = bomb.infolist()[0]
        start = raw.header_offset + 30 + len(raw.filename)
        packed = _zeros(method, megabytes)[start : start + raw.compress_size]
    made = io.BytesIO(original)
    with warnings.catch_warnings(), zipfile.ZipFile(made, "a") as archive:
        warnings.simplefilter("ignore")
        info = zipfile.ZipInfo(rng.choice(["client/zeros.py", ".info/zeros", "zeros", "pyproject.toml"]))
        archive.writestr(info, packed)
    changed = bytearray(made.getvalue())
    declared = rng.choice([megabytes << 20, 0, 5])
    for signature, offset in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
        at = changed.rfind(signature)
        struct.pack_into("<H", changed, at + offset, method)
        struct.pack_into("<III", changed, at + offset + 6, raw.CRC, len(packed), declared)
    return bytes(changed)


def _headers(rng: Random, original: bytes) -> bytes:
    """Fields of a member's headers set to something else."""
    changed = bytearray(original)
    with zipfile.ZipFile(io.BytesIO(original)) as archive:
        offsets = [member.header_offset for member in archive.infolist()]
    central = original.find(b"PK\x01\x02")
    for _ in range(rng.randint(1, 3)):
        base = rng.choice([rng.choice(offsets), central, central, len(original) - 22])
        at = base + rng.randrange(4, 46)
        if at + 4 <= len(changed):
            changed[at : at + rng.choice([1, 2, 4])] = rng.choice(_EXTREMES)[: rng.choice([1, 2, 4])]
    return bytes(changed)


# --- arrays ----------------------------------------------------------------------------------------------------------

_DESCRIPTIONS = (
    *("'|O'", "'<f8'", "'<i8'", "'<U4'", "'>u2'", "'|V8'", "'i4,('", "'<M8[ns]'", "'|b1'", "'<c16'"),
    *("[('a','<f4')]", "0"),
)
_SHAPES = (
    *("()", "(0,)", "(-1,)", "(1,)", "(3, 3)", "(99999999999,)", "(10**9,)", "(2, 8, 8, 4)", "(40, 0, 8)"),
    *("None", "(1,)*40"),
)


def npy_bytes(rng: Random, original: bytes) -> bytes:
    """An array whose header or values are others."""
    how = rng.randrange(6)
    if how == 0:
        return _npy_header(rng, original)
    if how == 1:
        return original[:8] + struct.pack("<H", rng.choice([0, 1, 65535])) + original[10:]
    try:
        array = np.load(io.BytesIO(original), allow_pickle=False)
    except (ValueError, EOFError):
        return bytes_file(rng, original)
    if how == 2:
        return bytes_file(rng, original)
    return _saved(_other_array(rng, array))


def _npy_header(rng: Random, original: bytes) -> bytes:
    order = rng.choice(["False", "True", "1", "None"])
    header = f"{{'descr': {rng.choice(_DESCRIPTIONS)}, 'fortran_order': {order}, 'shape': {rng.choice(_SHAPES)}, }}\n"
    start = 10 + int.from_bytes(original[8:10], "little")
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode() + original[start:]


def _other_array(rng: Random, array: np.ndarray[Any, Any]) -> Any:
    changes: list[Callable[[], Any]] = [
        lambda: array[:0],
        lambda: array[: len(array) // 2],
        lambda: array.reshape(-1),
        lambda: array[..., None],
        lambda: np.repeat(array, 2, axis=0),
        lambda: array.astype(np.float64) * rng.choice([1.0, -1.0, 1e300, np.nan]),
        lambda: array.astype(np.int64) - rng.choice([1, 2**40]),
        lambda: array.astype(str),
        lambda: array.astype(object),
        lambda: np.array(nonsense(rng), dtype=object),
        lambda: np.array("text"),
        lambda: np.zeros((2, 2000, 2000), np.uint8),
        lambda: np.full(array.shape, rng.choice([0, 1, 255]), array.dtype),
        lambda: array.astype(bool),
        lambda: np.array([""] * max(1, len(array))),
    ]
    try:
        return rng.choice(changes)()
    except (ValueError, TypeError, IndexError, OverflowError):
        return array[:0] if array.ndim else array


def _saved(array: Any) -> bytes:
    made = io.BytesIO()
    try:
        np.save(made, array, allow_pickle=True)
    except (ValueError, TypeError, RecursionError, pickle.PicklingError):
        return b""
    return made.getvalue()


# --- images ----------------------------------------------------------------------------------------------------------


_KINDS = [b"PLTE", b"tRNS", b"eXIf", b"acTL", b"fcTL", b"gAMA", b"IDAT"]


def png_file(rng: Random, original: bytes) -> bytes:
    """A PNG whose chunks are changed, with sums that are right again."""
    chunks = _chunks(original)
    at = rng.randrange(len(chunks))
    kind, content = chunks[at]
    match rng.randrange(9):
        case 0:
            fields = list(struct.unpack(">IIBBBBB", chunks[0][1]))
            fields[rng.randrange(7)] = rng.choice([0, 1, 2, 3, 4, 6, 8, 16, 255])
            chunks[0] = (b"IHDR", struct.pack(">IIBBBBB", *fields))
        case 1:
            size = rng.choice([0, 1, 7, 9, 65535, 2**31 - 1, 2**32 - 1])
            chunks[0] = (b"IHDR", struct.pack(">I", size) + chunks[0][1][4:])
        case 2:
            chunks.insert(1, (rng.choice([b"zTXt", b"iCCP", b"iTXt"]), b"a\x00\x00" + _deflated_zeros()))
        case 3:
            del chunks[at]
        case 4:
            chunks.insert(at, (kind, content))
        case 5:
            chunks.insert(1, (rng.choice(_KINDS), rng.randbytes(26)))
        case 6:
            chunks = [(b"IHDR", struct.pack(">IIBBBBB", 8000, 8000, 8, 2, 0, 0, 0)), (b"IDAT", _deflated_zeros())]
        case 7:
            chunks[at] = (kind, zlib.compress(bytes(rng.choice([0, 1, 10_000]))) if kind == b"IDAT" else b"")
        case _:
            chunks[at] = (kind, bytes_file(rng, content))
    return _SIGNATURE + b"".join(
        struct.pack(">I", len(part)) + kind + part + struct.pack(">I", zlib.crc32(kind + part)) for kind, part in chunks
    )


@lru_cache(maxsize=1)
def _deflated_zeros() -> bytes:
    return zlib.compress(bytes(100 << 20), 1)


def _chunks(content: bytes) -> list[tuple[bytes, bytes]]:
    found: list[tuple[bytes, bytes]] = []
    at = len(_SIGNATURE)
    while at + 8 <= len(content):
        length = int.from_bytes(content[at : at + 4], "big")
        found.append((content[at + 4 : at + 8], content[at + 8 : at + 8 + length]))
        at += 12 + length
    return found


# --- tensors ---------------------------------------------------------------------------------------------------------


def tensors_file(rng: Random, original: bytes) -> bytes:
    """A safetensors file whose header says something else, or the JSON text that it carries."""
    length = int.from_bytes(original[:8], "little")
    header, body = json.loads(original[8 : 8 + length]), original[8 + length :]
    if rng.randrange(2):
        inner = json.loads(header["__metadata__"]["silogan"])
        text = mutated_text(rng, json.dumps(inner)) if rng.randrange(4) == 0 else as_json(mutated(rng, inner))
        header["__metadata__"]["silogan"] = text
    elif rng.randrange(3) == 0:
        header["__metadata__"] = {key: str(nonsense(rng)) for key in ("silogan", "more")}
    else:
        header = mutated(rng, header)
    content = as_json(header).encode("utf-8", "surrogatepass")
    body = body if rng.randrange(4) else body[: rng.randint(0, len(body))]
    declared = rng.choice([len(content)] * 8 + [0, 2**62])
    return struct.pack("<Q", declared) + content + body


# --- databases -------------------------------------------------------------------------------------------------------

_STATEMENTS = (
    "DELETE FROM entries",
    "DELETE FROM entries WHERE seq = (SELECT max(seq) FROM entries)",
    "DELETE FROM entries WHERE seq = 1",
    "DROP TABLE entries",
    "ALTER TABLE entries RENAME TO others",
    "ALTER TABLE entries RENAME COLUMN body TO text",
    "CREATE VIEW more AS SELECT * FROM entries",
    "PRAGMA application_id = 7",
    "PRAGMA user_version = 99",
    "UPDATE entries SET seq = seq + 1000000",
    "UPDATE entries SET seq = -seq",
    "UPDATE entries SET body = zeroblob(30000000)",
    "UPDATE entries SET signature = ''",
    "UPDATE entries SET previous = hash",
    "INSERT INTO entries SELECT seq + 100, body, previous, hash || 'x', signature FROM entries",
    "CREATE TABLE more (a)",
    "DROP TABLE entries; CREATE VIEW entries AS WITH RECURSIVE n(seq) AS (SELECT 1 UNION ALL SELECT seq + 1 FROM n) "
    "SELECT seq, 'a' AS body, 'b' AS previous, seq || 'h' AS hash, 'c' AS signature FROM n",
)
_COLUMNS = ("seq", "body", "previous", "hash", "signature")


def database_file(rng: Random, original: bytes) -> bytes:
    """An SQLite file that SQLite itself has changed: other values, rows and tables."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.sqlite"
        path.write_bytes(original)
        with closing(sqlite3.connect(path, isolation_level=None)) as db, suppress(sqlite3.Error, OverflowError):
            db.execute("PRAGMA journal_mode = DELETE")
            db.execute("DROP TRIGGER IF EXISTS entries_are_final")
            db.execute("DROP TRIGGER IF EXISTS entries_stay")
            if rng.randrange(3) == 0:
                db.executescript(rng.choice(_STATEMENTS))
            else:
                _change_row(rng, db)
        return path.read_bytes()


def _change_row(rng: Random, db: sqlite3.Connection) -> None:
    rows = db.execute("SELECT seq, body FROM entries").fetchall()
    seq, body = rng.choice(rows)
    if rng.randrange(2):
        changed = as_json(mutated(rng, json.loads(body)))
        changed = mutated_text(rng, changed) if rng.randrange(6) == 0 else _canonical(changed)
        db.execute("UPDATE entries SET body = ? WHERE seq = ?", (changed, seq))
        if rng.randrange(4):
            _sign_anew(db)
        return
    value = nonsense(rng)
    plain = value if isinstance(value, (int, float, str, bytes)) else str(value)
    column = rng.choice(_COLUMNS)
    db.execute(f"UPDATE entries SET {column} = ? WHERE seq = ?", (plain, seq))  # noqa: S608  (a name of ours)


def _canonical(text: str) -> str:
    with suppress(ValueError):
        return canonical_json(json.loads(text))
    return text


def _sign_anew(db: sqlite3.Connection) -> None:
    """Makes hashes and signatures valid again, as a holder of the site's key can."""
    previous = GENESIS
    for seq, body in db.execute("SELECT seq, body FROM entries ORDER BY seq").fetchall():
        digest = hashlib.sha256(f"{seq}\n{previous}\n{body}".encode("utf-8", "surrogatepass")).hexdigest()
        signature = SITE_KEY.sign(f"silogan ledger entry {digest}".encode()).hex()
        row = (previous, digest, signature, seq)
        db.execute("UPDATE entries SET previous = ?, hash = ?, signature = ? WHERE seq = ?", row)
        previous = digest


# --- tar -------------------------------------------------------------------------------------------------------------


_TYPES = [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.DIRTYPE]


def tar_file(rng: Random, original: bytes) -> bytes:
    """A packed tar archive whose members are mutated, of another kind, or too many."""
    made = io.BytesIO()
    with (
        tarfile.open(fileobj=io.BytesIO(original)) as old,
        tarfile.open(fileobj=made, mode="w:gz", compresslevel=1) as new,
    ):
        members = old.getmembers()
        chosen = rng.randrange(len(members))
        for number, member in enumerate(members):
            file = old.extractfile(member)
            content = b"" if file is None else file.read()
            if number == chosen:
                content = _spoil_member(rng, member, content)
                member.size = len(content) if member.isreg() else 0
            new.addfile(member, io.BytesIO(content))
    return made.getvalue()


def _spoil_member(rng: Random, member: tarfile.TarInfo, content: bytes) -> bytes:
    match rng.randrange(5):
        case 0:
            member.type = rng.choice(_TYPES)
            member.linkname = rng.choice(["/etc/passwd", "../x", "server.yaml", ""])
        case 1:
            member.name = rng.choice(["../x", "/x", "", ".", "a" * 300, "\x1b[2J", "server.yaml", "a/b/c/d", "x\x00y"])
        case 2:
            return bytes(rng.choice([10, 100]) << 20)
        case 3:
            return b""
        case _:
            return bytes_file(rng, content)
    return content


def warm_up() -> None:
    """Makes what takes long to make, and is the same in all processes."""
    _deflated_zeros()
    for method in _METHODS[1:]:
        _zeros(method, _BOMB_MEGABYTES[method])
