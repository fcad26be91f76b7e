"""Which partition a key belongs to: murmur2, as every Java client computes it."""

import struct

_M = 0x5BD1E995
_MASK = 0xFFFFFFFF


def murmur2(data: bytes) -> int:
    """Kafka's 32-bit hash (`org.apache.kafka.common.utils.Utils.murmur2`), unsigned."""
    length = len(data)
    whole = length >> 2
    h = 0x9747B28C ^ length
    for k in struct.unpack_from(f"<{whole}I", data):
        k = k * _M & _MASK
        h = (h * _M & _MASK) ^ ((k ^ k >> 24) * _M & _MASK)
    if rest := data[whole * 4 :]:
        h = (h ^ int.from_bytes(rest, "little")) * _M & _MASK
    h = (h ^ h >> 13) * _M & _MASK
    return h ^ h >> 15


def partition_of(key: bytes, partitions: int) -> int:
    """The partition of `key` in a topic of `partitions`, as the default partitioner chooses it."""
    return (murmur2(key) & 0x7FFFFFFF) % partitions
