"""What all pages share: templates that become files, and tables as plain text for a terminal."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2

from spotlight.files import write_text
from spotlight.version import __version__


def write_page(path: Path, template: str, **values: Any) -> Path:
    """Fill one of this folder's templates and write the page; every text is escaped."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("spotlight", "report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    write_text(path, environment.get_template(template).render(**values, version=__version__))
    return path


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a table whose columns stand under each other; the first row is the heading."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
