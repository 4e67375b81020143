"""The drawing of a car: one outline per body style, painted in the car's colour.

Everything is an SVG presentation attribute, none of it a style attribute or element, so that the
pictures show under a strict Content-Security-Policy.
"""

from __future__ import annotations

from dataclasses import dataclass

from .models import Car


@dataclass(frozen=True, slots=True)
class Outline:
    """The paths of a body in a box of 400 by 200 units, the car facing left.

    Attributes:
        body: The painted metal.
        glass: Its windows.
        lines: Door gaps and edges, drawn over it.
        wheels: Where the two wheels are, in units from the left.
    """

    body: str
    glass: tuple[str, ...]
    lines: tuple[str, ...]
    wheels: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Paint:
    """The three tones of a colour."""

    light: str
    base: str
    dark: str


PAINTS = {
    Car.Colour.RED: Paint("#f0837a", "#cf3b36", "#8f1f22"),
    Car.Colour.ORANGE: Paint("#f7b07a", "#e07a2c", "#9f4f12"),
    Car.Colour.YELLOW: Paint("#fbe08a", "#e6b62c", "#a17a0c"),
    Car.Colour.GREEN: Paint("#8fc79a", "#3f8f57", "#1f5b34"),
    Car.Colour.TEAL: Paint("#8fd0cf", "#2f8f93", "#175a60"),
    Car.Colour.BLUE: Paint("#93b8ee", "#3a6fc4", "#1e4386"),
    Car.Colour.PURPLE: Paint("#bfa3e3", "#7a55b5", "#4a2f7c"),
    Car.Colour.SILVER: Paint("#f1f4f6", "#b9c2c9", "#7d8891"),
    Car.Colour.GRAPHITE: Paint("#8d969f", "#4b545d", "#272d34"),
}

OUTLINES = {
    Car.BodyStyle.COUPE: Outline(
        body=(
            "M20 136 C20 122 30 115 52 111 C78 106 100 103 120 100 C146 80 176 70 214 70"
            " C258 70 292 84 318 102 C346 104 370 108 378 118 C382 126 382 136 380 143"
            " C379 148 374 150 368 150 L32 150 C24 150 20 146 20 136 Z"
        ),
        glass=(
            "M138 101 C158 86 180 79 206 78 L210 103 Z",
            "M217 78 C246 79 270 88 288 101 L286 104 L221 103 Z",
        ),
        lines=("M132 106 C130 120 134 136 140 148", "M232 106 C238 122 236 138 230 148"),
        wheels=(92, 312),
    ),
    Car.BodyStyle.CONVERTIBLE: Outline(
        body=(
            "M20 136 C20 122 30 115 54 111 C84 106 108 104 130 103 C150 108 190 110 250 105"
            " C262 96 276 95 290 101 C330 102 366 106 378 117 C382 126 382 136 380 143"
            " C379 148 374 150 368 150 L32 150 C24 150 20 146 20 136 Z"
        ),
        glass=("M130 104 L164 75 L171 76 L144 107 Z",),
        lines=(
            "M140 110 C138 122 142 138 148 148",
            "M240 109 C244 124 242 138 238 148",
            "M204 106 C204 90 210 84 220 86 C228 88 230 98 230 106",
        ),
        wheels=(92, 312),
    ),
    Car.BodyStyle.HATCHBACK: Outline(
        body=(
            "M30 134 C30 118 38 110 62 107 C84 104 100 102 112 100 C136 74 158 62 196 61"
            " C248 60 290 62 316 76 C340 90 352 106 358 118 C364 128 364 138 361 144"
            " C359 149 355 150 350 150 L42 150 C34 150 30 146 30 134 Z"
        ),
        glass=(
            "M130 100 C148 79 168 71 198 70 L198 100 Z",
            "M207 70 L256 70 L262 100 L207 100 Z",
            "M265 70 C292 72 310 82 324 100 L272 100 Z",
        ),
        lines=(
            "M124 106 C122 122 126 138 132 148",
            "M203 104 L203 148",
            "M266 104 C270 120 266 132 262 140",
        ),
        wheels=(96, 300),
    ),
    Car.BodyStyle.SEDAN: Outline(
        body=(
            "M18 136 C18 120 28 112 52 109 C78 105 96 103 112 101 C138 78 162 66 202 65"
            " C244 64 270 78 296 99 C330 100 366 103 378 114 C384 124 384 136 381 143"
            " C379 149 375 150 368 150 L30 150 C22 150 18 146 18 136 Z"
        ),
        glass=(
            "M130 101 C150 82 172 74 198 74 L198 101 Z",
            "M207 74 C236 73 256 84 276 101 L207 101 Z",
        ),
        lines=(
            "M124 106 C122 122 126 138 132 148",
            "M203 105 L203 148",
            "M276 106 C280 120 276 132 272 140",
        ),
        wheels=(92, 308),
    ),
    Car.BodyStyle.VAN: Outline(
        body=(
            "M28 132 C28 112 36 104 58 100 L84 94 C106 66 124 50 152 48 L330 46 C348 46 356 52"
            " 360 66 L370 116 C373 130 372 140 369 145 C367 149 363 150 357 150 L40 150"
            " C32 150 28 146 28 132 Z"
        ),
        glass=(
            "M102 92 C120 70 132 59 154 58 L164 58 L164 92 Z",
            "M173 58 L244 57 L244 92 L173 92 Z",
            "M253 57 L330 56 C340 56 345 60 347 68 L352 92 L253 92 Z",
        ),
        lines=(
            "M108 100 C106 118 110 136 118 148",
            "M168 98 L168 148",
            "M249 98 L249 148",
            "M249 104 L352 104",
        ),
        wheels=(98, 304),
    ),
}


