"""Lists of models: those that come with Spotlight, and those of a folder or an address that a user names.

A list is an index, ``models.yaml``, beside model folders. It states the SHA-256 of every file, so that a copy is either
what its author listed or refused. Nothing is looked up or downloaded unasked.
"""

import hashlib
from pathlib import Path, PurePosixPath
from typing import Annotated
from urllib.error import URLError
from urllib.parse import urljoin
from urllib.request import Request, urlopen

from pydantic import AfterValidator, Field

from spotlight.addresses import Address, located
from spotlight.errors import SpotlightError
from spotlight.files import atomic_folder, require_path, write_text
from spotlight.model import DESCRIPTION, SHIPPED, WEIGHTS, read_description
from spotlight.plain_yaml import load_yaml, parse_yaml
from spotlight.settings import Settings

__all__ = ["ListedModel", "ModelList", "copy_model", "list_models", "write_list"]

INDEX = "models.yaml"
CARD = "card.md"
MOST_INDEX_BYTES = 2**20
WAIT_SECONDS = 30.0


def _plain(path: str) -> str:
    """Refuse paths that lead out of the list's own folder."""
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or ".." in parts or "\\" in path or ":" in path:
        raise ValueError(f"a path in a list of models is relative and stays in its folder. Received: {path!r}")
    return path


PlainPath = Annotated[str, AfterValidator(_plain)]


class ListedModel(Settings):
    """A model in a list.

    Examples
    --------
    >>> from spotlight.catalogue import list_models
    >>> list_models().models["demo-nuclei"].licence
    'CC0-1.0'
    """

    folder: PlainPath = Field(description="Its folder, relative to the index.")
    summary: str = Field("", description="What it stains, of what, and where it comes from, in one line.")
    licence: str = Field("", description="SPDX identifier of the licence of its weights.")
    sha256: dict[PlainPath, str] = Field(description="SHA-256 of each of its files.")


class ModelList(Settings):
    """An index of models.

    Examples
    --------
    >>> from spotlight.catalogue import list_models
    >>> found = list_models()  # those that come with Spotlight
    >>> "demo-nuclei" in found.models
    True
    """

    models: dict[PlainPath, ListedModel] = Field(description="By name.")


def list_models(where: str | Path | None = None) -> ModelList:
    """Read a list of models.

    Parameters
    ----------
    where : path or address, optional
        A folder with ``models.yaml``, or the address of one; left out: the models that come with Spotlight.

    Returns
    -------
    ModelList
        Its models by name.

    Raises
    ------
    SpotlightError
        If there is no such list, or it is damaged.

    Examples
    --------
    >>> from spotlight.catalogue import list_models
    >>> sorted(list_models().models)
    ['demo-nuclei']
    """
    if where is None:
        return ModelList.parse(load_yaml(SHIPPED / INDEX), INDEX)
    path = located(where)
    if isinstance(path, Address):
        address = _index_address(path)
        content = _fetch(address, MOST_INDEX_BYTES)
        return ModelList.parse(parse_yaml(content.decode("utf-8", errors="replace"), address), address)
    folder = require_path(path, "Give a folder with a list of models, or the address of one.")
    index = folder / INDEX if folder.is_dir() else folder
    if not index.exists():
        raise SpotlightError(
            f"{folder}: has no {INDEX}. Write one with `spotlight models {folder} --write`, or give another folder."
        )
    return ModelList.parse(load_yaml(index), str(index))


