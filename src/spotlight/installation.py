"""How to install an optional part ("extra") of Spotlight, in the way in which Spotlight itself was installed."""

import json
import shlex
from importlib.metadata import PackageNotFoundError, distribution
from urllib.parse import urlsplit
from urllib.request import url2pathname

from spotlight.errors import SpotlightError

DISTRIBUTION = "spotlight-stain"


def install_command(extra: str, *others: str) -> str:
    """Return the pip command that adds an extra to this installation.

    Pip records where a package came from (PEP 610, ``direct_url.json``). A clone is named by its folder, a file or an
    address by itself, and a release by the name of the distribution.

    Parameters
    ----------
    extra : str
        Name of the extra, such as "czi".
    *others : str
        Further requirements, such as "cellpose<4".

    Examples
    --------
    >>> install_command("czi")  # doctest: +SKIP
    "pip install -e '/home/ada/spotlight[czi]'"
    """
    wanted = [*_spotlight_with(extra, _origin()), *others]
    return " ".join(["pip install", *(word if word == "-e" else shlex.quote(word) for word in wanted)])


def missing_package(purpose: str, error: ImportError, extra: str, *others: str) -> SpotlightError:
    """Return the error that says which package is missing for what, and how to install it.

    Parameters
    ----------
    purpose : str
        What needs the package: the beginning of the sentence, such as "reading CZI files".
    error : ImportError
        As Python raised it.
    extra, *others
        See `install_command`.
    """
    if not extra or (error.name or "").split(".")[0] == "spotlight":
        raise error  # a fault of the program, which no installation mends
    return SpotlightError(
        f"{purpose} needs the package {error.name or error}, which cannot be imported. "
        f"Install it with: {install_command(extra, *others)}"
    )


def _origin() -> dict[str, object]:
    """Return what pip recorded of the source of this installation; empty for a release from an index."""
    try:
        recorded = distribution(DISTRIBUTION).read_text("direct_url.json")
    except PackageNotFoundError:  # run from the source without an installation
        return {}
    return dict(json.loads(recorded)) if recorded else {}


def _spotlight_with(extra: str, origin: dict[str, object]) -> list[str]:
    address = str(origin.get("url", ""))
    if not address:
        return [f"{DISTRIBUTION}[{extra}]"]
    folder = origin.get("dir_info")
    if isinstance(folder, dict):
        path = f"{url2pathname(urlsplit(address).path)}[{extra}]"
        return ["-e", path] if folder.get("editable") else [path]
    version_control = origin.get("vcs_info")
    if isinstance(version_control, dict):
        address = f"{version_control.get('vcs', 'git')}+{address}@{version_control.get('commit_id', 'HEAD')}"
    return [f"{DISTRIBUTION}[{extra}] @ {address}"]
