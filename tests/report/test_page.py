"""The page in a browser: cuts, overlays, tables, on paper, without a script, and with names that break some pages."""

import base64
import io
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from small_evaluation import CENTERS, ODD, SHAPE, STACKS, images
from spotlight.images import Stack, read
from spotlight.report import write_report
from spotlight.report.pictures import display_range


def test_the_page_holds_everything_itself_and_escapes_names(report_folder: Path) -> None:
    html = (report_folder / "report.html").read_text(encoding="utf-8")
    assert not re.search(r'(?:src|href)="(?!data:|#)[^"]', html)
    assert "http://" not in html
    assert "https://" not in html
    assert "<title>A &lt;title&gt;</title>" in html
    assert "A remark &amp; more." in html
    assert "x&#39;s &lt;b&gt;$y$ &amp; 核" in html
    assert not re.search(r"<b>|<i>|<nothing>", html)
    data = json.loads(re.search(r'id="data">(.*?)</script>', html, re.S)[1])
    assert [stack["name"] for stack in data["stacks"]] == list(STACKS)
    assert html.index('id="verdicts"') < html.index('id="pictures"') < html.index('id="curves"')
    assert html.index('id="curves"') < html.index('id="tables"') < html.index('id="settings"')
    for text in ("torch: 2.6.0", "split: test", f"About {STACKS[0]}.", "labels of the manifest"):
        assert text in html
    assert all(alt or "outline" in tag for tag, alt in re.findall(r'(<img[^>]*?alt="([^"]*)")', html))


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no Chromium on this machine; the page is not tested in a browser")
    from playwright.sync_api import sync_playwright

    arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync", "--no-first-run"]
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=chromium, args=arguments)
        yield running
        running.close()


class Reader:
    """Someone with the page open, who notes every complaint and every request."""

    def __init__(self, browser: Any, folder: Path, width: int = 1280, **context: Any) -> None:
        self.context = browser.new_context(viewport={"width": width, "height": 900}, **context)
        self.page = self.context.new_page()
        self.requests: list[str] = []
        self.complaints: list[str] = []
        self.page.on("request", lambda r: self.requests.append(r.url))
        self.page.on("console", lambda m: self.complaints.append(m.text))
        self.page.on("pageerror", lambda e: self.complaints.append(str(e)))
        self.page.goto((folder / "report.html").as_uri())
        self.stack = self.page.locator("section.stack").first

    def __enter__(self) -> "Reader":
        return self

    def __exit__(self, *_: object) -> None:
        self.context.close()
        assert self.complaints == []
        assert [url for url in self.requests if not url.startswith(("file:", "data:"))] == []

    def ready(self) -> "Reader":
        self.page.wait_for_function("document.querySelectorAll('section.stack[data-ready]').length === 2")
        return self

    def view(self, name: str) -> Any:
        # The name may hold a quote, which a selector would not survive.
        return self.stack.locator("figure").nth(["input", "target", ODD, "spotlight"].index(name))

    def at(self, *cursor: int) -> None:
        """Wait until the cursor is there, ZYX."""
        text = ",".join(map(str, cursor))
        self.page.wait_for_function("t => document.querySelector('section.stack').dataset.at === t", arg=text)

    def show(self, mode: str) -> None:
        self.stack.locator(f"input[value={mode}]").check()
        self.page.wait_for_function(
            "new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done(1))))"
        )

    def pixels(self, name: str, cut: str, kind: str = "gray") -> np.ndarray:
        """What a canvas shows, (Y, X, RGBA)."""
        canvas = self.view(name).locator(f".panel.{cut} canvas.{kind}")
        # A copy is read, for reading slows a canvas down, of which the browser would complain.
        uri = canvas.evaluate(
            """c => {
              const copy = Object.assign(document.createElement("canvas"), { width: c.width, height: c.height });
              copy.getContext("2d", { willReadFrequently: true }).drawImage(c, 0, 0);
              return copy.toDataURL();
            }"""
        )
        return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))).convert("RGBA"))


