"""Staining: folded networks, exact tiles, flips, ensembles, and files that are done once and whole."""

import hashlib
import itertools
import json
import math
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from threading import Timer

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.typing import NDArray
from scipy import ndimage

from command_line import run_command
from locking import holder
from spotlight import SpotlightError, load_model, read
from spotlight.images import Stack
from spotlight.model import InputDescription, read_model, save_model
from spotlight.networks import FNet
from spotlight.prediction import (
    Model,
    PredictionSettings,
    StainOptions,
    find_parts,
    measure_seams,
    stain_files,
)
from spotlight.prediction.acceptance import find_doubts
from spotlight.prediction.engines import Engine, back, folded, make_engine, orient
from spotlight.prediction.files import FileStain, record_of
from spotlight.prediction.tasks import PreparedStack
from spotlight.prediction.tiling import BYTES_PER_VOXEL, SHORTEST, choose_tile, exact_halo, plan_tiles, usual_overlap
from spotlight.prediction.workspace import InFolder
from spotlight.tiles import Tiling

FLOAT32 = PredictionSettings(precision="float32")


def lively(network: FNet) -> FNet:
    """Statistics as of a trained network, so that folding has something to do."""
    generator = torch.Generator().manual_seed(1)
    for module in network.modules():
        if isinstance(module, (torch.nn.BatchNorm2d, torch.nn.BatchNorm3d)):
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.normal_(0, 0.2, generator=generator)
            module.running_var.uniform_(0.02, 0.2, generator=generator)
    return network.eval()


@pytest.mark.parametrize("block", ["plain", "residual"])
@pytest.mark.parametrize("dims", [2, 3])
def test_a_folded_network_is_the_same_function(dims: int, block: str) -> None:
    torch.manual_seed(0)
    network = lively(FNet(dims, depth=2, mult_chan=4, block=block)).double()  # type: ignore[arg-type]
    image = torch.randn(1, 1, *[16] * dims, dtype=torch.float64)
    small = folded(network)
    assert not any("BatchNorm" in type(module).__name__ for module in small.modules())
    with torch.inference_mode():
        torch.testing.assert_close(small(image), network(image), rtol=1e-9, atol=1e-9)


def test_turns_are_undone_and_an_average_over_them_turns_with_its_input() -> None:
    torch.manual_seed(0)
    image = torch.randn(1, 1, 4, 12, 20)
    for turn in range(8):
        assert torch.equal(back(orient(image, turn), turn), image)
    engine = Engine((lively(FNet(3, 1, 2)),), torch.device("cpu"), "float32", augment=True, spread=True)
    square = image[0, 0, :, :, :12].numpy().copy()
    mean, spread = engine(square)
    turned, same = engine(np.ascontiguousarray(np.rot90(square, axes=(1, 2))))
    np.testing.assert_allclose(turned, np.rot90(mean, axes=(1, 2)), atol=1e-5)
    np.testing.assert_allclose(same, np.rot90(spread, axes=(1, 2)), atol=1e-5)
    plain = Engine(engine.networks, engine.device, "float32")
    single = [
        back(torch.from_numpy(plain(orient(torch.from_numpy(square), turn).contiguous().numpy())), turn)[0].numpy()
        for turn in range(8)
    ]
    np.testing.assert_allclose(mean, np.mean(single, 0), atol=1e-5)
    np.testing.assert_allclose(spread, np.std(single, 0), atol=1e-5)


