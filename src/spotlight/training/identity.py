"""Which run stands in a folder: the same one goes on, or is finished; with other data or settings it is refused."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from spotlight.errors import SpotlightError
from spotlight.files import write_text
from spotlight.fingerprint import State, changed, differences, states_of
from spotlight.model import DESCRIPTION, WEIGHTS, find_folder
from spotlight.pairs.pair import Pair
from spotlight.training.batches import Outputs
from spotlight.training.callbacks import BEST, CHECKPOINT, LOG, PREVIEW
from spotlight.training.settings import Experiment

RUN = "training"
EXPERIMENT = "experiment.yaml"
DATA = "data.json"
MOST_NAMED = 5
"""Settings that a message names."""


@dataclass(frozen=True)
class Data:
    """The data of a run.

    Attributes
    ----------
    digests : dict
        What every pair shows, by its name; see `Pair.digest`.
    digest : str
        Fingerprint of which data they are, whatever their files hold. It is made as in the first version, so that runs
        of before go on.
    states : list of State
        Of all files from which the pairs are read.
    """

    digests: dict[str, str]
    digest: str
    states: list[State]

    @classmethod
    def of(cls, pairs: Sequence[Pair], experiment: Experiment, outputs: Outputs) -> "Data":
        """Look at the data of a run: its pairs, those to train on and those to validate on."""
        digests = {pair.name: pair.digest() for pair in pairs}
        facts = sorted(digests.items())
        if experiment.training.finetune:
            weights = (find_folder(experiment.training.finetune) / WEIGHTS).read_bytes()
            facts.append(("finetune", hashlib.sha256(weights).hexdigest()))
        if outputs.partial or outputs.modalities or experiment.balance == "stains and modalities":
            facts += [(f"stain {number}", name) for number, name in enumerate(outputs.names)]
            facts += [(pair.name, f"{pair.target_name}, {pair.modality}") for pair in pairs]
        digest = hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]
        return cls(digests, digest, states_of(files for pair in pairs for files in pair.files()))


def run_in(to: Path, experiment: Experiment, data: Data) -> Experiment | None:
    """Give the settings with which this very run was begun in the folder; None if none was.

    Raises
    ------
    SpotlightError
        If it holds another run, or a file of its data has changed since it was begun.
    """
    path = to / RUN / EXPERIMENT
    if not path.exists():
        if (to / DESCRIPTION).exists():
            raise SpotlightError(f"{to}: holds a model already. Write to another folder, or use overwrite.")
        return None
    found = Experiment.from_yaml(path)
    if experiment.training.micro_batches == "auto":
        begun_with = experiment.training.model_copy(update={"micro_batches": found.training.micro_batches})
        experiment = experiment.model_copy(update={"training": begun_with})
    differs = differences(found.model_dump(mode="json"), experiment.model_dump(mode="json"))
    files = _changed_files(path, data)
    if files:
        more = f" and {len(files) - 1} more have" if len(files) > 1 else " has"
        differs.insert(0, f"the data ({files[0]}{more} changed since it was begun)")
    elif path.read_text(encoding="utf-8").splitlines()[0] != f"# data: {data.digest}":
        differs.insert(0, "the data")
    if differs:
        named = ", ".join(differs[:MOST_NAMED])
        more = f" and {len(differs) - MOST_NAMED} more" if len(differs) > MOST_NAMED else ""
        raise SpotlightError(
            f"{to}: holds a run that differs in {named}{more}. Write to another folder; or, to start over, use "
            "overwrite or remove this one."
        )
    return found


def _changed_files(path: Path, data: Data) -> list[str]:
    """Files that the run and the data have in common, and that have changed since the run was begun."""
    record = path.with_name(DATA)
    if not record.exists():  # a run of a version that did not record states
        begun = path.stat().st_mtime_ns
        return [str(state.path) for state in data.states if any(facts[2] > begun for facts in state.files)]
    try:
        known = json.loads(record.read_text(encoding="utf-8"))
        both = known.keys() & {str(state.path) for state in data.states}
        return [file for file in changed(known, data.states) if file in both]
    except (OSError, ValueError, AttributeError) as error:
        raise SpotlightError(f"{record}: is damaged ({error}). Remove {path.parent} to start over.") from error


def begin(to: Path, experiment: Experiment, data: Data, record: dict[str, dict[str, str]]) -> None:
    """Clear the folder of an earlier run, and write down which run it holds; `record` is that of the states."""
    run = to / RUN
    names = (EXPERIMENT, DATA, LOG, CHECKPOINT, BEST, PREVIEW, "wandb.id")
    for path in (to / DESCRIPTION, to / WEIGHTS, *(run / name for name in names)):
        path.unlink(missing_ok=True)
    for half_written in run.glob(".*.part"):
        half_written.unlink()
    write_text(run / DATA, json.dumps(record, indent=1) + "\n")
    write_text(run / EXPERIMENT, f"# data: {data.digest}\n{experiment.to_yaml()}")