def write_list(folder: str | Path, licence: str = "") -> Path:
    """Write the index of a folder of model folders, so that others can list and copy them.

    What an earlier index says of summaries and licences is kept.

    Parameters
    ----------
    folder : path
        Holds a folder for each model.
    licence : str
        SPDX identifier for models whose licence no earlier index states.

    Returns
    -------
    Path
        The index.

    Raises
    ------
    SpotlightError
        If it holds no model.

    Examples
    --------
    >>> from spotlight.catalogue import write_list
    >>> index = write_list("our-models", licence="CC-BY-4.0")  # doctest: +SKIP
    """
    folder = require_path(folder, "Give a folder that holds model folders.")
    former = list_models(folder).models if (folder / INDEX).exists() else {}
    found = {}
    for path in sorted(folder.glob(f"*/{DESCRIPTION}")):
        name, description = path.parent.name, read_description(path.parent)
        stains = ", ".join(target.channel or "target" for target in description.targets)
        seen = ", ".join(filter(None, description.input.names)) or "transmitted light"
        files = [file for file in (DESCRIPTION, WEIGHTS, CARD) if (path.parent / file).exists()]
        known = former.get(name)
        found[name] = ListedModel(
            folder=name,
            summary=known.summary if known else f"{stains} from {seen} ({description.input.axes})",
            licence=known.licence if known else licence,
            sha256={file: hashlib.sha256((path.parent / file).read_bytes()).hexdigest() for file in files},
        )
    if not found:
        raise SpotlightError(f"{folder}: holds no model folder. Give a folder that holds folders of models.")
    write_text(folder / INDEX, ModelList(models=found).to_yaml())
    return folder / INDEX


def copy_model(name: str, to: str | Path, where: str | Path | None = None) -> Path:
    """Copy a listed model, or download it, if its files are those of the list.

    Parameters
    ----------
    name : str
        Its name in the list.
    to : path
        The model folder to write.
    where : path or address, optional
        See `list_models`.

    Returns
    -------
    Path
        The model folder.

    Raises
    ------
    SpotlightError
        If the list has no such model, a file is missing or is not what the list says, or the folder is there already.

    Examples
    --------
    >>> from spotlight.catalogue import copy_model
    >>> copy_model("demo-nuclei", "my-nuclei").name
    'my-nuclei'
    """
    listed = list_models(where).models
    if name not in listed:
        raise SpotlightError(f"the list has no model {name!r}. It has: {', '.join(listed) or 'none'}.")
    to = Path(to)
    if to.exists():
        raise SpotlightError(f"{to}: is there already. Write to another folder.")
    model = listed[name]
    if missing := {DESCRIPTION, WEIGHTS} - set(model.sha256):
        raise SpotlightError(f"the list names no {' and no '.join(sorted(missing))} of model {name!r}. Ask its author.")
    with atomic_folder(to) as temporary:
        temporary.mkdir(parents=True)
        for file, sha256 in model.sha256.items():
            content = _read(where, f"{model.folder}/{file}")
            found = hashlib.sha256(content).hexdigest()
            if found != sha256:
                raise SpotlightError(
                    f"{model.folder}/{file}: has the SHA-256 {found}, but the list states {sha256}. The file or the "
                    "list was changed; ask its author which is right."
                )
            (temporary / file).parent.mkdir(parents=True, exist_ok=True)
            (temporary / file).write_bytes(content)
    return to


def _read(where: str | Path | None, file: str) -> bytes:
    """Read a file beside an index."""
    path = SHIPPED if where is None else located(where)
    if isinstance(path, Address):
        return _fetch(urljoin(_index_address(path), file))
    folder = path if path.is_dir() else path.parent
    return require_path(folder / file, "The list names it; ask the author of the list.").read_bytes()


def _index_address(address: Address) -> str:
    """Address of the index, which may be given itself or as the folder that holds it."""
    text = str(address)
    if address.scheme not in ("http", "https"):
        raise SpotlightError(f"{text}: a list of models is read from http:// or https:// addresses, or from a folder.")
    return text if text.endswith((".yaml", ".yml")) else f"{text.rstrip('/')}/{INDEX}"


def _fetch(address: str, most: int | None = None) -> bytes:
    """Read what stands at an address."""
    try:
        with urlopen(Request(address, headers={"User-Agent": "spotlight"}), timeout=WAIT_SECONDS) as answer:
            content: bytes = answer.read() if most is None else answer.read(most + 1)
    except (URLError, OSError, ValueError) as error:
        raise SpotlightError(
            f"{address}: cannot be read ({error}). Check the address and the connection, or give a folder."
        ) from error
    if most is not None and len(content) > most:
        raise SpotlightError(f"{address}: is larger than {most} bytes, and no list of models. Check the address.")
    return content
