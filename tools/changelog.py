"""Put the files of changelog.d/ together: print them, or move them into CHANGELOG.md under a version.

    python tools/changelog.py [VERSION]

A file is named after what it is about and its kind, such as ``plates.fixed.md``, and holds one or two sentences.
"""

import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
KINDS = ("security", "added", "changed", "deprecated", "removed", "fixed")
UNRELEASED = "## Unreleased\n"


def collect(folder: Path) -> dict[str, list[str]]:
    """Lines of each kind, in the order of the files' names."""
    found: dict[str, list[str]] = {kind: [] for kind in KINDS}
    for file in sorted(folder.glob("*.md")):
        kind = file.name.split(".")[-2]
        if kind not in found:
            raise SystemExit(f"{file.name}: the kind {kind!r} is none of {', '.join(KINDS)}. Rename the file.")
        found[kind].append("- " + "\n  ".join(file.read_text(encoding="utf-8").split("\n")).strip())
    return found


def merged(text: str, found: dict[str, list[str]]) -> str:
    """The changelog with lines at the head of their kinds among what is not released."""
    before, _, after = text.partition(UNRELEASED)
    section, mark, released = after.partition("\n## ")
    for kind in reversed(KINDS):
        if found[kind]:
            head, lines = f"### {kind.title()}\n\n", "\n".join(found[kind]) + "\n"
            section = section.replace(head, head + lines, 1) if head in section else f"\n{head}{lines}" + section
    return before + UNRELEASED + section + mark + released


def main() -> None:
    """Print the fragments, or release them."""
    folder, changelog = ROOT / "changelog.d", ROOT / "CHANGELOG.md"
    found = collect(folder)
    if len(sys.argv) < 2:
        print("\n".join(line for lines in found.values() for line in lines))
        return
    text = merged(changelog.read_text(encoding="utf-8"), found)
    release = f"{UNRELEASED}\n## {sys.argv[1]} ({time.strftime('%Y-%m-%d')})\n"
    changelog.write_text(text.replace(UNRELEASED, release, 1), encoding="utf-8")
    for file in folder.glob("*.md"):
        file.unlink()


if __name__ == "__main__":
    main()
