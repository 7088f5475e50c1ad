"""What is exported gives Spotlight's own stain in other tools' hands."""

import re
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pydantic
import pytest
import torch
from packaging.version import Version
from scipy import ndimage
from typer.testing import CliRunner

from small_models import of_several_stains, told_modality, warmed
from spotlight import SpotlightError, load_model
from spotlight.cli import app
from spotlight.export import Publication, export_bioimage, export_onnx, model_card
from spotlight.export.graph import Graph
from spotlight.export.onnx import check_file
from spotlight.images import Stack
from spotlight.model import (
    ChannelDescription,
    InputDescription,
    ModelDescription,
    TargetDescription,
    read_description,
    save_model,
)
from spotlight.networks import FNet, FNetSettings, Pix2PixGenerator, Pix2PixSettings
from spotlight.prediction import Model, PredictionSettings

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

FLOAT32 = PredictionSettings(precision="float32")
JANE = Publication(authors=("Jane Doe",), licence="CC-BY-4.0", name="A test model")


def untrained(
    dims: int, depth: int = 2, background: float | None = -0.5, channels: tuple[str, ...] = ("Phase",), **target: Any
) -> Model:
    """A model whose output depends on its input as a trained one's does, and is as large."""
    torch.manual_seed(dims)
    network = FNet(dims, depth, 4, init="torch", in_channels=len(channels)).eval()
    for module in network.modules():
        if isinstance(module, (torch.nn.BatchNorm2d, torch.nn.BatchNorm3d)):
            module.train()
    with torch.no_grad():
        for _ in range(30):
            network(torch.randn(4, len(channels), *[16] * dims))
        network.eval()
        network.head.weight *= 3
    settings = {"normalised_range": (-1.0, 4.0), "intensity_range": (100.0, 900.0), "threshold": 0.0} | target
    description = ModelDescription(
        network=FNetSettings(depth=depth, mult_chan=4),
        input=InputDescription(
            channel=channels[0],
            axes="ZYX" if dims == 3 else "YX",
            grid="native",
            further_channels=tuple(ChannelDescription(channel=name) for name in channels[1:]),
        ),
        target=TargetDescription(channel="DNA", center="mean", background=background, **settings),
    )
    return Model(description, network, f"untrained-{dims}d")


def picture(shape: tuple[int, ...], mean: float = 30_000, seed: int = 0) -> np.ndarray:
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=shape), 1.5)
    return np.round(mean + 40 * noise / noise.std()).astype(np.float32)


def run(path: Path, image: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (stain,) = session.run(["stain"], {"image": image})
    return np.asarray(stain)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Model, Path]:
    """A two-dimensional model and its file."""
    model = untrained(2)
    return model, export_onnx(model, tmp_path_factory.mktemp("export") / "model.onnx")


@pytest.mark.parametrize(("dims", "depth"), [(2, 2), (3, 1)])
@pytest.mark.slow
def test_the_file_gives_the_stain_of_predict(dims: int, depth: int, tmp_path: Path) -> None:
    model = untrained(dims, depth).flattened()  # above the threshold a stain is what it is without
    path = export_onnx(model, tmp_path / "new" / "model.onnx")
    for shape in [(4, 24, 60)[-dims:], (20, 36, 28)[-dims:]]:
        image = picture(shape)  # bright beside its spread, where float32 sums lose digits
        wanted = model.predict(image, settings=FLOAT32).data
        found = run(path, image[None, None])[0, 0]
        free = model.predict(image, normalised=True, flatten=False, settings=FLOAT32).data
        sure = np.abs(free) > 1e-4  # at the threshold either side is right
        assert wanted.std() > 20
        assert np.abs(found - wanted)[sure].max() < 1e-4 * 160  # 160 grey levels are a standard deviation of the target
        assert 0.02 < np.mean(found == found.min()) < 0.98
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.slow
def test_every_input_channel_is_normalised_by_itself(tmp_path: Path) -> None:
    model = untrained(2, 1, channels=("Brightfield", "Phase"))
    path = export_onnx(model, tmp_path / "model.onnx")
    image = np.stack([picture((24, 60)), picture((24, 60), 900, seed=1)])
    wanted = model.predict(image, settings=FLOAT32).data
    assert np.abs(run(path, image[None])[0, 0] - wanted).max() < 1e-4 * 160
    assert np.abs(run(path, image[None, ::-1].copy())[0, 0] - wanted).max() > 20
    facts = metadata(path)
    assert facts["input_channel"] == "Brightfield, Phase"
    assert "a channel per name, in the order of input_channel" in facts["input"]
    card = model_card(model.description, "model")
    assert "DNA from Brightfield and Phase" in card
    assert "| input channels, in order | Brightfield, Phase |" in card
    assert "trained only on 'Brightfield' and 'Phase'" in card


