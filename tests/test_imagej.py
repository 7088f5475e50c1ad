"""What ImageJ 1 makes of our TIFF files, without Bio-Formats; skipped where it, Java or Xvfb is not installed."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from spotlight import Stack

JAR = Path("/usr/share/java/ij.jar")
"""Where Debian's package imagej has it."""
MACRO = """
paths = split(getArgument(), "|");
for (n = 0; n < paths.length; n++) {
    open(paths[n]);
    getDimensions(width, height, channels, slices, frames);
    getVoxelSize(across, down, deep, unit);
    setSlice(nSlices);
    print(width, height, channels * slices * frames, d2s(across, 4), d2s(down, 4), unit, getPixel(3, 2));
    close();
}
"""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not JAR.exists() or shutil.which("java") is None or shutil.which("Xvfb") is None,
        reason="ImageJ, Java or Xvfb is not installed",
    ),
]


@pytest.fixture
def display(tmp_path: Path) -> Iterator[str]:
    """A screen that nobody sees: ImageJ 1 does not start without one."""
    ready, told = os.pipe()
    screen = subprocess.Popen(
        ["Xvfb", "-displayfd", str(told), "-screen", "0", "640x480x24"], pass_fds=[told], stderr=subprocess.DEVNULL
    )
    os.close(told)
    with os.fdopen(ready) as answer:
        yield f":{answer.readline().strip()}"
    screen.terminate()
    screen.wait()


def test_imagej_reads_values_pixel_size_and_unit(tmp_path: Path, display: str) -> None:
    values = np.random.default_rng(0).integers(0, 4000, (3, 2, 4, 30, 40))
    size = (2.0, 0.5, 0.25)
    stacks = {
        "stain": Stack(values.astype(np.float32), "TCZYX", size, ("DNA", "spread"), frame_interval=300.0),
        "camera": Stack(values[0, 0].astype(np.uint16), "ZYX", size),
        "labels": Stack(values[:, 0].astype(np.int32), "TZYX", size, labels=True),
    }
    files = [stack.save(tmp_path / f"{name}.ome.tif") for name, stack in stacks.items()]
    (tmp_path / "look.ijm").write_text(MACRO)
    command = ["java", "-cp", str(JAR), "ij.ImageJ", "-ijpath", str(tmp_path), "-batch", str(tmp_path / "look.ijm")]
    done = subprocess.run(
        [*command, "|".join(map(str, files))],
        env=os.environ | {"DISPLAY": display},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    lines = [line.split() for line in done.stdout.splitlines() if line.startswith("40 ")]
    assert len(lines) == len(stacks), done.stdout + done.stderr
    for (width, height, planes, across, down, unit, value), stack in zip(lines, stacks.values(), strict=True):
        assert (int(width), int(height), int(planes)) == (40, 30, int(np.prod(stack.shape[:-2])))
        assert (float(across), float(down)) == (0.25, 0.5)
        assert unit in ("µm", "um", "micron", "?m")
        assert float(value) == stack.data.reshape(-1, 30, 40)[-1, 2, 3]
