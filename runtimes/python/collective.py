"""What a program can do besides computing: read records, write its output, leave notes for its author.

    import collective

    def run(arguments):
        count = sum(1 for _ in collective.records())
        collective.write(f"{count}\n")
"""

from wit_world.imports import dataset, log as _log, output, random as _random

_CHUNK_BYTES = 1 << 20  # what the host hands out at most
_WRITE_BYTES = 1 << 20  # far below what one call may move


def records():
    """Yields each record as a list of its fields: text, in the order of the approved columns."""
    while (chunk := dataset.next_chunk(_CHUNK_BYTES)) is not None:
        for line in chunk.decode()[:-1].split("\n"):
            yield line.split(",")


def write(data):
    """Appends text (as UTF-8) or bytes to the output, which is all that the recipient gets."""
    if isinstance(data, str):
        data = data.encode()
    with memoryview(data) as view, view.cast("B") as octets:
        for start in range(0, len(octets), _WRITE_BYTES):
            output.write(bytes(octets[start : start + _WRITE_BYTES]))


def log(*values):
    """Leaves a note, as `print` does too. Kept in a trial on mock data, dropped in every other run."""
    for line in " ".join(map(str, values)).split("\n"):
        _log.line(line.encode(errors="backslashreplace").decode())


def seed():
    """32 bytes that the job fixes. `random` and `os.urandom` are seeded with them already."""
    return _random.seed()
