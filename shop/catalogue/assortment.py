"""What the reference shop sells: tea and the things to make it with."""

from decimal import Decimal
from typing import NamedTuple


class Item(NamedTuple):
    """One product to seed; its picture is shop/products/<sku in lower case>.svg."""

    sku: str
    name: str
    description: str
    price: Decimal
    on_hand: int


ASSORTMENT = (
    Item(
        "CELADON-TEAPOT",
        "Celadon teapot",
        "Holds 400 ml. The glaze pools a deeper green in the foot.",
        Decimal("328.00"),
        12,
    ),
    Item(
        "GAIWAN", "Gaiwan with saucer", "Lid, cup and saucer, 120 ml, with one red brushstroke.", Decimal("96.00"), 30
    ),
    Item("ASH-GLAZE-CUP", "Ash-glazed cup", "Dipped once in wood ash, so that no two are alike.", Decimal("58.00"), 60),
    Item(
        "INDIGO-BOWL",
        "Indigo tea bowl",
        "Wide and light, for whisking; two rings drawn by hand.",
        Decimal("128.00"),
        24,
    ),
    Item(
        "POUR-KETTLE", "Goose-neck kettle", "A thin, steady stream. 900 ml, steel, brass knob.", Decimal("269.00"), 15
    ),
    Item("STONE-TRAY", "Slate tea tray", "For a pot and six cups; drains at one corner.", Decimal("420.00"), 5),
    Item("BAMBOO-WHISK", "Bamboo whisk", "Eighty tines cut from one piece of bamboo.", Decimal("45.00"), 80),
    Item("TEA-CADDY", "Tea caddy", "Tin with an inner lid; keeps 100 g dry and dark.", Decimal("72.00"), 40),
    Item("LINEN-CLOTH", "Linen tea cloth", "Washed linen, 30 by 50 cm, two rust-red stripes.", Decimal("39.00"), 100),
    Item("LONGJING", "Longjing, 50 g", "Flat green leaves, pan-fired; tastes of chestnut.", Decimal("88.00"), 90),
    Item("OOLONG", "Rock oolong, 50 g", "Dark, roasted over charcoal; long and mineral.", Decimal("118.00"), 70),
    Item("WHITE-PEONY", "White Peony, 30 g", "Buds and young leaves, only withered and dried.", Decimal("64.50"), 50),
)
