"""Packages as docs/extending.md shows them, put where Python finds them: with entry points, outside of Spotlight."""

import re
from pathlib import Path

DOCS = Path(__file__).parents[1] / "docs" / "extending.md"


def install(section: str, folder: Path) -> None:
    """Write the files of a section's examples and the entry points that it names; `folder` then goes on the path."""
    text = DOCS.read_text(encoding="utf-8").split(f"\n## {section}\n")[1].split("\n## ")[0]
    code = {kind: re.findall(rf"```{kind}\n(.*?)```", text, re.DOTALL) for kind in ("python", "toml")}
    folder.mkdir(parents=True, exist_ok=True)
    for block in code["python"]:
        named = re.match(r"# (\w+\.py)\n", block)
        if named:
            (folder / named[1]).write_text(block, encoding="utf-8")
    points = "".join(re.sub(r'\[project\.entry-points\."(.*)"\]', r"[\1]", block) for block in code["toml"])
    name = "my_" + section.split()[-1]
    facts = folder / f"{name}-1.0.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n", encoding="utf-8")
    (facts / "entry_points.txt").write_text(points.replace('"', ""), encoding="utf-8")
