"""The Korean pages say what the English ones do: the same headings in order, the same commands and links."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAIRS = [("README.md", "README.ko.md"), ("docs/index.md", "docs/index.ko.md")]


def headings(text: str) -> list[str]:
    outside = re.sub(r"```.*?```", "", text, flags=re.S)
    return re.findall(r"^#+ .*$", outside, flags=re.M)


def commands(text: str) -> set[str]:
    """Lines of code blocks, and what stands in code within a sentence."""
    blocks = re.findall(r"```\w*\n(.*?)```", text, flags=re.S)
    lines = {line.strip() for block in blocks for line in block.splitlines() if line.strip()}
    outside = re.sub(r"```.*?```", "", text, flags=re.S)
    return lines | set(re.findall(r"`([^`]+)`", outside))


def links(text: str) -> set[str]:
    return set(re.findall(r"\]\(([^)]+)\)", text))


def missing(english: str, korean: str) -> list[str]:
    """Return what one page has and the other lacks, by name."""
    found = []
    theirs = [headings(page) for page in (english, korean)]
    for one, other in zip(*theirs, strict=False):
        if one.split(" ")[0] != other.split(" ")[0]:
            found.append(f"heading {one!r} stands beside {other!r}")
    found += [f"heading {one!r} has no counterpart" for one in theirs[0][len(theirs[1]) :]]
    found += [f"heading {one!r} has no counterpart" for one in theirs[1][len(theirs[0]) :]]
    for name, parts in (("command", commands), ("link", links)):
        ours, its = parts(english), parts(korean)
        found += [f"{name} {one!r} is missing in Korean" for one in sorted(ours - its)]
        found += [f"{name} {one!r} is missing in English" for one in sorted(its - ours)]
    return found


@pytest.mark.parametrize(("english", "korean"), PAIRS)
def test_the_korean_page_keeps_step(english: str, korean: str) -> None:
    ours, theirs = (
        re.sub(r"\((?:README|notebooks/01_rgm_fundamentals)(?:[._]ko)?\.(?:md|ipynb)\)", "()", text)
        .replace("README.ko.md", "")
        .replace("README.md", "")
        for text in ((ROOT / page).read_text(encoding="utf-8") for page in (english, korean))
    )
    assert missing(ours, theirs) == []


def test_what_is_missing_is_named() -> None:
    english = "# One\n\n## Two\n\n`rgm run`\n\n```\nmake demo\n```\n[x](a.md)"
    assert missing(english, english) == []
    found = missing(english, "# 하나\n\n`rgm run`\n[x](b.md)")
    assert "heading '## Two' has no counterpart" in found
    assert "command 'make demo' is missing in Korean" in found
    assert "link 'a.md' is missing in Korean" in found
    assert "link 'b.md' is missing in English" in found


@pytest.mark.parametrize("page", sorted(path.relative_to(ROOT) for path in ROOT.glob("*.md")))
def test_every_file_that_a_page_names_is_there(page: Path) -> None:
    for target in links((ROOT / page).read_text(encoding="utf-8")):
        if not target.startswith("http"):
            assert (ROOT / target.split("#")[0]).exists(), f"{page} links to {target}"
