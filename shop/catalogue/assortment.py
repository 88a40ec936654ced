"""What the reference shop sells, tea and the things to make it with, and how an empty catalogue is filled with it."""

from decimal import Decimal
from typing import NamedTuple

from shop.catalogue.models import Product


class Item(NamedTuple):
    """One product to seed. Its picture is shop/products/<sku in lower case>.svg."""

    sku: str
    name: str
    description: str
    name_zh: str
    description_zh: str
    price: Decimal
    on_hand: int


ASSORTMENT = (
    Item(
        "CELADON-TEAPOT",
        "Celadon teapot",
        "Holds 400 ml. The glaze pools a deeper green in the foot.",
        "青瓷茶壶",
        "容量 400 毫升。釉色在足部积得更深。",
        Decimal("328.00"),
        12,
    ),
    Item(
        "GAIWAN",
        "Gaiwan with saucer",
        "Lid, cup and saucer, 120 ml, with one red brushstroke.",
        "三才盖碗",
        "盖、碗、托一套，120 毫升，一抹朱红。",
        Decimal("96.00"),
        30,
    ),
    Item(
        "ASH-GLAZE-CUP",
        "Ash-glazed cup",
        "Dipped once in wood ash, so that no two are alike.",
        "草木灰釉杯",
        "只浸一次草木灰釉，没有两只相同。",
        Decimal("58.00"),
        60,
    ),
    Item(
        "INDIGO-BOWL",
        "Indigo tea bowl",
        "Wide and light, for whisking; two rings drawn by hand.",
        "靛青茶碗",
        "口阔体轻，宜于点茶；两道青线为手绘。",
        Decimal("128.00"),
        24,
    ),
    Item(
        "POUR-KETTLE",
        "Goose-neck kettle",
        "A thin, steady stream. 900 ml, steel, brass knob.",
        "细嘴手冲壶",
        "水流细而稳。900 毫升，不锈钢壶身，黄铜壶钮。",
        Decimal("269.00"),
        15,
    ),
    Item(
        "STONE-TRAY",
        "Slate tea tray",
        "For a pot and six cups; drains at one corner.",
        "石板茶盘",
        "可置一壶六杯，一角排水。",
        Decimal("420.00"),
        5,
    ),
    Item(
        "BAMBOO-WHISK",
        "Bamboo whisk",
        "Eighty tines cut from one piece of bamboo.",
        "竹茶筅",
        "一段整竹剖成八十根穗。",
        Decimal("45.00"),
        80,
    ),
    Item(
        "TEA-CADDY",
        "Tea caddy",
        "Tin with an inner lid; keeps 100 g dry and dark.",
        "茶叶罐",
        "马口铁双层盖，可存茶 100 克，干燥避光。",
        Decimal("72.00"),
        40,
    ),
    Item(
        "LINEN-CLOTH",
        "Linen tea cloth",
        "Washed linen, 30 by 50 cm, two rust-red stripes.",
        "亚麻茶巾",
        "水洗亚麻，30 × 50 厘米，两道赭红条纹。",
        Decimal("39.00"),
        100,
    ),
    Item(
        "LONGJING",
        "Longjing, 50 g",
        "Flat green leaves, pan-fired; tastes of chestnut.",
        "龙井茶 50 克",
        "扁平绿叶，锅炒而成，有栗香。",
        Decimal("88.00"),
        90,
    ),
    Item(
        "OOLONG",
        "Rock oolong, 50 g",
        "Dark, roasted over charcoal; long and mineral.",
        "武夷岩茶 50 克",
        "炭火足焙，色深味长，岩韵分明。",
        Decimal("118.00"),
        70,
    ),
    Item(
        "WHITE-PEONY",
        "White Peony, 30 g",
        "Buds and young leaves, only withered and dried.",
        "白牡丹 30 克",
        "嫩芽新叶，只经萎凋与干燥。",
        Decimal("64.50"),
        50,
    ),
)


def seed_products() -> int:
    """Add the missing products and return how many were added. Existing products keep their price and stock.

    An existing product without Chinese texts gets them.
    """
    products = [
        Product(
            sku=item.sku,
            name=item.name,
            description=item.description,
            name_zh=item.name_zh,
            description_zh=item.description_zh,
            price=item.price,
            on_hand=item.on_hand,
            picture=f"shop/products/{item.sku.lower()}.svg",
        )
        for item in ASSORTMENT
    ]
    before = Product.objects.count()
    Product.objects.bulk_create(products, ignore_conflicts=True)
    added = Product.objects.count() - before
    without_chinese = {product.sku: product for product in Product.objects.filter(name_zh="", description_zh="")}
    translated = [item for item in ASSORTMENT if item.sku in without_chinese]
    for item in translated:
        product = without_chinese[item.sku]
        product.name_zh, product.description_zh = item.name_zh, item.description_zh
    Product.objects.bulk_update([without_chinese[item.sku] for item in translated], ["name_zh", "description_zh"])
    return added
