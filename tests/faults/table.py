"""docs/faults.md, made of what the rows found."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from tabulate import tabulate

TEXT = """# Everything that can break

What happens if parameters, data or the machine are not as they should be? {tries:,} tries, of which {held:,} held.
`make test-faults` generates this page; interrupted, it goes on where it was. A small part of it is in `make test`.

Held means:

* **{PARAMETERS}**: refused with a line for each mistake, which names the file and can be read in a terminal, within
  20 s; or accepted, and then DVC's own parser reads the same values. No traceback, nothing written.
* **A shell command as a name**: DVC makes commands of parameters. Whatever they say, `dvc repro` ends with the sentence
  of our check, and the command in the name is not run, although everything that DVC looks for is there.
* **{SOURCES}**: refused with one sentence that names the place, within seconds and 3 GiB of memory, and nothing is left
  that could be taken for data. The timeouts are {timeouts} there.
* **Killed, Ctrl-C, SIGTERM** at a random moment (Ctrl-C to the whole group, as the keyboard does it): no file in
  `data/`, `runs/` or `results/` that is not, byte by byte, that of a run to which nothing happened; no process left
  behind after a minute; no traceback; and the same command then makes every file that it should, with those bytes. Of
  the four files that tell seconds, only whether they are whole is looked at.
* **Full disk** (a tmpfs with nothing left, where the command must fail, or so little that it stops later, if at all)
  and **read-only folder**: one sentence, or DVC's own where DVC writes; and then the same as above.
* **Two at once**: all succeed, and the bytes are the same.

{table}
{broken}{left_out}
## What is not tried

* Signals in the first second, while Python itself starts: Ctrl-C then ends in Python's own traceback, and nothing is
  lost.
* A disk or memory that gives back other bytes than were written, other than in `data/` and `runs/`, whose files are
  compared with their hashes.
* Other systems than Linux. Networks other than this machine's own. A GPU.
* Slurm: `make test-slurm` does, and says what it saw; see [on a cluster](cluster.md).

Made with {versions}.
"""


def page(rows: Sequence[Mapping[str, Any]], left_out: str, words: Mapping[str, str]) -> str:
    """The page in Markdown, of the rows in their order."""
    return TEXT.format(
        tries=sum(row["tries"] for row in rows),
        held=sum(row["tries"] - len(row["wrong"]) for row in rows),
        table=tabulate([_line(row) for row in rows], headers="keys", tablefmt="github", disable_numparse=True),
        broken=_broken(rows),
        left_out=f"\n{left_out}\n" if left_out else "",
        **words,
    )


def _line(row: Mapping[str, Any]) -> dict[str, str]:
    ends = Counter(row["ends"])
    return {
        "fault": row["group"],
        "where": row["fault"],
        "tries": f"{row['tries']:,}",
        "held": f"{row['tries'] - len(row['wrong']):,}",
        "how it ended": ", ".join(f"{count:,} {end}" for end, count in ends.most_common()),
        "longest": f"{row['seconds']:.1f} s",
    }


def _broken(rows: Sequence[Mapping[str, Any]]) -> str:
    lines = [f"* {row['group']}, {row['fault']}: {' '.join(one.split())}" for row in rows for one in row["wrong"][:3]]
    return "\n".join(["", "## What did not hold", "", *lines, ""]) if lines else ""