@pytest.mark.slow
def test_every_image_of_a_batch_is_normalised_by_itself(written: tuple[Model, Path]) -> None:
    _, path = written
    images = np.stack([picture((24, 32), mean, seed) for seed, mean in enumerate((100, 5000))])[:, None]
    both = run(path, images)
    for image, stain in zip(images, both, strict=True):
        np.testing.assert_allclose(stain, run(path, image[None])[0], rtol=1e-5)
    np.testing.assert_allclose(run(path, images * 3 + 7), both, rtol=1e-3)
    assert np.isnan(run(path, np.full((1, 1, 24, 32), 5, np.float32))).all()


@pytest.mark.slow
def test_tiles_of_a_bare_network_are_exact_beyond_its_reach(tmp_path: Path) -> None:
    model = untrained(2, depth=1).flattened()
    path = export_onnx(model, tmp_path / "model.onnx", bare=True)
    image = np.random.default_rng(0).standard_normal((1, 1, 64, 64), np.float32)
    whole, reach = run(path, image), model.networks[0].reach
    tile = run(path, image[..., 16:48, 16:48])
    inner = slice(reach, -reach)
    np.testing.assert_allclose(tile[..., inner, inner], whole[..., 16:48, 16:48][..., inner, inner], atol=1e-5)
    with torch.inference_mode():
        np.testing.assert_allclose(whole, model.networks[0](torch.from_numpy(image)), atol=1e-5)


