"""The score table as plain text, for a terminal."""

import pandas as pd

from spotlight.report.summary import headline, remarks_on
from spotlight.report.tables import NOTHING, score_table
from spotlight.report.writing import aligned


def score_text(scores: pd.DataFrame) -> str:
    """Mean ± standard deviation over stacks and seeds: one line per metric, one column per method."""
    table = score_table(scores)
    lines = [["", *table["methods"]]]
    for row in table["rows"]:
        texts = [_cell(cell) for cell in row["cells"]]
        best = [f"{t} *" if c["best"] else t for t, c in zip(texts, row["cells"], strict=True)]
        lines.append([row["metric"].title_with_unit, *best])
    over = f"mean ± standard deviation over {table['over']}; * best of the models"
    if any(cell["part"] for row in table["rows"] for cell in row["cells"]):
        over += f" that have all values; (2 of 3): values are missing; {NOTHING}: there is none"
    return "\n".join([*aligned(lines), over])


def summary_text(scores: pd.DataFrame) -> str:
    """The result in words: one line for the whole, and one for everything that is to be said of it."""
    return "\n".join([headline(scores), *(remark.text for remark in remarks_on(scores))])


def _cell(cell: dict[str, str]) -> str:
    text = f"{cell['value']} ± {cell['spread']}" if cell["spread"] else cell["value"]
    return f"{text} ({cell['part']})" if cell["part"] else text