def shades(name: str) -> np.ndarray:
    """What the page should show of an image, 0 to 255."""
    data = images()[name]
    low, high = display_range(data.astype(np.float32) if name == "input" else images()["target"].astype(np.float32))
    return np.clip((data - low) / (high - low), 0, 1) * 255


def cuts(volume: np.ndarray, cursor: tuple[int, int, int]) -> dict[str, np.ndarray]:
    z, y, x = cursor
    return {"xy": volume[z], "xz": volume[:, y], "yz": volume[:, :, x].T}


def test_cursor_slider_and_keys_move_the_cuts_of_all_views(browser: Any, report_folder: Path) -> None:
    with Reader(browser, report_folder).ready() as reader:
        slider = reader.stack.locator("input[type=range]")
        slider.fill("3")
        reader.at(3, 12, 12)
        assert reader.stack.locator("output.plane").text_content() == "4"
        slider.focus()
        reader.page.keyboard.press("ArrowRight")
        reader.at(4, 12, 12)

        panel = reader.view("spotlight").locator(".panel.xy")
        box = panel.bounding_box()
        where = {"x": box["width"] * 30.5 / SHAPE[2], "y": box["height"] * 20.5 / SHAPE[1]}
        panel.click(position=where)
        reader.at(4, 20, 30)
        for name in ("input", "target", ODD, "spotlight"):
            for cut, expected in cuts(shades(name), (4, 20, 30)).items():
                shown = reader.pixels(name, cut)[..., 0].astype(float)
                assert np.abs(shown - expected).mean() < 2, (name, cut)

        # A drag through a cut moves the cursor in depth, in every view.
        cut = reader.view("target").locator(".panel.xz")
        box = cut.bounding_box()
        reader.page.mouse.move(box["x"] + 3, box["y"] + 3)
        reader.page.mouse.down()
        reader.page.mouse.move(box["x"] + box["width"] * 10.5 / SHAPE[2], box["y"] + box["height"] * 11.5 / SHAPE[0])
        reader.page.mouse.up()
        reader.at(11, 20, 10)
        assert slider.input_value() == "11"
        lines = reader.stack.locator(".panel.yz .line.across")
        assert lines.count() == 4
        tops = lines.evaluate_all(
            "all => all.map(l => parseFloat(getComputedStyle(l).top) / l.parentNode.clientHeight)"
        )
        assert tops == pytest.approx([20.5 / SHAPE[1]] * 4, abs=0.01)

        reader.view(ODD).locator(".ortho").focus()
        for key in ("ArrowLeft", "ArrowUp", "PageDown", "Shift+ArrowRight", "PageUp", "PageUp"):
            reader.page.keyboard.press(key)
        reader.at(10, 19, 19)
        reader.page.keyboard.press("Shift+PageUp")
        reader.page.keyboard.press("PageUp")  # there is no plane above the first
        reader.at(0, 19, 19)
        assert reader.stack.locator(".where").text_content() == "x 4.9 µm, y 4.9 µm, z 0.3 µm"
        # The other stack has a cursor of its own.
        assert reader.page.locator("section.stack").nth(1).get_attribute("data-at") == "8,12,12"


def near(pixels: np.ndarray, color: tuple[int, int, int]) -> np.ndarray:
    return (np.abs(pixels[..., :3].astype(int) - color).max(-1) <= 1) & (pixels[..., 3] == 255)