@pytest.fixture(scope="module")
def model(model_folder: Path) -> Model:
    return load_model(model_folder)


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A stack of several tiles, with structure."""
    noise = np.random.default_rng(0).normal(size=(24, 72, 128))
    values = (1000 + 4000 * ndimage.gaussian_filter(noise, 1.5)).astype(np.uint16)
    path = tmp_path_factory.mktemp("large") / "large.ome.tif"
    return Stack(values, "ZYX", (0.29, 0.29, 0.29), ("Brightfield",)).save(path)


def scaled(model: Model, scaling: str) -> Model:
    """The same network behind another scaling of its input."""
    expected = model.description.input.model_copy(update={"normalisation": scaling})
    return Model(model.description.model_copy(update={"input": expected}), model.networks[0], scaling)


def like_training(model: Model, stack: Stack) -> Stack:
    """Noise with the octaves of the training stacks, so that nothing is in doubt."""
    known = model.description.input
    rng = np.random.default_rng(0)
    image = np.zeros(stack.shape, np.float32)
    for octave, bounds in enumerate(known.octaves or ()):
        side = 2**octave
        blocks = rng.normal(size=(stack.shape[0], *(-(-n // side) for n in stack.shape[1:])))
        part = np.kron(blocks, np.ones((1, side, side)))[:, : stack.shape[1], : stack.shape[2]]
        image += np.float32(np.sqrt(np.mean(bounds))) * part.astype(np.float32)
    return replace(stack, array=image[:16, :64, :64] + 10)


@pytest.mark.slow
@pytest.mark.parametrize("scaling", ["mean/std", "log"])
def test_exact_tiles_give_what_the_whole_stack_gives(model: Model, large: Path, scaling: str) -> None:
    model = scaled(model, scaling)
    assert exact_halo(model.networks[0]) == 24
    assert exact_halo(FNet(3, depth=4, mult_chan=1)) == 112
    whole = model.predict(large, settings=FLOAT32.model_copy(update={"tile": (24, 72, 128)}), normalised=True).data
    settings = FLOAT32.model_copy(update={"tile": (24, 64, 64)})
    exact = model.predict(large, settings=settings.model_copy(update={"overlap": "exact"}), normalised=True).data
    np.testing.assert_allclose(exact, whole, atol=1e-5 * whole.std())
    nearer = plan_tiles(whole.shape, model.networks[0], settings.model_copy(update={"overlap": (0, 16, 16)}))
    assert nearer.tiles > 1
    blended = model.predict(large, settings=settings, normalised=True).data
    assert np.abs(blended - whole).max() / whole.std() > 1e-4


@pytest.mark.slow
def test_seams_are_measured_against_exact_tiles(model: Model, large: Path, tmp_path: Path) -> None:
    thin = replace(read(large), array=read(large).data[:8])
    (part,) = find_parts([thin.save(tmp_path / "thin.ome.tif")])
    tiles = FLOAT32.model_copy(update={"tile": (8, 64, 64), "overlap": (0, 8, 8)})
    found = measure_seams(model, part, StainOptions(settings=tiles))
    assert found.tiles == 6
    assert found.at_seams > 3 * found.elsewhere > 0
    exact = measure_seams(model, part, StainOptions(settings=tiles.model_copy(update={"overlap": "exact"})))
    assert exact.greatest == 0
    assert str(measure_seams(model, part, StainOptions(settings=FLOAT32))) == "one tile, no seams"


@pytest.mark.slow
def test_arithmetic_is_chosen_by_trying(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    array = np.random.default_rng(0).normal(size=(32, 64, 64)).astype(np.float32)

    def chosen() -> str:
        return make_engine(model.networks, array, "auto", "cpu", False, False).precision

    monkeypatch.setattr("spotlight.prediction.engines.has_bf16", lambda _: False)
    assert chosen() == "float32"
    monkeypatch.setattr("spotlight.prediction.engines.has_bf16", lambda _: True)
    monkeypatch.setattr("spotlight.prediction.engines.TOLERANCE", 0.0)
    assert chosen() == "float32"
    monkeypatch.setattr("spotlight.prediction.engines.TOLERANCE", 1.0)
    clock = iter([0.0, 2.0, 0.0, 1.0])  # float32 takes twice as long
    monkeypatch.setattr("spotlight.prediction.engines.time.perf_counter", lambda: next(clock))
    assert chosen() == "bf16"


@pytest.mark.parametrize("shape", [(64, 640, 928), (20, 300, 310), (200, 700, 150)])
@pytest.mark.parametrize("gib", [64, 6, 1])
def test_the_tile_that_fits_and_computes_least(
    shape: tuple[int, ...], gib: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = FNet(3, depth=4, mult_chan=32)
    monkeypatch.setattr("spotlight.prediction.tiling.memory_to_use", lambda _: (gib * 2**30, ""))
    tiling = plan_tiles(shape, network, FLOAT32)

    def cost(tiling: Tiling) -> int:
        return tiling.tiles * math.prod(tiling.tile)

    most = min(10_000_000, gib * 2**30 / 32 / BYTES_PER_VOXEL)
    assert math.prod(tiling.tile) <= most
    shortest = SHORTEST[3][0 if gib > 1 else 1]
    places = [range(least, max(n, least) + 16, 16) for n, least in zip(shape, shortest, strict=True)]
    for tile in itertools.product(*places):
        if tile[1] % 64 == tile[2] % 32 == 0:  # a part of them, for brevity
            other = Tiling.of(shape, tile, usual_overlap(tile), 16)
            assert cost(other) >= cost(tiling) or math.prod(tile) > most


def test_memory_for_tiles(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    network = model.networks[0]
    assert choose_tile((3000, 3000), FNet(2, depth=4), FLOAT32) == (800, 800)
    exact = FLOAT32.model_copy(update={"overlap": "exact"})
    blended, whole = (math.prod(choose_tile((300, 900, 900), FNet(3, depth=4), s)) for s in (FLOAT32, exact))
    assert blended <= 10_000_000 < whole
    few = choose_tile((200, 200, 200), network, FLOAT32.model_copy(update={"voxels": 2**18}))
    assert math.prod(few) <= 2**18
    assert usual_overlap((128, 128, 128)) == (64, 32, 32)  # stains depend on far more planes than rows
    monkeypatch.setattr("spotlight.prediction.tiling.memory_to_use", lambda _: (2**20, "1 MiB may be used"))
    with pytest.raises(SpotlightError, match="for 11915, since 1 MiB may be used. Give a tile"):
        choose_tile((200, 200, 200), network, FLOAT32)
    with pytest.raises(SpotlightError, match="131072 voxels at least here, but voxels is 100. Raise it"):
        choose_tile((200, 200, 200), network, FLOAT32.model_copy(update={"voxels": 100}))
    for wrong in ({"overlap": (8, 8)}, {"tile": (64,)}, {"tile": (1, 64, 64, 64)}):
        for choose in (plan_tiles, choose_tile):
            with pytest.raises(SpotlightError, match="must be 3 numbers of voxels for this model"):
                choose((200, 200, 200), network, FLOAT32.model_copy(update=wrong))
    with pytest.raises(SpotlightError, match="do not ask for exact tiles"):
        choose_tile((200, 200, 200), network, exact)


@pytest.mark.slow
def test_an_ensemble_gives_mean_and_spread_of_its_members(model_folder: Path, large: Path, tmp_path: Path) -> None:
    shutil.copytree(model_folder, tmp_path / "e" / "seed-0")
    other = Path(shutil.copytree(model_folder, tmp_path / "e" / "seed-1"))
    description, network = read_model(other)
    network.load_state_dict({name: value * 0.9 for name, value in network.state_dict().items()})
    save_model(other, description, network)
    ensemble = load_model(tmp_path / "e")
    single = [load_model(f).predict(large, settings=FLOAT32, normalised=True).data for f in (model_folder, other)]
    both = ensemble.predict(large, settings=FLOAT32.model_copy(update={"spread": True}), normalised=True, flatten=False)
    assert (both.axes, both.channels) == ("CZYX", ("DNA (virtual)", "DNA (virtual), spread"))
    np.testing.assert_allclose(both.data[0], np.mean(single, 0), atol=1e-4)
    np.testing.assert_allclose(both.data[1], np.std(single, 0), atol=1e-4)
    level = ensemble.predict(large, settings=FLOAT32.model_copy(update={"spread": True})).data[1]
    target = ensemble.description.target
    np.testing.assert_allclose(level, both.data[1] * (target.to_intensity(1.0) - target.to_intensity(0.0)), rtol=1e-4)
    text = (other / "model.yaml").read_text().replace("channel: DNA", "channel: RNA")
    (other / "model.yaml").write_text(text)
    with pytest.raises(SpotlightError, match=r"one target, but those of seed-0 and seed-1 differ"):
        load_model(tmp_path / "e")


@pytest.mark.slow
@pytest.mark.parametrize("scaling", ["mean/std", "log"])
def test_in_files_it_is_bit_by_bit_what_it_is_in_memory(
    model: Model, large: Path, tmp_path: Path, scaling: str
) -> None:
    model = scaled(model, scaling)
    coarse = replace(read(large), voxel_size=(0.29, 0.31, 0.31))
    settings = FLOAT32.model_copy(update={"tile": (24, 48, 48)})
    stack = model.accept(coarse)
    memory, _ = model.stain(stack, settings)
    workspace = InFolder(tmp_path / "work")
    files, facts = model.stain(stack, settings, workspace)
    assert not isinstance(files.array, np.ndarray)
    np.testing.assert_array_equal(files.data, memory.data)
    assert facts["tile"] == [24, 48, 44]  # shrunk to what the stack needs
    assert not list((tmp_path / "work").glob(".*"))
    times = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "work").iterdir()}
    again, _ = model.stain(stack, settings, workspace)
    np.testing.assert_array_equal(again.data, memory.data)
    assert {path.name: path.stat().st_mtime_ns for path in (tmp_path / "work").iterdir()} == times


@pytest.mark.slow
def test_what_was_chosen_holds_until_the_stack_is_done(model: Model, large: Path, tmp_path: Path) -> None:
    stack = model.accept(read(large))
    workspace = InFolder(tmp_path / "work")
    first = model.steps(stack, PredictionSettings(device="cpu"), workspace)
    assert first.settled.tile == choose_tile(first.shape, model.networks[0], FLOAT32)
    choice = json.loads((tmp_path / "work" / "choice.json").read_text())
    # As if less memory had been free when the killed prediction began.
    (tmp_path / "work" / "choice.json").write_text(json.dumps(choice | {"tile": [24, 48, 48]}))
    again = model.steps(stack, PredictionSettings(device="cpu"), workspace)
    assert (again.settled.tile, again.tiling.tile) == ((24, 48, 48), (24, 44, 44))
    (tmp_path / "work" / "choice.json").write_text(json.dumps(choice | {"tile": [24, 48, 48], "device": "cuda"}))
    elsewhere = model.steps(stack, PredictionSettings(device="cpu"), workspace)
    assert elsewhere.settled == first.settled
    with pytest.raises(SpotlightError, match="tile must be 3 numbers"):
        model.steps(stack, PredictionSettings(tile=(64, 64)), InFolder(tmp_path / "other")).settled  # noqa: B018
    assert not (tmp_path / "other").exists()


def test_killed_between_stain_and_record_it_is_made_anew(model: Model, large: Path, tmp_path: Path) -> None:
    options = StainOptions(settings=FLOAT32)
    (part,) = find_parts([large])
    work = FileStain(model, part, tmp_path / "large-stain.ome.tif", options)
    work.finish()
    record_of(work.path).unlink()
    assert "without a record" in stain_files(model, [part], tmp_path, options)[0].reason
    work.folder.noted("finishing", lambda: {"mark": work.fingerprint})
    assert stain_files(model, [part], tmp_path, options)[0].state == "made"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["large-stain.ome.tif", "large-stain.ome.tif.json"]


@pytest.mark.slow
def test_stains_are_made_once_and_say_how(model: Model, model_folder: Path, large: Path, tmp_path: Path) -> None:
    options = StainOptions(settings=FLOAT32)
    listed = find_parts([large])
    first = stain_files(model, listed, tmp_path, options)[0]
    assert (first.state, first.path.name) == ("made", "large-stain.ome.tif")
    record = json.loads((tmp_path / "large-stain.ome.tif.json").read_text())
    assert (record["precision"], record["model"]) == ("float32", model_folder.name)
    before = first.path.stat().st_mtime_ns
    assert stain_files(model, listed, tmp_path, options)[0].state == "kept"
    assert first.path.stat().st_mtime_ns == before
    other = replace(options, normalised=True)
    refused = stain_files(model, listed, tmp_path, other)[0]
    assert (refused.state, first.path.stat().st_mtime_ns) == ("failed", before)
    assert "is there already, from other options (normalised). Choose another folder" in refused.reason
    wider = replace(options, settings=options.settings.model_copy(update={"tile": (24, 48, 48)}))
    again = stain_files(model, [replace(listed[0], modality="phase")], tmp_path, wider)[0].reason
    assert "from another input (modality) and other options (settings.tile)" in again
    path = tmp_path / "large-stain.ome.tif.json"
    path.write_text(json.dumps({name: value for name, value in record.items() if name != "made_from"}))
    assert "from another model, input or options" in stain_files(model, listed, tmp_path, other)[0].reason
    assert stain_files(model, listed, tmp_path, other, overwrite=True)[0].state == "made"
    assert stain_files(model, listed, tmp_path, other)[0].state == "kept"
    os.utime(large)
    assert stain_files(model, listed, tmp_path, other)[0].state == "kept"  # it holds what it held
    assert sorted(path.name for path in tmp_path.iterdir()) == ["large-stain.ome.tif", "large-stain.ome.tif.json"]


@pytest.mark.parametrize("form", ["ome.tif", "ome.zarr"])
@pytest.mark.slow
def test_a_stain_is_not_kept_for_an_input_that_was_written_anew(
    model: Model, large: Path, form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where a killed prediction left a part of it, and the file is as large and as old as before."""
    monkeypatch.setattr("spotlight.prediction.files.SLAB_VOXELS", 1)
    options = StainOptions(settings=FLOAT32.model_copy(update={"tile": (24, 48, 48)}))
    image = tmp_path / f"a.{form}"
    stack = read(large)
    stack.save(image)
    facts = image.stat()

    def write_anew() -> None:
        replace(stack, array=stack.data[::-1].copy()).save(image)
        os.utime(image, ns=(facts.st_atime_ns, facts.st_mtime_ns))

    listed = find_parts([image])
    work = FileStain(model, listed[0], tmp_path / "out" / "a-stain.ome.tif", options)
    work.take_up()
    work.steps.layer(0)
    write_anew()
    (made,) = stain_files(model, listed, tmp_path / "out", options)
    assert made.state == "made"
    expected = model.predict(image, settings=options.settings).data
    np.testing.assert_array_equal(read(made.path).data, expected)
    assert stain_files(model, listed, tmp_path / "out", options)[0].state == "kept"
    stack.save(image)
    reason = stain_files(model, listed, tmp_path / "out", options)[0].reason
    assert f"{image} has changed since it was made" in reason
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a-stain.ome.tif", "a-stain.ome.tif.json"]


