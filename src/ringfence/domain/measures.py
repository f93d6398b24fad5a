"""Sizes and durations as people write them: the way back from the numbers of a boundary."""


def size_text(size: int) -> str:
    """`512MiB`: the largest unit in which the size is a whole number."""
    for unit, scale in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if size >= scale and size % scale == 0:
            return f"{size // scale}{unit}"
    return f"{size}B"


def duration_text(seconds: int) -> str:
    """`90d`: the largest unit in which the duration is a whole number."""
    for unit, scale in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= scale and seconds % scale == 0:
            return f"{seconds // scale}{unit}"
    return f"{seconds}s"
