"""PrefixTorch's state files with nothing but Python: safetensors with metadata, and XXH3 of every tensor.

A state file holds input_ids [1, S], key.i and value.i [1, KV, S, D] as past_key_values has them, of 8 bits with
key_scale.i and value_scale.i [1, KV, S], token_origins [S], pass_starts [S] and, where known, logits [V] and text.
Its metadata says what must match; see src/PrefixTorch/Caching/KvStatePart.cs.
"""
import json
import os
import struct
import uuid

FORMAT = "prefixtorch.kv_state"
SIZES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I8": 1, "U8": 1}


class StateError(Exception):
    """What a file is not: its name, the value and the remedy."""


def read(path):
    """The metadata, and the tensors as {name: (dtype, shape, bytes)}."""
    with open(path, "rb") as file:
        prefix = file.read(8)
        if len(prefix) < 8:
            raise StateError(f"{path}: no safetensors file: it has {len(prefix)} bytes, and such a file at least 8.")
        length = struct.unpack("<Q", prefix)[0]
        if length > 100_000_000:
            raise StateError(f"{path}: no safetensors file: its header would be {length} bytes long.")
        try:
            header = json.loads(file.read(length))
            metadata = header.pop("__metadata__", {})
            end = max((entry["data_offsets"][1] for entry in header.values()), default=0)
        except (ValueError, AttributeError, LookupError, TypeError) as error:
            raise StateError(f"{path}: no safetensors file, or cut short: its header cannot be read ({error}).") from error
        data = file.read()
    if len(data) != end:
        raise StateError(f"{path}: its tensors end at byte {end} of the data, and {len(data)} are there: it was cut short or is damaged.")
    tensors = {}
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        tensors[name] = (entry["dtype"], entry["shape"], memoryview(data)[begin:end])
    return metadata, tensors


def write(path, metadata, tensors):
    """Writes a safetensors file, whole or not at all."""
    header = {"__metadata__": metadata}
    begin = 0
    for name, (dtype, shape, payload) in tensors.items():
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, begin + len(payload)]}
        begin += len(payload)
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-(len(text) + 8) % 64)
    temporary = f"{path}.{uuid.uuid4().hex}.tmp"
    try:
        with open(temporary, "wb") as file:
            file.write(struct.pack("<Q", len(text)) + text)
            for _, _, payload in tensors.values():
                file.write(payload)
        os.replace(temporary, path)
    except BaseException:
        if os.path.exists(temporary):
            os.remove(temporary)
        raise


def read_state(path):
    """A whole state in the model's own numbers."""
    metadata, tensors = read(path)
    if metadata.get("format") != FORMAT:
        raise StateError(f"{path}: not a state file: its format is {metadata.get('format')!r} and not {FORMAT!r}.")
    if metadata.get("version") not in ("1", "2"):
        raise StateError(f"{path}: format version {metadata.get('version')}; this script reads 1 and 2.")
    for key in ("parent", "quantization"):
        if key in metadata:
            raise StateError(f"{path}: it has a {key} ({metadata[key]}): make it whole first (prefixtorch state compact), or take its tensors out (prefixtorch state export).")
    for name, (_, _, payload) in tensors.items():
        kept, found = metadata.get(f"xxh3.{name}"), f"{xxh3_64(payload):016x}"
        if kept != found:
            raise StateError(f"{path}: {name} has the checksum {found}, but {kept} was written: the file is damaged.")
    return metadata, tensors


def write_state(path, metadata, tensors):
    """Writes a state with its checksums; metadata without any."""
    metadata = {key: value for key, value in metadata.items() if key != "metadata_xxh3" and not key.startswith("xxh3.")}
    text = "".join(f"{key}\0{metadata[key]}\0" for key in sorted(metadata))
    metadata["metadata_xxh3"] = f"{xxh3_64(text.encode()):016x}"
    for name, (_, _, payload) in tensors.items():
        metadata[f"xxh3.{name}"] = f"{xxh3_64(payload):016x}"
    write(path, metadata, tensors)


def xxh3_64(data):
    """XXH3 of bytes, 64 bits, no seed: xxhash's where it is installed, otherwise this file's."""
    try:
        import xxhash
        return xxhash.xxh3_64_intdigest(bytes(data))
    except ImportError:
        return _xxh3_64(bytes(data))


