"""What tables, figures and verdicts ask of any data frame; the order of values is always that of the file."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

Record = dict[str, Any]


def in_order(frame: pd.DataFrame, column: str) -> list[Any]:
    """The values of a column, each once, as they first appear; of cells.csv, in the order of the grid."""
    return frame[column].drop_duplicates().tolist()


def groups(frame: pd.DataFrame, columns: Sequence[str]) -> list[tuple[tuple[Any, ...], pd.DataFrame]]:
    """Rows that agree in these columns, by the first column's order, then the next one's; see `in_order`."""
    order = {column: {value: i for i, value in enumerate(in_order(frame, column))} for column in columns}
    found = [(key, group) for key, group in frame.groupby(list(columns), sort=False)]
    return sorted(found, key=lambda item: [order[c][value] for c, value in zip(columns, item[0], strict=True)])


def having(frame: pd.DataFrame, **values: Any) -> pd.DataFrame:
    """The rows that have these values in these columns."""
    for column, value in values.items():
        frame = frame[frame[column] == value]
    return frame


def records(frame: pd.DataFrame) -> list[Record]:
    """Each row as a dictionary."""
    return [{str(column): value for column, value in row.items()} for row in frame.to_dict("records")]
