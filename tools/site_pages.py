"""Hook of mkdocs: pages and files of the repository that lie outside of `docs/` become part of the site."""

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
PAGES = {"CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changes.md"}
OWN = {**PAGES, "README.md": "index.md"}
LINK = re.compile(r"\[(?P<label>[^\]]*)\]\((?P<file>[^)#:\s]+)(?P<anchor>#[^)\s]*)?\)")


def on_files(files: Files, config: Any) -> Files:
    """Add the changes, how to contribute, and every file that a document links to, which becomes text."""
    for name, page in PAGES.items():
        text = LINK.sub(_from_root, (ROOT / name).read_text(encoding="utf-8"))
        files.append(File.generated(config, page, content=text))
    for file in list(files.documentation_pages()):
        for match in LINK.finditer(file.content_string):
            source = _outside(file.src_uri, match["file"])
            if source and source not in OWN and (ROOT / source).is_file():
                address = f"{source}.txt"
                if files.get_file_from_path(address) is None:
                    files.append(File.generated(config, address, abs_src_path=str(ROOT / source)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Lead links out of `docs/` to what `on_files` has added; of those to folders only the words stay."""

    def inside(match: re.Match[str]) -> str:
        source = _outside(page.file.src_uri, match["file"])
        if not source:
            return match[0]
        if (ROOT / source).is_dir():
            return match["label"]
        up = "../" * page.file.src_uri.count("/")
        return f"[{match['label']}]({up}{OWN.get(source, f'{source}.txt')}{match['anchor'] or ''})"

    return LINK.sub(inside, markdown)


def _outside(page: str, link: str) -> str:
    """Path from the repository's root of a file outside of `docs/` that a page links to; empty if it is inside."""
    target = (ROOT / "docs" / page).parent.joinpath(link).resolve()
    return "" if target.is_relative_to(ROOT / "docs") else target.relative_to(ROOT).as_posix()


def _from_root(match: re.Match[str]) -> str:
    """A link of a page in the repository's root, seen from `docs/`."""
    file = match["file"].removeprefix("docs/") if match["file"].startswith("docs/") else f"../{match['file']}"
    return f"[{match['label']}]({file}{match['anchor'] or ''})"


def on_post_page(output: str, page: Any, **_: Any) -> str:
    """Take the script that lets pages opened as files be searched from the site itself, not from an address."""
    up = "../" * page.file.src_uri.count("/")
    return output.replace("https://unpkg.com/iframe-worker/shim", f"{up}offline-search.js")


def on_post_template(output_content: str, template_name: str, **_: Any) -> str:
    """Do the same to the page of missing pages, whose addresses begin at the root."""
    return output_content.replace("https://unpkg.com/iframe-worker/shim", "/offline-search.js")
