"""Containers, the conda recipe and workflows name what there is; the wheel and the sdist hold what they should."""

import email
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml

from spotlight.version import __version__
from test_documents import found_command

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "deploy"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
CONDA = {"torch": "pytorch", "matplotlib": "matplotlib-base"}
"""Packages that conda-forge calls otherwise."""


def words_of(line: str) -> list[str]:
    """Words of a command of a workflow: each placeholder is a word, and such as stand for options are left out."""
    line = re.sub(r"\$?\{[\w.]*options\}", "", line)
    return re.sub(r"\$?\{[^}]*\}", "x", line).split()


@pytest.mark.parametrize("file", ["nextflow/main.nf", "snakemake/Snakefile"])
def test_workflows_call_commands_that_exist(file: str) -> None:
    text = (DEPLOY / file).read_text(encoding="utf-8")
    lines = re.findall(r"^\s*\"?spotlight ((?:predict|segment) [^\"\n]+)", text, re.MULTILINE)
    assert len(lines) == 2
    for line in lines:
        command, name, arguments = found_command(words_of(line))
        command.make_context(name, arguments)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("snakemake") is None, reason="needs snakemake")
def test_snakemake_stains_and_measures(manifest: Path, model_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "plate").mkdir()
    shutil.copy(manifest.parent / "field-03.ome.tif", tmp_path / "plate" / "a well.ome.tif")
    python = str(Path(sys.executable).parent)
    subprocess.run(
        [
            *("snakemake", "--snakefile", DEPLOY / "snakemake" / "Snakefile", "--cores", "1", "--resources", "gpu=1"),
            *("--config", f"model={model_folder}", "images=plate/{name}.ome.tif", "predict_options=--channel 0"),
        ],
        cwd=tmp_path,
        check=True,
        env=os.environ | {"PATH": f"{python}{os.pathsep}{os.environ['PATH']}"},
    )
    results = {str(path.relative_to(tmp_path / "results")) for path in (tmp_path / "results").rglob("*.*")}
    assert {"stains/a well-stain.ome.tif", "nuclei/a well-stain-nuclei.csv"} <= results


def test_containers_copy_what_there_is() -> None:
    docker = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
    apptainer = (DEPLOY / "spotlight.def").read_text(encoding="utf-8")
    copied = [words.split()[:-1] for words in re.findall(r"^COPY (.+)$", docker, re.MULTILINE)]
    files = {name for names in copied for name in names}
    assert files == set(re.findall(r"^    (\S+) /build/\S+$", apptainer, re.MULTILINE))
    assert all((ROOT / name).exists() for name in files)
    kept = (DEPLOY / "Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
    assert files == {line[1:] for line in kept if line.startswith("!")}
    for text in (docker, apptainer):
        (extras,) = re.findall(r"extras=(\S+)", text, re.IGNORECASE)
        assert set(extras.split(",")) <= set(PROJECT["optional-dependencies"])


def test_the_conda_recipe_is_that_of_the_package() -> None:
    recipe = yaml.safe_load((DEPLOY / "conda" / "recipe.yaml").read_text(encoding="utf-8"))
    assert recipe["context"]["version"] == __version__
    wanted = [re.fullmatch(r"([\w-]+)(.*)", line) for line in PROJECT["dependencies"]]
    run = [f"{CONDA.get(found[1], found[1])} {found[2]}" for found in wanted if found]
    assert recipe["requirements"]["run"] == [f"python {PROJECT['requires-python']}", *run]
    assert recipe["about"]["license"] == PROJECT["license"]


@pytest.mark.slow
def test_wheel_and_sdist_hold_the_package_and_its_description(tmp_path: Path) -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("git says what belongs to the package, and this is no clone")
    listed = subprocess.run(["git", "-C", ROOT, "ls-files"], capture_output=True, text=True, check=True).stdout
    tracked = {name for name in listed.splitlines() if (ROOT / name).is_file()}
    build = (
        "import sys, hatchling.build as b; "
        "print(b.build_sdist(sys.argv[1]) if sys.argv[2] == 'sdist' else b.build_wheel(sys.argv[1]))"
    )
    for kind in ("sdist", "wheel"):
        subprocess.run([sys.executable, "-c", build, tmp_path, kind], cwd=ROOT, check=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as opened:
        names = set(opened.namelist())
        (metadata,) = (name for name in names if name.endswith(".dist-info/METADATA"))
        message = email.message_from_bytes(opened.read(metadata))
    sources = {name.removeprefix("src/") for name in tracked if name.startswith("src/")}
    assert {name for name in names if ".dist-info/" not in name} == sources
    assert "spotlight/py.typed" in names
    assert message["Name"] == PROJECT["name"]
    assert message["Version"] == __version__
    assert message["Description-Content-Type"] == "text/markdown"
    assert message["License-Expression"] == PROJECT["license"]
    (sdist,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(sdist) as opened:
        held = {name.partition("/")[2] for name in opened.getnames()}
    assert {f"src/{name}" for name in sources} | {"README.md", "LICENSE", "pyproject.toml", "CHANGELOG.md"} <= held
    assert {name.split("/")[0] for name in held} <= {name.split("/")[0] for name in tracked} | {"", "PKG-INFO"}
