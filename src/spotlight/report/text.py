"""The score table as plain text, for a terminal."""

import pandas as pd

from spotlight.report.tables import score_table


def score_text(scores: pd.DataFrame) -> str:
    """Mean ± standard deviation over stacks and seeds: one line per metric, one column per method."""
    table = score_table(scores)
    lines = [["", *table["methods"]]]
    for row in table["rows"]:
        texts = [f"{c['value']} ± {c['spread']}" if c["spread"] else c["value"] for c in row["cells"]]
        best = [f"{t} *" if c["best"] else t for t, c in zip(texts, row["cells"], strict=True)]
        lines.append([row["metric"].full_title, *best])
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    rows = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    return "\n".join([*rows, f"mean ± standard deviation over {table['over']}; * best of the models"])