def test_outlines_matches_and_errors(browser: Any, report_folder: Path) -> None:
    orange, blue, pink, own = (0xE6, 0x9F, 0x00), (0x56, 0xB4, 0xE9), (0xCC, 0x79, 0xA7), (0x00, 0x72, 0xB2)
    with Reader(browser, report_folder).ready() as reader:
        reader.stack.locator("input[type=range]").fill("8")
        reader.at(8, 12, 12)

        overlay = reader.pixels(ODD, "xy", "overlay")
        assert near(overlay, own).sum() > 100
        # Nothing but outlines: the middle of the nucleus under the cursor is free, and so is what lies outside.
        y, x = (round(overlay.shape[a] * (12.5 / SHAPE[a + 1])) for a in (0, 1))
        assert overlay[y, x, 3] == 0
        assert near(reader.pixels("target", "xz", "overlay"), orange).sum() > 20
        assert not reader.pixels("input", "xy", "overlay").any()

        reader.show("matches")
        overlay = reader.pixels(ODD, "xy", "overlay")
        half = overlay.shape[0] // 2, overlay.shape[1] // 2
        quarters = {
            "matched": overlay[: half[0], : half[1]],
            "missed": overlay[half[0] :, : half[1]],
            "extra": overlay[half[0] :, half[1] :],
        }
        assert near(quarters["matched"], blue).any()
        assert near(quarters["matched"], orange).any()
        assert not near(quarters["matched"], pink).any()
        assert near(quarters["extra"], pink).any()
        assert not near(quarters["extra"], blue).any()
        assert near(quarters["missed"], orange).any()
        assert not near(quarters["missed"], blue).any()
        assert not near(reader.pixels("spotlight", "xy", "overlay"), pink).any()
        assert reader.stack.locator(".legend:visible").get_attribute("data-for") == "matches"

        said = reader.view(ODD).locator(".at")
        assert said.text_content() == "found nucleus 2 matches true nucleus 1: volume −10\u00a0%, elongation +50\u00a0%"
        show = "at => document.querySelector('section.stack').dispatchEvent(new CustomEvent('show', {detail: at}))"
        reader.page.evaluate(show, [8, 32, 14])
        reader.at(8, 32, 14)
        assert said.text_content() == "true nucleus 3 was not found"
        reader.page.evaluate(show, [8, 32, 40])
        reader.at(8, 32, 40)
        assert said.text_content() == "found nucleus 1 matches no true nucleus"

        reader.show("error")
        for cut, expected in cuts(127.5 + (shades(ODD) - shades("target")) / 2, (8, 32, 40)).items():
            assert np.abs(reader.pixels(ODD, cut)[..., 0] - expected).mean() < 2
        filters = reader.view(ODD).locator(".xy canvas.gray").evaluate("c => getComputedStyle(c).filter")
        assert filters == 'url("#diverging")'
        assert "error" not in reader.view("target").locator(".xy canvas.gray").get_attribute("class")

        reader.show("nothing")
        assert not reader.pixels(ODD, "xy", "overlay").any()
        reader.stack.locator("input[name=cursor]").uncheck()
        assert reader.stack.locator(".line:visible").count() == 0


def test_pictures_can_be_enlarged(browser: Any, report_folder: Path) -> None:
    with Reader(browser, report_folder).ready() as reader:
        before = reader.pixels("target", "xy", "overlay").shape[1]
        reader.stack.locator("input[name=large]").check()
        reader.page.wait_for_function(
            "before => document.querySelector('.panel canvas.overlay').width > 1.5 * before", arg=before
        )
        assert reader.pixels("target", "xz", "overlay").any()


