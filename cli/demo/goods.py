"""What the demo puts on sale: a picture that is one, and a file of products in which one line is wrong."""

from typing import Final

from PIL import Image

IMPORTED: Final = 500
WRONG_LINE: Final = 250
_SIDE: Final = 96


def picture() -> Image.Image:
    """Copper, lighter towards one corner."""
    slope = Image.linear_gradient("L").resize((_SIDE, _SIDE))
    return Image.merge("RGB", (slope.point(lambda shade: 120 + shade // 3), slope.rotate(90), slope.rotate(180)))


def products(tag: str) -> bytes:
    """A CSV file with :data:`IMPORTED` products; the price on :data:`WRONG_LINE` is none."""
    lines = ["sku,name,price,currency,category,stock"]
    for number in range(2, IMPORTED + 2):
        price = "cheap" if number == WRONG_LINE else f"{number % 90 + 1}.90"
        lines.append(f"CUP-{tag}-{number},Cup number {number},{price},EUR,kitchen,{number % 7}")
    return "\n".join(lines).encode()
