"""What the README says runs, and what it links to exists."""

import re
import subprocess
import sys
from pathlib import Path

import yaml

from spotlight.comparison import Comparison
from spotlight.evaluation import EvaluationSettings

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_python_example_runs(tmp_path: Path) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", README, re.S)
    result = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert "Traceback" not in result.stderr
    assert "mean_ap" in result.stdout
    assert (tmp_path / "evaluation" / "report.html").exists()
    assert (tmp_path / "stain.ome.tif").exists()


def test_links_lead_somewhere() -> None:
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")]
    for page in pages:
        for link in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
            if not link.startswith("http"):
                assert (page.parent / link).exists(), f"{page.name}: {link}"


def test_commands_in_the_readme_exist() -> None:
    result = subprocess.run(
        [sys.executable, "-c", "from spotlight.cli import main; main()", "--help"], capture_output=True, text=True
    )
    for command in set(re.findall(r"spotlight (\w[\w-]*)", README)) - {"import"}:
        assert command in result.stdout


def test_the_settings_in_the_documents_are_valid() -> None:
    text = (ROOT / "docs" / "evaluation.md").read_text(encoding="utf-8")
    evaluation, comparison = (yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL))
    assert EvaluationSettings.parse(evaluation, "docs").thresholds == 7
    assert Comparison.parse(comparison, "docs").methods["no-dice"].change == {"loss": {"weight": 1.0}}