def test_settings_that_a_later_version_adds_do_not_make_stains_foreign(
    model: Model, large: Path, tmp_path: Path
) -> None:
    class LaterSettings(PredictionSettings):
        added: int = 3

    later = replace(StainOptions(), settings=LaterSettings(**FLOAT32.model_dump()))
    assert stain_files(model, find_parts([large]), tmp_path, StainOptions(settings=FLOAT32))[0].state == "made"
    assert stain_files(model, find_parts([large]), tmp_path, later)[0].state == "kept"
    described = model.description.model_copy(update={"created": "later", "versions": {}, "weights_sha256": ""})
    assert Model(described, model.networks, "other").digest == model.digest


def test_stains_with_the_former_fingerprint_are_known(model: Model, large: Path, tmp_path: Path) -> None:
    options = StainOptions(channel="Brightfield", settings=FLOAT32)
    listed = find_parts([large])
    (made,) = stain_files(model, listed, tmp_path, options)
    record = json.loads(record_of(made.path).read_text())
    digest = hashlib.sha256(json.dumps(model.description.model_dump(mode="json"), sort_keys=True).encode())
    for name, weight in sorted(model.networks[0].state_dict().items()):
        digest.update(name.encode() + weight.numpy().tobytes())
    later = {"window": None, "window_step": 1}  # what could not be set then
    file, chosen = large.stat(), FLOAT32.model_dump(mode="json", exclude=set(later))
    said = repr(options)
    for name, value in later.items():
        said = said.replace(f"{name}={value!r}, ", "")
    assert said.startswith("StainOptions(channel='Brightfield', axes=None, voxel_size=None, normalised=False")
    assert "window" not in said
    facts = [digest.hexdigest(), str(large), file.st_size, file.st_mtime_ns, *["None"] * 6, chosen, said]
    del record["inputs"], record["made_from"]
    record["key"] = hashlib.sha256(json.dumps(facts).encode()).hexdigest()
    record_of(made.path).write_text(json.dumps(record))
    assert stain_files(model, listed, tmp_path, options)[0].state == "kept"
    assert "another model" in stain_files(model, listed, tmp_path, replace(options, normalised=True))[0].reason
    record_of(made.path).write_text(json.dumps(record | {"made": "2020-01-01T00:00:00+00:00"}))
    assert "another model" in stain_files(model, listed, tmp_path, options)[0].reason


