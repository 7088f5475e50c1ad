"""Print constraints that install the least versions that pyproject.toml allows; the rest as in constraints.txt.

`make least` installs them into an environment of its own and runs the fast tests there, so that the lower bounds are
true. torch stays as in constraints.txt: its older releases bring gigabytes of CUDA. The fast tests of networks, losses,
training, tasks and prediction pass with torch 2.6.0, installed by hand beside these versions and a monai that takes it.
"""

import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
KEPT = ("torch",)
BOUND = re.compile(r"^([A-Za-z0-9_.-]+)(?:\[[^]]*\])?\s*>=\s*([0-9][^,;\s]*)")


def main() -> None:
    """Print one constraint per line; the argument names the extras that the tests use, with commas between."""
    extras = sys.argv[1].split(",")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    tested = [requirement for name in extras for requirement in project["optional-dependencies"][name]]
    least = {}
    for requirement in [*project["dependencies"], *tested]:
        found = BOUND.match(requirement)
        if found is None:
            raise SystemExit(f"{requirement!r} has no lower bound; give it one.")
        if found[1] not in KEPT:
            least[found[1].lower()] = found[2]
    for name, version in sorted(least.items()):
        print(f"{name}=={version}")
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines():
        name = line.partition("==")[0].strip().lower()
        if "==" in line and name not in least:
            print(line)


if __name__ == "__main__":
    main()
