"""What the command line reports as one sentence, without a traceback."""


class BenchError(Exception):
    """Something that the user can mend: the message says what is wrong, where, and what is allowed."""