@pytest.mark.parametrize(("depth", "block"), [(1, "plain"), (2, "plain"), (2, "residual")])
def test_reach_is_that_of_the_gradient(depth: int, block: Any) -> None:
    network = FNet(2, depth, 1, block=block).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.fill_(1.0)  # nothing cancels
    size, divisor = 32 * network.divisor, network.divisor
    reached = 0
    for place in range(size // 2, size // 2 + divisor):
        image = torch.ones(1, 1, divisor * 2, size, requires_grad=True)
        network(image)[0, 0, 0, place].backward()
        (columns,) = np.nonzero(image.grad[0, 0].abs().sum(0).numpy())
        reached = max(reached, place - columns.min(), columns.max() - place)
    assert reached == network.reach


def test_the_published_network_reaches_as_far_as_measured() -> None:
    assert FNet(2, 4, 1).reach == 108  # 93 by convolutions, and up to 15 by the block that a voxel lies in


@pytest.mark.slow
def test_the_file_says_what_it_takes(written: tuple[Model, Path]) -> None:
    _, path = written
    file = onnx.load(path)
    onnx.checker.check_model(file)
    said = {entry.key: entry.value for entry in file.metadata_props}
    assert (said["axes"], said["divisor"], said["voxel_size_um"]) == ("batch, channel, y, x", "4", "unknown")
    assert (said["input_channel"], said["target_channel"], said["model"]) == ("Phase", "DNA", "untrained-2d")
    assert "whole stacks" in said["tiles"]
    with pytest.raises(Exception, match="mismatched dimensions"):
        run(path, np.zeros((1, 1, 7, 8), np.float32))


@pytest.mark.slow
def test_a_wrong_file_is_found(written: tuple[Model, Path]) -> None:
    _, path = written
    other = untrained(2)
    graph = Graph(other, normalise=True, flatten=False, intensities=True)
    assert check_file(graph, path, [(1, 1, 16, 16)]) < 1e-5
    with torch.no_grad():
        other.networks[0].head.bias += 1e-3
    with pytest.raises(SpotlightError, match="differs from torch by 0.001 standard deviations"):
        check_file(graph, path, [(1, 1, 16, 16)])


def test_what_cannot_be_exported_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unknown = untrained(2, background=None, flatten=True)
    with pytest.raises(SpotlightError, match="records no foreground threshold.*--no-flatten"):
        export_onnx(unknown, tmp_path / "model.onnx")
    monkeypatch.setattr("spotlight.export.onnx.MOST_BYTES", 1000)
    with pytest.raises(SpotlightError, match="an ONNX file holds at most 2 GB"):
        export_onnx(untrained(2), tmp_path / "model.onnx")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(SpotlightError, match=r"needs the package onnxruntime, .*\[export\]"):
        export_onnx(untrained(2), tmp_path / "model.onnx")
    monkeypatch.undo()
    monkeypatch.setitem(sys.modules, "bioimageio", None)
    with pytest.raises(SpotlightError, match=r"needs the package bioimageio.*\[bioimage\]"):
        export_bioimage(untrained(2), tmp_path / "model.zip", JANE)
    assert list(tmp_path.iterdir()) == []


def test_the_card_says_what_the_folder_holds(model_folder: Path) -> None:
    card = model_card(read_description(model_folder), "tiny")
    for fact in (
        "# tiny: DNA from Brightfield",
        "| train stacks | 2: field-00, field-01 |",
        "| validation stacks | 1: field-02 |",
        "steps 12, batch size 2",
        "0.29 x 0.29 x 0.29 µm",
        "| correlation on the foreground | 0.",
        "arxiv.org/abs/2507.05383",
        "doi.org/10.1038/s41592-018-0111-2",
    ):
        assert fact in card, fact


def test_the_card_invents_nothing() -> None:
    bare = ModelDescription(
        network=FNetSettings(),
        input=InputDescription(axes="ZYX", grid=0.29),
        target=TargetDescription(center="mean", normalised_range=(0, 1), intensity_range=(0, 1)),
        training={"imported": "model|p"},
    )
    card = model_card(bare, "old")
    assert "| input channel | not recorded |" in card
    assert "| train stacks | not recorded |" in card
    assert "a checkpoint of the original F-net code, model\\|p" in card
    assert "No validation scores are recorded." in card
    assert "voxel size of the training stacks is not recorded" in card


@pytest.mark.slow
def test_the_command_line_and_the_documents_example(
    model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def command(*arguments: str) -> Any:
        return CliRunner().invoke(app, ["export", "model", "--to", "exported", *arguments])

    monkeypatch.chdir(tmp_path)
    shutil.copytree(model_folder, "model")
    assert command("--format", "card").stdout.strip() == "exported/card.md"
    assert Path("exported/card.md").read_text(encoding="utf-8").startswith("# model: DNA from Brightfield")
    assert command("--flatten").stdout.strip() == "exported/model.onnx"

    image = picture((8, 19, 16))
    np.save("stack.npy", image.astype(np.uint16))
    document = Path(__file__).parents[2] / "docs" / "export.md"
    (code,) = re.findall(r"```python\n(.*?)```", document.read_text(encoding="utf-8"), re.DOTALL)
    names: dict[str, Any] = {}
    exec(code, names)
    stack = Stack(image[:, :16], "ZYX", (0.29,) * 3, ("Brightfield",))
    np.testing.assert_allclose(
        names["stain"][0, 0], load_model("model").flattened().predict(stack, settings=FLOAT32).data, rtol=1e-4
    )

    for arguments, message in (
        (("--author", "Jane Doe"), "--author does not apply to --format onnx"),
        (("--format", "card", "--bare"), "--bare does not apply to --format card"),
        (("--bare", "--no-flatten"), "mean nothing for a bare network"),
        (("--format", "bioimage", "--author", "Jane Doe"), "Give --author and --licence"),
    ):
        assert message in str(command(*arguments).exception)


def metadata(path: Path) -> dict[str, str]:
    return {entry.key: entry.value for entry in onnx.load(path).metadata_props}


@pytest.mark.slow
@pytest.mark.parametrize("flatten", [False, True])
def test_several_stains_are_channels_each_with_its_own_threshold_and_range(flatten: bool, tmp_path: Path) -> None:
    torch.manual_seed(4)
    network = warmed(FNet(2, 2, 4, 2, init="torch"))
    model = of_several_stains(network, FNetSettings(depth=2, mult_chan=4)).flattened(flatten)
    path = export_onnx(model, tmp_path / "model.onnx")
    image = picture((24, 60))
    wanted = model.predict(image, settings=FLOAT32)
    found = run(path, image[None, None])[0]
    free = model.predict(image, normalised=True, flatten=False, settings=FLOAT32).data
    assert wanted.channels == ("Nucleus (virtual)", "Actin (virtual)")
    for n, target in enumerate(model.description.targets):
        assert target.threshold is not None
        sure = np.abs(free[n] - target.threshold) > 1e-4
        unit = target.to_intensity(1.0) - target.to_intensity(0.0)
        assert np.abs(found[n] - wanted.data[n])[sure].max() < 1e-4 * unit
        flat = np.mean(found[n] == found[n].min())
        assert 0.02 < flat < 0.98 if flatten else flat < 0.01
    said = metadata(path)
    assert said["target_channel"] == "Nucleus, Actin"
    assert said["planes"] == "any one plane of a stack, alone"
    assert "a channel per stain" in said["output"]


@pytest.mark.slow
def test_only_the_stains_that_the_model_flattens_are_flattened(tmp_path: Path) -> None:
    torch.manual_seed(4)
    model = of_several_stains(warmed(FNet(2, 2, 4, 2, init="torch")), FNetSettings(depth=2, mult_chan=4))
    first = model.description.target.model_copy(update={"flatten": True})
    half = Model(model.description.model_copy(update={"target": first}), model.networks, "half")
    found = run(export_onnx(half, tmp_path / "model.onnx"), picture((24, 60))[None, None])[0]
    assert np.mean(found[0] == found[0].min()) > 0.02
    np.testing.assert_array_equal(
        found[1], run(export_onnx(model, tmp_path / "free.onnx"), picture((24, 60))[None, None])[0, 1]
    )


@pytest.mark.slow
def test_a_fixed_scale_is_in_the_file_instead_of_statistics(tmp_path: Path) -> None:
    torch.manual_seed(6)
    network = Pix2PixGenerator(4, 1, 2)
    model = of_several_stains(network, Pix2PixSettings(width=4, blocks=1), normalisation="uint16")
    path = export_onnx(model, tmp_path / "model.onnx")
    image = np.random.default_rng(0).integers(0, 65536, (40, 64)).astype(np.uint16)
    whole = FLOAT32.model_copy(update={"tile": (40, 64)})
    wanted = model.predict(image, settings=whole).data
    found = run(path, image[None, None].astype(np.float32))[0]
    assert wanted.std(axis=(1, 2)).min() > 100
    np.testing.assert_allclose(found, wanted, atol=1.0)  # grey levels of 65536
    dark = image // 4  # which statistics of its own would make the same image
    np.testing.assert_allclose(
        run(path, dark[None, None].astype(np.float32))[0], model.predict(dark, settings=whole).data, atol=1.0
    )
    said = metadata(path)
    assert "0 to 65535 become -1 to 1 inside" in said["input"]
    assert "depends on its whole tile" in said["tiles"]
    bare = export_onnx(model, tmp_path / "bare.onnx", bare=True)
    scaled = image[None, None].astype(np.float32) / 32767.5 - 1
    np.testing.assert_allclose((run(bare, scaled)[0] + 1) * 32767.5, wanted, atol=1.0)
    assert "halves of the 16-bit range" in metadata(bare)["output"]


@pytest.mark.slow
def test_a_file_is_for_one_modality(tmp_path: Path) -> None:
    told = told_modality()
    with pytest.raises(SpotlightError, match=r"needs the modality \(brightfield, phase\).*--modality"):
        export_onnx(told, tmp_path / "model.onnx")
    image = picture((24, 60))
    stains = []
    for modality in ("brightfield", "phase"):
        path = export_onnx(told.for_modality(modality), tmp_path / f"{modality}.onnx")
        stains.append(run(path, image[None, None])[0])
        wanted = told.predict(image, modality=modality, settings=FLOAT32).data
        np.testing.assert_allclose(stains[-1], wanted, atol=1e-4 * 160)
        assert metadata(path)["modality"] == modality
    assert np.abs(stains[0] - stains[1]).max() > 10
    with pytest.raises(SpotlightError, match="was trained on phase"):
        told.for_modality("phase").for_modality("brightfield")


@pytest.mark.slow
def test_the_command_line_chooses_the_modality(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = told_modality()

    def command(*arguments: str) -> Any:
        return CliRunner().invoke(app, ["export", *arguments, "--to", "exported"])

    monkeypatch.chdir(tmp_path)
    save_model("model", told.description, told.networks[0])
    assert command("model", "--modality", "PC").stdout.strip() == "exported/model-phase.onnx"
    assert "needs the modality" in str(command("model").exception)
    assert "was trained on brightfield, phase" in str(command("model", "--modality", "dic").exception)
    assert "does not apply to a card" in str(command("model", "--modality", "PC", "--format", "card").exception)
    alone = untrained(2).description.model_copy(update={"input": told.description.input})
    for modality in ("brightfield", "phase"):
        save_model(f"models/{modality}", alone, untrained(2).networks[0])
    assert command("models", "--modality", "phase").stdout.strip() == "exported/models-phase.onnx"
    assert "needs the modality" in str(command("models").exception)


def test_a_package_of_the_model_zoo_has_one_stain_and_no_fixed_scale(tmp_path: Path) -> None:
    model = of_several_stains(Pix2PixGenerator(4, 1, 2), Pix2PixSettings(width=4, blocks=1), normalisation="uint16")
    with pytest.raises(
        SpotlightError, match="has 2 stains and an input normalised by a fixed scale.*Write an ONNX file"
    ):
        export_bioimage(model, tmp_path / "model.zip", JANE)


def test_the_card_tells_of_all_stains_and_how_the_input_is_seen() -> None:
    told = told_modality()
    card = model_card(told.description, "told")
    for fact in (
        "# told: Nucleus and Actin from brightfield or phase",
        "| stained channels | Nucleus, Actin |",
        "| modalities | brightfield, phase; the network takes one of them as input |",
        "| planes | any one plane of a stack, alone |",
        "Nucleus 100 to 900; Actin 50 to 4000",
        "`--plane 12`",
        "`--modality brightfield`",
    ):
        assert fact in card, fact
    for absent in ("adversarial", "16-bit", "discriminator"):
        assert absent not in card, absent
    settings = {"adversarial": {"weight": 1.0, "kind": "bce"}, "balance": "stains"}
    scale = told.description.input.model_copy(update={"normalisation": "uint16"})
    card = model_card(
        told.description.model_copy(update={"training": {"settings": settings}, "input": scale}), "played"
    )
    for fact in (
        "| adversarial loss | a discriminator per stain: weight 1.0, kind bce |",
        "| input is normalised by | a fixed scale: 0 to 65535 become -1 to 1 |",
        "accepts only 16-bit images",
        "trained with a discriminator",
    ):
        assert fact in card, fact


def model_zoo() -> Any:
    """The packages of the Model Zoo; the test is skipped where they are absent or do not work."""
    spec = pytest.importorskip("bioimageio.spec")
    pytest.importorskip("bioimageio.core")
    if Version(pydantic.VERSION) >= Version("2.14") and Version(spec.__version__) < Version("0.5.14.3"):
        pytest.skip(f"bioimageio.spec {spec.__version__} does not work with pydantic {pydantic.VERSION}")
    return spec


def core_predict(spec: Any, package: Path, image: np.ndarray, blocks: dict[str, int] | None = None) -> np.ndarray:
    """Stain an image as a user of bioimageio.core does."""
    from bioimageio.core import create_prediction_pipeline
    from bioimageio.core.digest_spec import create_sample_for_model

    described = spec.load_description(package)
    assert isinstance(described, spec.model.v0_5.ModelDescr), described.validation_summary
    channels = described.inputs[0].axes[1].size
    assert isinstance(channels, int)
    whole = image[None] if channels > 1 else image[None, None]
    sample = create_sample_for_model(described, inputs={"transmitted_light": whole})
    with create_prediction_pipeline(described) as pipeline:
        if blocks is None:
            result = pipeline.predict_sample_without_blocking(sample)
        else:
            sizes = {("transmitted_light", axis): n for axis, n in blocks.items()}
            result = pipeline.predict_sample_with_blocking(sample, ns=sizes)
    return np.asarray(result.members["stain"].data)[0, 0]


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_the_model_zoos_library_gives_the_stain_of_predict(tmp_path: Path) -> None:
    spec = model_zoo()
    model = untrained(3, 1).flattened()
    cited = JANE.model_copy(update={"cite": ("Doe et al. 2026 10.1234/abc", "Doe 2027 https://example.org/doe")})
    package = export_bioimage(model, tmp_path / "model.zip", cited)
    image = picture((16, 32, 24), mean=1000)
    wanted = model.predict(image, settings=FLOAT32).data
    sure = np.abs(model.predict(image, normalised=True, flatten=False, settings=FLOAT32).data) > 1e-4
    assert np.abs(core_predict(spec, package, image) - wanted)[sure].max() < 1e-4 * 160
    described = spec.load_description(package)
    assert [author.name for author in described.authors] == ["Jane Doe"]
    assert described.license == "CC-BY-4.0"
    assert [str(entry.doi or entry.url) for entry in described.cite][2:] == ["10.1234/abc", "https://example.org/doe"]
    assert list(tmp_path.iterdir()) == [package]


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_the_model_zoos_library_takes_several_input_channels(tmp_path: Path) -> None:
    spec = model_zoo()
    model = untrained(2, 1, channels=("Brightfield", "Phase"))
    package = export_bioimage(model, tmp_path / "model.zip", JANE)
    image = np.stack([picture((32, 24), mean=1000), picture((32, 24), mean=9000, seed=1)])
    wanted = model.predict(image, settings=FLOAT32).data
    assert np.abs(core_predict(spec, package, image) - wanted).max() < 1e-4 * 160


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_with_a_halo_tiles_have_no_seams(tmp_path: Path) -> None:
    spec = model_zoo()
    model = untrained(2, 1, normalised_range=(0.0, 1.0), intensity_range=(0.0, 1.0))  # and needs no scaling
    package = export_bioimage(model, tmp_path / "model.zip", JANE, halo=True)
    image, reach = picture((48, 64), mean=1000), model.networks[0].reach
    tiled = core_predict(spec, package, image, {"y": 8, "x": 8})
    inner = (slice(reach, -reach), slice(reach, -reach))  # beyond the borders, at which other tools mirror
    np.testing.assert_allclose(tiled[inner], model.predict(image, settings=FLOAT32).data[inner], atol=1e-4)


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_what_the_specification_refuses_is_said(tmp_path: Path) -> None:
    model_zoo()
    wrong = JANE.model_copy(update={"licence": "mine", "name": "a/b: c"})
    with pytest.raises(SpotlightError, match=r"bioimageio.spec refuses.*name: .*license.* Correct name"):
        export_bioimage(untrained(2, 1), tmp_path / "model.zip", wrong)
    assert list(tmp_path.iterdir()) == []


def test_a_citation_needs_a_link_and_a_package_an_author() -> None:
    with pytest.raises(SpotlightError, match="'Doe et al. 2026' does not end with a DOI"):
        Publication.parse({"authors": ["Jane Doe"], "licence": "MIT", "cite": ["Doe et al. 2026"]}, "here")
    with pytest.raises(SpotlightError, match="authors"):
        Publication.parse({"authors": [], "licence": "MIT"}, "here")
