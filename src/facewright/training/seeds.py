"""Seeds that depend on what they are for, never on order, worker or batch."""

import hashlib


def seed_of(*parts: int | str) -> int:
    """Hash the parts into a seed in [0, 2**63).

    The type of each part counts (1 and "1" differ), and so does where one part ends and the next begins.
    """
    digest = hashlib.sha256()
    for part in parts:
        text = f"{type(part).__name__}:{part}"
        digest.update(f"{len(text)}:{text}".encode())
    return int.from_bytes(digest.digest()[:8], "big") >> 1
