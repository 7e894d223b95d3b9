"""How does a good input become a bad one? Seeded: the same seed gives the same inputs."""

import random

TOKENS = (
    b"\0", b"\n", b"\r\n", b'"', b"\\", b"\\ud800", b"{", b"}", b"[", b"]" * 9, b",", b":", b"NaN", b"1e999", b"null",
    b"\xff", b"\xfe\xff", b"\xef\xbb\xbf", b"\xed\xa0\x80", b"\x85", b"-", b"9" * 40, b"PAR1", b"\x1f\x8b\x08", b"- &a",
    b"*a", b"!!", b"%", b"0x", b"2023-02-30", b"\x28\xb5\x2f\xfd", b"BZh9", b"=", b".", b"//", b"\t",
)  # fmt: skip


def mutated(good: bytes, generator: random.Random) -> bytes:
    """Change a few places: flipped bits, bytes, cuts, repeats, and tokens that parsers stumble over."""
    data = bytearray(good)
    for _ in range(generator.choice((1, 1, 2, 3, 8))):
        place = generator.randrange(len(data) + 1)
        match generator.randrange(7):
            case 0 if data:
                data[place % len(data)] ^= 1 << generator.randrange(8)
            case 1 if data:
                data[place % len(data)] = generator.randrange(256)
            case 2:
                del data[place : place + generator.choice((1, 4, 64, 4096))]
            case 3:
                data[place:place] = data[place : place + generator.choice((1, 16, 256))] * generator.choice((1, 2, 50))
            case 4:
                data[place:place] = generator.choice(TOKENS)
            case 5:
                data = data[:place]
            case _:
                data[place:place] = generator.randbytes(generator.choice((1, 4, 32)))
    return bytes(data)
