"""What the command line reports as one sentence, without a traceback."""


class BenchError(Exception):
    """Something that the user can mend: the message says what is wrong, where, and what is allowed."""


def about_memory(error: BaseException) -> bool:
    """Whether memory was refused: torch says so in a RuntimeError's words alone."""
    words = ("can't allocate memory", "not enough memory", "out of memory")
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and any(one in str(error).lower() for one in words)
    )
