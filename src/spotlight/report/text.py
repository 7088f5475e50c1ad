"""The score table as plain text, for a terminal."""

import pandas as pd

from spotlight.report.tables import NOTHING, score_table
from spotlight.report.writing import aligned


def score_text(scores: pd.DataFrame) -> str:
    """Mean ± standard deviation over stacks and seeds: one line per metric, one column per method."""
    table = score_table(scores)
    lines = [["", *table["methods"]]]
    for row in table["rows"]:
        texts = [_cell(cell) for cell in row["cells"]]
        best = [f"{t} *" if c["best"] else t for t, c in zip(texts, row["cells"], strict=True)]
        lines.append([row["metric"].full_title, *best])
    over = f"mean ± standard deviation over {table['over']}; * best of the models"
    if any(cell["part"] for row in table["rows"] for cell in row["cells"]):
        over += f" that have all values; (2 of 3): values are missing; {NOTHING}: there is none"
    return "\n".join([*aligned(lines), over])


def _cell(cell: dict[str, str]) -> str:
    text = f"{cell['value']} ± {cell['spread']}" if cell["spread"] else cell["value"]
    return f"{text} ({cell['part']})" if cell["part"] else text