@pytest.mark.slow
def test_two_processes_do_not_make_one_stain(
    model: Model, large: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The second makes the others meanwhile, says on whom it waits, and makes what that one leaves undone."""
    (tmp_path / "b.ome.tif").write_bytes(large.read_bytes())
    listed = find_parts([large, tmp_path / "b.ome.tif"])
    options = StainOptions(settings=FLOAT32)
    out = tmp_path / "out"
    with holder(out / "large-stain.ome.tif") as process:
        found: list[tuple[bool, bool]] = []

        def end() -> None:
            process.kill()
            process.wait()

        def look(work: str, done: int, total: int, _: object) -> None:
            found.append((work == "staining b", process.poll() is None))
            if work == "staining b" and done == total:
                Timer(1.5, end).start()

        results = stain_files(model, listed, out, options, progress=look)
        assert [result.state for result in results] == ["made", "made"]
        assert f"is being written by process {process.pid}" in caplog.text
    assert set(found) == {(True, True), (False, False)}  # b while the other is at work, and large after that
    assert [result.state for result in stain_files(model, listed, out, options)] == ["kept", "kept"]
    assert not list(out.glob(".*"))


@pytest.mark.slow
def test_brightness_and_scale_are_not_doubted_where_they_are_divided_out(
    model: Model, large: Path, caplog: pytest.LogCaptureFixture
) -> None:
    image = like_training(model, read(large))
    first = model.predict(image, settings=FLOAT32, normalised=True).data
    for factor, offset in ((1e-4, 0), (1000, 0), (1, 5000), (0.01, -3)):
        copy = replace(image, array=(factor * image.data + offset).astype(np.float32))
        assert np.abs(model.predict(copy, settings=FLOAT32, normalised=True).data - first).max() < 2e-3
    assert "unlike" not in caplog.text


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda z: ndimage.gaussian_filter(z, 3), "details of 1 pixel "),
        (lambda z: np.exp(5 * (z - z.mean()) / z.std()), "a skewness"),
        (lambda z: np.minimum(z, np.percentile(z, 90)), "saturated pixels"),
        (lambda z: z + 20 * z.std() * np.random.default_rng(0).normal(size=z.shape), "details of 4 pixels"),
    ],
    ids=["blurred", "skew", "saturated", "blank"],
)
def test_what_the_network_sees_is_doubted(
    model: Model,
    large: Path,
    change: Callable[[NDArray[np.float32]], NDArray[np.float32]],
    said: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    image = like_training(model, read(large))
    changed = replace(image, array=change(image.data).astype(np.float32), source="well B07")
    model.predict(changed, settings=FLOAT32)
    assert "well B07: is unlike what model" in caplog.text
    assert said in caplog.text


@pytest.mark.slow
def test_doubts_of_a_run_are_told_once_with_names(
    model: Model, large: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    image = like_training(model, read(large))
    blurred = replace(image, array=ndimage.gaussian_filter(image.data, 3))
    files = [image.save(tmp_path / "good.ome.tif")]
    files += [blurred.save(tmp_path / f"odd{number}.ome.tif") for number in range(3)]
    for _ in range(2):  # the second time all are there already
        caplog.clear()
        results = stain_files(model, find_parts(files), tmp_path / "out", StainOptions(settings=FLOAT32))
        assert [bool(one.doubts) for one in results] == [False, True, True, True]
        (warning,) = [record.message for record in caplog.records if "unlike" in record.message]
        assert warning.startswith("odd0: is unlike")
        assert "of 4 inputs: odd1, odd2." in warning
    assert json.loads((tmp_path / "out" / "odd2-stain.ome.tif.json").read_text())["doubts"]


def test_fixed_scales_doubt_brightness() -> None:
    known = InputDescription(axes="YX", grid="native", normalisation="uint16", mean=(900, 1100), contrast=(0.1, 0.2))
    image = np.random.default_rng(0).normal(1000, 150, (64, 64))
    for factor, said in ((1, []), (20, ["a mean intensity of 2e+04 (training: 900 to 1.1e+03)"])):
        found = find_doubts(known, ((factor * image - 32767.5) / 32767.5).astype(np.float32))
        assert found == said


def test_logarithms_doubt_brightness() -> None:
    known = InputDescription(axes="YX", grid="native", normalisation="log", mean=(900, 1100), contrast=(0.1, 0.2))
    image = np.random.default_rng(0).normal(1000, 150, (64, 64))
    for factor, said in ((1, []), (20, ["a mean intensity of 2e+04 (training: 900 to 1.1e+03)"])):
        assert find_doubts(known, np.log((factor * image + 1) / 1000).astype(np.float32)) == said


def test_another_process_doubts_and_prepares_alike(model: Model, large: Path, tmp_path: Path) -> None:
    far = replace(read(large), array=ndimage.gaussian_filter(read(large).data.astype(np.float32), 6))
    (part,) = find_parts([far.save(tmp_path / "far.ome.tif")])
    work = FileStain(model, part, tmp_path / "far-stain.ome.tif", StainOptions(settings=FLOAT32))
    expected = work.steps.prepared
    assert work.steps.doubts
    prepared = PreparedStack(work.key, work.inputs, work.fingerprint, work.steps.shape, work.steps.settled, 1)
    other = FileStain(model, part, work.path, work.options, prepared=prepared)
    steps = other.steps_of(work.steps.shape, work.steps.settled)
    assert "stack" not in vars(other)  # not read before it is needed
    np.testing.assert_array_equal(steps.prepared, expected)
    assert steps.doubts == work.steps.doubts


@pytest.mark.slow
def test_one_bad_file_does_not_stop_the_rest(model: Model, model_folder: Path, large: Path, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    shutil.copy(large, folder / "a.ome.tif")
    Stack(np.ones((24, 32, 32), np.uint16), "ZYX", (0.29,) * 3, ("Brightfield",)).save(folder / "b.ome.tif")
    shutil.copy(large, folder / "c.ome.tif")
    (folder / "broken.ome.tif").write_bytes(large.read_bytes()[:200])
    (folder / "notes.txt").write_text("not an image")
    done = run_command("predict", model_folder, folder, "--to", "out", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stdout.splitlines() == ["out/a-stain.ome.tif", "out/c-stain.ome.tif"]
    failures = done.stderr.split("\n2 of 4 failed:\n")[1].splitlines()
    assert failures[0].startswith("  b: ")
    assert "is constant" in failures[0]
    assert failures[1].startswith(f"  broken: {folder / 'broken.ome.tif'}: ")
    assert "Traceback" not in done.stderr
    for named, strict in ((folder / "broken.ome.tif", False), (folder, True)):
        with pytest.raises(SpotlightError, match=r"broken\.ome\.tif: "):
            find_parts([named], strict=strict)
    with pytest.raises(SpotlightError, match="Rename one"):
        find_parts([folder, large.rename(folder / "d.ome.tif"), folder / "d.ome.tif"])
    (folder / "d.ome.tif").rename(large)


def test_nor_does_an_error_that_is_not_ours(model: Model, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    values = np.random.default_rng(0).normal(1000, 100, (16, 32, 32)).astype(np.float32)
    stack = Stack(values, "ZYX", (0.29,) * 3, ("Brightfield",))
    long = "n" * 245  # a name that a file may have, but not its stain
    for name in ("a", "gone", long, "z"):
        stack.save(tmp_path / "in" / "x.ome.tif").rename(tmp_path / "in" / f"{name}.ome.tif")
    listed = find_parts([tmp_path / "in"])
    (tmp_path / "in" / "gone.ome.tif").unlink()
    caplog.set_level("DEBUG", "spotlight")
    options = StainOptions(settings=FLOAT32)
    results = stain_files(model, listed, tmp_path / "out", options)
    assert [result.part.name for result in results] == ["a", "gone", long, "z"]
    assert [result.state for result in results] == ["made", "failed", "failed", "made"]
    assert "gone.ome.tif: no such file" in results[1].reason
    assert results[2].reason.startswith("OSError: ")
    assert "File name too long" in results[2].reason
    traces = [record.exc_info[0] for record in caplog.records if record.levelname == "DEBUG" and record.exc_info]
    assert traces == [SpotlightError, OSError]

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stain_files(model, listed, tmp_path / "interrupted", options, progress=interrupt)


STOPPING = """
import time
import spotlight.prediction.files as files
files.SLAB_VOXELS = 1
from spotlight.prediction.acceptance import find_doubts
from spotlight.prediction.engines import Engine
compute, tiles = Engine.__call__, []
def stopping(self, tile):
    tiles.append(tile)
    if len(tiles) == 4:
        print("stopped", flush=True)
        time.sleep(600)
    return compute(self, tile)
Engine.__call__ = stopping
from spotlight import load_model
from spotlight.prediction import PredictionSettings, StainOptions, find_parts, stain_files
settings = PredictionSettings(precision="float32", tile=(24, 48, 48))
stain_files(load_model({model!r}), find_parts([{image!r}]), {to!r}, StainOptions(settings=settings, form="ome.zarr"))
"""


@pytest.mark.slow
def test_killed_between_tiles_it_goes_on_and_ends_the_same(
    model: Model, model_folder: Path, large: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four layers of two tiles; each process is killed before its fourth tile, the second of a layer."""
    code = STOPPING.format(model=str(model_folder), image=str(large), to=str(tmp_path / "killed"))
    layers: dict[str, int] = {}
    for done in (1, 2):
        with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"stopped\n"
            process.kill()
        assert not (tmp_path / "killed" / "large-stain.ome.zarr").exists()
        found = {path.name: path.stat().st_mtime_ns for path in tmp_path.glob("killed/.large*/layer-*.npy")}
        assert sorted(found) == [f"layer-{number}.npy" for number in range(done)]
        assert layers.items() <= found.items()  # what is there is not made again
        layers = found
    monkeypatch.setattr("spotlight.prediction.files.SLAB_VOXELS", 1)
    options = StainOptions(settings=FLOAT32.model_copy(update={"tile": (24, 48, 48)}), form="ome.zarr")
    tiles = []
    compute = Engine.__call__
    monkeypatch.setattr(Engine, "__call__", lambda self, tile: tiles.append(tile) or compute(self, tile))
    results = []
    for name, count in (("killed", 4), ("straight", 8)):
        tiles.clear()
        assert stain_files(model, find_parts([large]), tmp_path / name, options)[0].state == "made"
        assert len(tiles) == count
        results.append(read(tmp_path / name / "large-stain.ome.zarr").data)
    np.testing.assert_array_equal(*results)
    assert sorted(path.name for path in (tmp_path / "killed").iterdir()) == [
        "large-stain.ome.zarr",
        "large-stain.ome.zarr.json",
    ]


@pytest.mark.slow
def test_inputs_of_a_manifest_are_stained_once(model_folder: Path, manifest: Path, tmp_path: Path) -> None:
    rows = pd.read_csv(manifest)
    rows["input"] = [str(manifest.parent / name) for name in rows["input"]]
    table = tmp_path / "wanted.csv"
    pd.concat([rows, rows[rows["split"] == "test"]]).to_csv(table, index=False)
    assert len(find_parts([table])) == len(rows)
    (part,) = find_parts([table], split="test")
    assert part.channel == "Brightfield"
    assert [r.state for r in stain_files(load_model(model_folder), [part], tmp_path / "out")] == ["made"]
    rows.iloc[:1].assign(input="gone.ome.tif").to_csv(table, index=False)
    (gone,) = find_parts([table])
    assert "gone.ome.tif" in gone.fault
    for wrong, said in (({"split": "val"}, "no row of the split 'val'"), ({"split": "test"}, "no row")):
        with pytest.raises(SpotlightError, match=said):
            find_parts([table], **wrong)
    with pytest.raises(SpotlightError, match="is not a manifest"):
        find_parts([manifest.parent], split="test")
    table.write_text("file\nx.tif\n")
    with pytest.raises(SpotlightError, match="no column 'input'"):
        find_parts([table])