def draw(body_style: Car.BodyStyle, colour: Car.Colour) -> str:
    """Return the picture of a car of that body and colour as an SVG document."""
    outline, paint = OUTLINES[body_style], PAINTS[colour]
    glass = "".join(f'<path d="{path}" fill="url(#glass)"/>' for path in outline.glass)
    lines = "".join(f'<path d="{path}"/>' for path in outline.lines)
    front, rear = outline.wheels
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 400 200" width="400" height="200"'
        f' role="img"><title>{colour.label} {body_style.label.lower()}</title>'
        "<defs>"
        '<linearGradient id="paint" x1="0" y1="0" x2="0" y2="1">'
        f'<stop offset="0" stop-color="{paint.light}"/>'
        f'<stop offset=".45" stop-color="{paint.base}"/>'
        f'<stop offset="1" stop-color="{paint.dark}"/></linearGradient>'
        '<linearGradient id="glass" x1="0" y1="0" x2="1" y2="1">'
        '<stop offset="0" stop-color="#dcebf2"/><stop offset=".55" stop-color="#7f9bab"/>'
        '<stop offset="1" stop-color="#48606e"/></linearGradient>'
        "</defs>"
        '<ellipse cx="200" cy="174" rx="186" ry="9" fill="#000" opacity=".16"/>'
        f'<path d="{outline.body}" fill="url(#paint)"/>{glass}'
        f'<g fill="none" stroke="{paint.dark}" stroke-width="2" stroke-linecap="round"'
        f' opacity=".7">{lines}</g>'
        f'<path d="M36 141 L{rear + 48} 141" stroke="{paint.dark}" stroke-width="3" opacity=".55"/>'
        '<path d="M28 118 C36 114 46 113 54 114 L50 121 C42 122 34 122 28 124 Z" fill="#fff6d8"/>'
        f'<path d="{_tail_light(rear)}" fill="#b3202a"/>'
        f"{_wheel(front)}{_wheel(rear)}"
        "</svg>"
    )


def _wheel(x: int) -> str:
    """Return a wheel *x* units from the left."""
    spokes = "".join(
        f'<path d="M{x} 147 L{x} 131" transform="rotate({turn} {x} 147)"/>'
        for turn in range(0, 360, 72)
    )
    return (
        f'<circle cx="{x}" cy="147" r="32" fill="#14181c" opacity=".85"/>'
        f'<circle cx="{x}" cy="147" r="28" fill="#1f252b"/>'
        f'<circle cx="{x}" cy="147" r="18" fill="#cfd6db"/>'
        f'<g stroke="#6d7880" stroke-width="4" stroke-linecap="round">{spokes}</g>'
        f'<circle cx="{x}" cy="147" r="4" fill="#39424a"/>'
    )


def _tail_light(rear: int) -> str:
    """Return the tail light behind the *rear* wheel."""
    x = rear + 52
    return f"M{x} 116 L{x + 12} 118 L{x + 13} 126 L{x} 126 Z"
