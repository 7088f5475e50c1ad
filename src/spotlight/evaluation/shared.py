"""What evaluations of all tasks share: their models and rows, work in several processes, and the record."""

import logging
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import yaml

from spotlight.errors import SpotlightError
from spotlight.evaluation.methods import Source
from spotlight.files import write_text
from spotlight.model import was_seen
from spotlight.pairs.pair import Pair
from spotlight.prediction import Model, load_model
from spotlight.prediction.acceptance import tell_doubts
from spotlight.processes import BrokenProcessPool, numbers, processes
from spotlight.progress import Progress
from spotlight.quoting import safe_name
from spotlight.version import __version__

if TYPE_CHECKING:
    from spotlight.processes import Numbers

log = logging.getLogger("spotlight")

Item = TypeVar("Item")
Work = TypeVar("Work")
Found = TypeVar("Found")


def open_models(models: Source | Mapping[str, Source]) -> dict[str, Model]:
    """Load the models that are not loaded yet; one without a name has that of its folder."""
    if isinstance(models, Model):
        return {models.name: models}
    if not isinstance(models, Mapping):
        models = {safe_name(Path(models).resolve().name): models}
    return {name: one if isinstance(one, Model) else load_model(one) for name, one in models.items()}


def rows_of(listed: Sequence[Pair], split: str) -> list[Pair]:
    """Return the rows of a split, and those without one.

    Raises
    ------
    SpotlightError
        If there is none.
    """
    chosen = [pair for pair in listed if pair.split in (split, "")]
    if not chosen:
        raise SpotlightError(
            f"no pair has the split {split!r}. Found: {sorted({pair.split for pair in listed})}. Choose one of them "
            "(--split), or add rows."
        )
    return chosen


def judge_each(
    judge: Callable[[Item, Work], Found],
    items: Sequence[Item],
    work: Work,
    workers: int,
    progress: Progress | None = None,
    parts: int = 1,
) -> Generator[Found]:
    """Judge one stack after another, in their order, in `workers` processes.

    Parameters
    ----------
    judge : callable
        Of a module, called with an item and `work`.
    items : sequence
        What is judged.
    work : object
        What is needed for every item; sent to each process once.
    workers : int
        Processes. More than one need a script to guard its main part, as `multiprocessing` documents.
    progress : callable, optional
        Called with what is being done and how far it is.
    parts : int
        In how many parts an item is judged; `judge` calls `part_done` after each.

    Raises
    ------
    SpotlightError
        If a process dies.
    """
    global _part_done
    told = finished = 0

    def tell(more: int = 0) -> None:
        nonlocal told
        told += more
        if progress is not None:
            # Of items whose scores are kept from an earlier call, no part is told.
            progress("evaluating", max(told, finished * parts), len(items) * parts, {})

    tell()
    count = min(workers, len(items))
    if count <= 1:
        for item in items:
            _part_done = tell
            found = judge(item, work)
            _part_done = None
            finished += 1
            tell()
            yield found
        return
    import torch

    done = numbers()

    def tick() -> None:
        while not done.empty():
            tell(done.get())

    try:
        with processes(count, _begin, (judge, work, max(1, torch.get_num_threads() // count), done)) as run:
            for found in run(_judge_in_process, items, tick=tick):
                finished += 1
                tell()
                yield found
    except BrokenProcessPool as error:
        raise SpotlightError(
            "a worker process died. Either it ran out of memory, or your script lacks "
            '`if __name__ == "__main__":`. Add that, or use fewer workers; finished stacks are kept.'
        ) from error


def part_done() -> None:
    """Tell that a part of the item at work is judged, such as one of its stains; see `judge_each`."""
    if _part_done is not None:
        _part_done(1)


_part_done: Callable[[int], None] | None = None
"""Whom to tell of a part."""
_given: tuple[Callable[[Any, Any], Any], Any] | None = None
"""In a worker process: what it received when it started, so that models are sent once."""


def _begin(judge: Callable[[Any, Any], Any], work: object, threads: int, done: "Numbers") -> None:
    import torch

    global _given, _part_done
    _given, _part_done = (judge, work), done.put
    torch.set_num_threads(threads)


def _judge_in_process(item: object) -> Any:
    assert _given is not None
    judge, work = _given
    return judge(item, work)


def is_seen(pair: Pair, model: Model) -> bool:
    """Whether a model, or the backbone that it began with, was trained on a pair."""
    data = model.description.training.get("data", {})
    trained = {stack["digest"] for part in ("train", "validation") for stack in data.get(part, [])}
    return pair.digest() in trained or was_seen(model.description, pair)


def tell_seen(name: str, stacks: Iterable[str]) -> None:
    """Warn of stacks that a model was trained on."""
    if names := ", ".join(dict.fromkeys(stacks)):
        log.warning("%s was trained or pretrained on %s: these scores are not those of unseen data.", name, names)


def write_record(
    path: Path,
    split: str,
    models: Mapping[str, Model],
    stacks: Sequence[Mapping[str, str]],
    doubts: Mapping[str, Mapping[str, Sequence[str]]],
    **more: object,
) -> None:
    """Write down what was judged, and warn of inputs that are unlike those of the training.

    Parameters
    ----------
    path : Path
        A file of YAML.
    split : str
        The rows that were judged.
    models : mapping of str to Model
        By their names.
    stacks : sequence of mapping
        Names and files.
    doubts : mapping
        By the name of a model and of a stack: in which ways the input is unlike those of the training.
    **more
        What else is to be kept.
    """
    for name, found in doubts.items():
        tell_doubts(name, found)
    record = {
        "versions": {"spotlight": __version__},
        "split": split,
        **more,
        "models": {name: model.description.model_dump(mode="json") for name, model in models.items()},
        "stacks": list(stacks),
        "doubts": {name: {stack: list(said) for stack, said in found.items()} for name, found in doubts.items()},
    }
    write_text(path, yaml.safe_dump(record, sort_keys=False, allow_unicode=True))
