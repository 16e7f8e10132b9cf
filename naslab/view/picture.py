"""A picture that explains itself: an SVG, its alternative text, and the colours that all drawings share."""

import base64
import hashlib
import html
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

# Okabe & Ito 2008, "Color universal design": told apart with every common kind of colour blindness.
BLUE, VERMILLION, GREEN, ORANGE = "#0072B2", "#D55E00", "#009E73", "#E69F00"
PURPLE, SKY, YELLOW, BLACK = "#CC79A7", "#56B4E9", "#F0E442", "#000000"

PAPER = "#FDFDFB"  # opaque, so that a drawing reads the same on a light and on a dark page
INK = "#1A1A1A"  # text and outlines
FAINT = "#555555"  # secondary text
TINTS = ("#FFFFFF", "#E3F1FA", "#FDF3D7", "#EDEDED")  # fills behind text: nodes, inputs, outputs, spare

_NOT_IN_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def safe(words: str) -> str:
    """The words with U+FFFD for every character that XML may not hold: NUL, control characters, half surrogates.

    All text of a drawing passes through here, whatever writes the drawing. The writer escapes its own marks.
    """
    return _NOT_IN_XML.sub("\N{REPLACEMENT CHARACTER}", words)


@dataclass(frozen=True)
class Picture:
    """An SVG drawing and the text that stands for it.

    As a cell's result it is an SVG whose `alt` stands in the metadata. JupyterLab 4.6 drops that `alt`, and shows
    no SVG at all in a notebook that was not run yet, so the bundle carries an `<img alt=...>` as Markdown, too,
    which JupyterLab prefers and nbconvert, nbviewer and GitHub do not.
    """

    svg: str
    alt: str

    def __repr__(self) -> str:
        return self.alt

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> tuple[dict[str, str], dict[str, Any]]:
        data = base64.b64encode(self.svg.encode()).decode()
        image = f'<img alt="{html.escape(self.alt)}" src="data:image/svg+xml;base64,{data}">'
        return (
            {"image/svg+xml": self.svg, "text/markdown": image, "text/plain": self.alt},
            {"image/svg+xml": {"alt": self.alt}},
        )

    def save(self, path: str | Path) -> None:
        """Write the SVG, UTF-8 with "\\n" line ends on every system."""
        Path(path).write_text(self.svg, encoding="utf-8", newline="\n")


def picture(svg: str, title: str, alt: str) -> Picture:
    """A program's SVG as a `Picture`: no prolog, no comments; a unit of the drawing is a CSS pixel.

    `title` and `alt` become `<title>` and `<desc>`, with ids made of the content's hash: two pictures may share a page.
    """
    title, alt = safe(title), safe(alt)
    body = re.sub(r"<!--.*?-->|<title>.*?</title>", "", safe(svg[svg.index("<svg") :]), flags=re.S)
    tag, body = body.split(">", 1)
    tag = re.sub(r'((?:width|height)="[\d.]+)pt"', r'\1px"', " ".join(tag.split()))
    key = hashlib.sha256(f"{title}\0{alt}\0{body}".encode()).hexdigest()[:12]
    body = re.sub(r"\n\s*", "\n", body).strip()
    return Picture(
        f'{tag} role="img" aria-labelledby="title-{key} desc-{key}">\n'
        f'<title id="title-{key}">{escape(title)}</title>\n<desc id="desc-{key}">{escape(alt)}</desc>\n{body}\n',
        alt,
    )