def test_stacks_turn_by_slider_keys_drag_and_click(browser: Any, report_folder: Path) -> None:
    with Reader(browser, report_folder).ready() as reader:
        part = reader.page.locator(".turning").first
        slider, said, button = part.locator("input"), part.locator("output"), part.locator("button")
        assert part.locator("figcaption").all_text_contents() == ["target", ODD, "spotlight"]

        def shown(name: str) -> np.ndarray:
            picture = part.locator(".turn").nth(["target", ODD, "spotlight"].index(name)).screenshot()
            return np.asarray(Image.open(io.BytesIO(picture)).convert("L"), float)

        # From the front the target is brighter on the right, from behind on the left.
        front = shown("target")
        wide = front.shape[1]
        assert front[:, wide // 2 :].mean() > front[:, : wide // 2].mean() + 20
        assert shown(ODD).mean() > front.mean() + 20
        slider.fill("18")
        assert said.text_content() == "180°"
        assert np.abs(shown("target") - front[:, ::-1]).mean() < 3
        slider.fill("9")  # from the side, which is narrower: 8 µm deep, 13 µm wide
        assert (shown("target") < 9).mean() > (front < 9).mean() + 0.2

        pictures = part.locator(".turns")
        pictures.focus()
        reader.page.keyboard.press("ArrowLeft")
        assert said.text_content() == "80°"
        reader.page.keyboard.press("Shift+ArrowLeft")
        assert said.text_content() == "350°"
        box = part.locator(".turn").first.bounding_box()
        reader.page.mouse.move(box["x"] + 5, box["y"] + 5)
        reader.page.mouse.down()
        reader.page.mouse.move(box["x"] + 5 + box["width"] / 2, box["y"] + 5)
        reader.page.mouse.up()
        assert said.text_content() == "80°"
        assert button.text_content() == "turn"  # a drag does not start it

        part.locator(".turn").first.click()
        assert button.text_content() == "stop"
        reader.page.wait_for_function("document.querySelector('.turning output').textContent === '120°'")
        button.click()
        assert button.text_content() == "turn"


def test_stacks_do_not_turn_by_themselves_where_motion_is_unwanted(browser: Any, report_folder: Path) -> None:
    with Reader(browser, report_folder, reduced_motion="reduce").ready() as reader:
        part = reader.page.locator(".turning").first
        assert not part.locator("button").is_visible()
        part.locator(".turn").first.click()
        part.locator(".turns").focus()
        reader.page.keyboard.press(" ")
        reader.page.wait_for_timeout(400)
        assert part.locator("output").text_content() == "0°"
        reader.page.keyboard.press("ArrowRight")
        assert part.locator("output").text_content() == "10°"


def test_planes_without_matches(browser: Any, report_folder: Path, tmp_path: Path) -> None:
    for path in report_folder.rglob("*.ome.tif"):
        plane = read(path).data[8]
        # One method finds nothing at all.
        Stack(plane * (path.parts[-3:-1] != ("labels", "spotlight")), "YX").save(
            tmp_path / path.relative_to(report_folder)
        )
    for name in ("evaluation.yaml", "scores.csv"):
        shutil.copy(report_folder / name, tmp_path)
    (tmp_path / "nuclei.csv").write_text("stack,method,true_label,label\n")
    write_report(tmp_path)
    with Reader(browser, tmp_path).ready() as reader:
        assert reader.stack.locator("input[type=radio]").evaluate_all("all => all.map(i => i.value)") == [
            *("outlines", "error", "composite", "nothing")
        ]
        assert reader.page.locator("input[type=range], .panel.xz, .turning").count() == 0
        reader.view("target").locator(".ortho").focus()
        reader.page.keyboard.press("ArrowRight")
        reader.at(0, 12, 13)
        assert reader.stack.locator(".where").text_content() == "x 13 px, y 12 px"
        expected = shades("input")[8]
        shown = reader.pixels("input", "xy")[..., 0]
        assert np.corrcoef(shown.ravel(), expected.ravel())[0, 1] > 0.99
        assert not reader.pixels("spotlight", "xy", "overlay").any()
        assert reader.pixels(ODD, "xy", "overlay").any()


def test_the_error_map_is_blue_where_the_stain_is_darker(browser: Any, report_folder: Path) -> None:
    with Reader(browser, report_folder).ready() as reader:
        reader.show("error")
        reader.stack.locator("input[name=cursor]").uncheck()
        for name, redder in ((ODD, True), ("spotlight", False)):
            shot = reader.view(name).locator(".panel.xy").screenshot()
            red, _, blue = np.asarray(Image.open(io.BytesIO(shot)).convert("RGB")).reshape(-1, 3).mean(0)
            assert (red > blue + 20) == redder
            assert (blue > red + 20) != redder


def test_tables_are_sorted_and_nuclei_found(browser: Any, report_folder: Path) -> None:
    with Reader(browser, report_folder).ready() as reader:
        page = reader.page
        page.locator("details").evaluate_all("all => all.forEach(d => { d.open = true; })")
        resolution = page.locator("details", has_text="Every stack: resolution")
        cells = resolution.locator("tbody td:nth-child(3)")
        head = resolution.locator("th", has_text="FSC, Z")
        head.locator("button").click()
        assert cells.all_text_contents() == ["0.20", "0.50", "0.90", "–", "–", "–"]
        assert head.get_attribute("aria-sort") == "ascending"
        head.locator("button").focus()
        page.keyboard.press("Enter")
        assert cells.all_text_contents() == ["0.90", "0.50", "0.20", "–", "–", "–"]
        resolution.locator("th", has_text="stack").locator("button").click()
        assert resolution.locator("tbody td:first-child").all_text_contents() == [STACKS[0]] * 3 + [STACKS[1]] * 3
        assert head.get_attribute("aria-sort") is None

        nuclei = page.locator("details", has_text="Matched nuclei")
        nuclei.locator("th", has_text="volume error").locator("button").click()
        errors = nuclei.locator("tbody td:nth-child(6)").all_text_contents()
        assert errors == ["-10.0%"] * 12 + ["+20.0%"] * 4
        row = nuclei.locator("tbody tr").filter(has_text=STACKS[0]).filter(has_text="target").last
        assert row.locator("td").nth(2).text_content() == "1"
        row.locator("button").click()
        reader.at(*CENTERS[0])


@pytest.mark.parametrize("width", [1280, 768, 390])
def test_nothing_sticks_out_of_the_page(browser: Any, report_folder: Path, width: int) -> None:
    with Reader(browser, report_folder, width, color_scheme="dark" if width == 768 else "light").ready() as reader:
        page = reader.page
        page.locator("details").evaluate_all("all => all.forEach(d => { d.open = true; })")
        assert page.title() == "A <title>"
        assert page.locator("h1").text_content() == "A <title>"
        # Tables of many methods are wider than a phone and scroll by themselves.
        head = page.locator("table#scores thead tr th").last
        head.evaluate("cell => { for (let n = 0; n < 6; n++) cell.after(cell.cloneNode(true)); }")
        row = page.locator("table#scores tbody tr:has(.spoken) td").last
        row.evaluate("cell => { for (let n = 0; n < 6; n++) cell.before(cell.cloneNode(true)); }")
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        broken = "all => all.filter(i => !i.complete || !i.naturalWidth).length"
        assert page.locator("img").evaluate_all(broken) == 0
        assert page.locator("table#scores tr.group").all_text_contents() == [
            *("Instances", "Size and shape of nuclei", "Pixels on everything", "Resolution", "Other")
        ]


def test_on_paper_everything_is_open_but_the_controls(browser: Any, report_folder: Path) -> None:
    with Reader(browser, report_folder, color_scheme="dark").ready() as reader:
        page = reader.page
        settings = page.locator("#settings pre").first
        assert not settings.is_visible()
        page.evaluate("window.addEventListener('beforeprint', () => setTimeout(() => { document.title = 'printed'; }))")
        assert page.pdf(format="A4").startswith(b"%PDF")
        page.emulate_media(media="print")
        page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
        assert settings.is_visible()
        assert not reader.stack.locator(".controls").is_visible()
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
        page.evaluate("window.dispatchEvent(new Event('afterprint'))")
        page.emulate_media(media="screen")
        assert not settings.is_visible()
        assert page.title() == "printed"


def test_without_a_script_the_middle_is_shown(browser: Any, report_folder: Path) -> None:
    with Reader(browser, report_folder, java_script_enabled=False) as reader:
        panels = reader.stack.locator("figure").nth(1).locator(".panel img:visible")
        assert panels.count() == 6  # three cuts and their outlines
        assert not reader.stack.locator(".controls").is_visible()
        assert reader.stack.locator(".legend:visible").count() == 1
        name = f"target of {STACKS[0]}, XZ plane through the cursor"
        assert reader.page.get_by_alt_text(name, exact=True).count() == 1