# XXH3 as its specification has it (https://github.com/Cyan4973/xxHash/blob/dev/doc/xxhash_spec.md).
_M32, _M64, _M128 = 0xFFFFFFFF, (1 << 64) - 1, (1 << 128) - 1
_P32_1, _P32_2, _P32_3 = 0x9E3779B1, 0x85EBCA77, 0xC2B2AE3D
_P64 = (0x9E3779B185EBCA87, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0x85EBCA77C2B2AE63, 0x27D4EB2F165667C5)
_PMX1, _PMX2 = 0x165667919E3779F9, 0x9FB21C651E98DF25
_SECRET = bytes.fromhex(
    "b8fe6c3923a44bbe7c01812cf721ad1cded46de9839097db7240a4a4b7b3671fcb79e64eccc0e578825ad07dccff7221b8084674f743248ee03590e6813a264c"
    "3c2852bb91c300cb88d0658b1b532ea371644897a20df94e3819ef46a9deacd8a8fa763fe39c343ff9dcbbc7c70b4f1d8a51e04bcdb45931c89f7ec9d9787364"
    "eac5ac8334d3ebc3c581a0fffa1363eb170ddd51b7f0da49d316552629d4689e2b16be587d47a1fc8ff8b8d17ad031ce45cb3a8f95160428afd7fbcabb4b407e")


def _u32(data, at):
    return int.from_bytes(data[at:at + 4], "little")


def _u64(data, at):
    return int.from_bytes(data[at:at + 8], "little")


def _fold(a, b):
    product = a * b
    return (product ^ (product >> 64)) & _M64


def _avalanche(h):
    h ^= h >> 37
    h = h * _PMX1 & _M64
    return h ^ (h >> 32)


def _avalanche64(h):
    h ^= h >> 33
    h = h * _P64[1] & _M64
    h ^= h >> 29
    h = h * _P64[2] & _M64
    return h ^ (h >> 32)


def _mix16(data, at, secret):
    return _fold(_u64(data, at) ^ _u64(_SECRET, secret), _u64(data, at + 8) ^ _u64(_SECRET, secret + 8))


def _xxh3_64(data):
    n = len(data)
    if n == 0:
        return _avalanche64(_u64(_SECRET, 56) ^ _u64(_SECRET, 64))
    if n <= 3:
        combined = (data[0] << 16) | (data[n >> 1] << 24) | data[n - 1] | (n << 8)
        return _avalanche64(combined ^ _u32(_SECRET, 0) ^ _u32(_SECRET, 4))
    if n <= 8:
        value = _u32(data, n - 4) + (_u32(data, 0) << 32) ^ _u64(_SECRET, 8) ^ _u64(_SECRET, 16)
        value ^= (value << 49 | value >> 15) & _M64 ^ (value << 24 | value >> 40) & _M64
        value = value * _PMX2 & _M64
        value ^= (value >> 35) + n
        value = value * _PMX2 & _M64
        return value ^ (value >> 28)
    if n <= 16:
        low = _u64(_SECRET, 24) ^ _u64(_SECRET, 32) ^ _u64(data, 0)
        high = _u64(_SECRET, 40) ^ _u64(_SECRET, 48) ^ _u64(data, n - 8)
        swapped = int.from_bytes(low.to_bytes(8, "little"), "big")
        return _avalanche((n + swapped + high + _fold(low, high)) & _M64)
    if n <= 128:
        h = n * _P64[0]
        for i in range((n - 1) // 32, -1, -1):
            h += _mix16(data, 16 * i, 32 * i) + _mix16(data, n - 16 * (i + 1), 32 * i + 16)
        return _avalanche(h & _M64)
    if n <= 240:
        h = n * _P64[0]
        for i in range(8):
            h += _mix16(data, 16 * i, 16 * i)
        h = _avalanche(h & _M64)
        for i in range(8, n // 16):
            h += _mix16(data, 16 * i, 16 * (i - 8) + 3)
        h += _mix16(data, n - 16, 136 - 17)
        return _avalanche(h & _M64)
    return _long(data)


def _long(data):
    n = len(data)
    acc = [_P32_3, _P64[0], _P64[1], _P64[2], _P64[3], _P32_2, _P64[4], _P32_1]
    words = struct.unpack(f"<{n // 8}Q", data[:n // 8 * 8])
    keys = [struct.unpack("<8Q", _SECRET[8 * i:8 * i + 64]) for i in range(16)]
    last = struct.unpack("<8Q", _SECRET[128:192])

    def accumulate(stripe, key):
        for lane in range(8):
            value = stripe[lane]
            mixed = value ^ key[lane]
            acc[lane ^ 1] += value
            acc[lane] += (mixed & _M32) * (mixed >> 32)

    def scramble():
        for lane in range(8):
            value = acc[lane] & _M64
            acc[lane] = ((value ^ (value >> 47)) ^ last[lane]) * _P32_1 & _M64

    stripes = (n - 1) // 64
    for i in range(stripes):
        accumulate(words[8 * i:8 * i + 8], keys[i % 16])
        if i % 16 == 15:
            scramble()
    accumulate(struct.unpack("<8Q", data[-64:]), struct.unpack("<8Q", _SECRET[121:185]))
    h = n * _P64[0]
    for i in range(4):
        h += _fold((acc[2 * i] & _M64) ^ _u64(_SECRET, 11 + 16 * i), (acc[2 * i + 1] & _M64) ^ _u64(_SECRET, 19 + 16 * i))
    return _avalanche(h & _M64)
