"""A hook of MkDocs: LaTeX in pages becomes MathML when the site is built, so that it needs no script and no network.

`pymdownx.arithmatex` (generic) marks what stands between dollars; each piece is converted here by `latex2mathml`.
"""

import html
import re

from latex2mathml.converter import convert
from mkdocs.exceptions import PluginError

_INLINE = re.compile(r'<span class="arithmatex">\\\((.*?)\\\)</span>', re.DOTALL)
_DISPLAY = re.compile(r'<div class="arithmatex">\\\[(.*?)\\\]</div>', re.DOTALL)
_FUNCTION = re.compile(r"(?<!<msub>)(<m([io])>(?:log|exp|max|min)</m\2>)(?!<mo[^>]*>&#x00028;)")


def to_mathml(latex: str, *, display: bool) -> str:
    """Return a formula as MathML; raise PluginError for a command that the converter does not know."""
    found = convert(latex.strip(), display="block" if display else "inline")
    if "\\" in found:
        raise PluginError(f"cannot typeset {latex.strip()!r}: it holds a command that latex2mathml does not know")
    return _FUNCTION.sub(r'\1<mspace width="0.167em"/>', found)


def on_page_content(content: str, **_: object) -> str:
    """Replace the formulas of a page; wide ones scroll within their own box."""
    content = _INLINE.sub(lambda found: to_mathml(html.unescape(found[1]), display=False), content)
    return _DISPLAY.sub(
        lambda found: f'<div class="equation">{to_mathml(html.unescape(found[1]), display=True)}</div>', content
    )
