"""English and Simplified Chinese: complete, up to date, and chosen by the visitor."""

import re
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from shop.catalogue.assortment import ASSORTMENT
from shop.catalogue.models import Product
from tests.shop import messages
from tests.shop.rehearsal import make_overdue, order_of

CHINESE = {"Accept-Language": "zh-CN,zh;q=0.9,en;q=0.5"}


def test_every_text_is_translated() -> None:
    """Each text that is marked in code or template has its translation, and no translation is left over or doubtful."""
    kept = messages.kept(messages.PO)
    wanted = {(one.context, one.id) for one in messages.find() if one.id}
    assert wanted == {(one.context, one.id) for one in kept if one.id}, "run python -m tests.shop.messages"
    assert [one.id for one in messages.untranslated(kept)] == []
    assert len(wanted) > 150, "the extraction has lost texts"


def test_the_compiled_file_is_the_written_one() -> None:
    """The .mo that Django reads has the texts of the .po."""
    written, compiled = (
        {(context(one.context), texts(one.id)): texts(one.string) for one in messages.kept(file) if one.id}
        for file in (messages.PO, messages.MO)
    )
    assert written == compiled


def context(found: Any) -> str:
    """Return a text's context; Babel reads it from a .mo as bytes."""
    return found.decode() if isinstance(found, bytes) else found or ""


def texts(text: Any) -> tuple[str, ...]:
    """Return a text, or each of its forms for numbers."""
    return (text,) if isinstance(text, str) else tuple(text)


def test_translations_keep_their_places_for_values() -> None:
    """Every value that is filled into a text is filled into its translation."""
    place = re.compile(r"%\(\w+\)[sd]|%[sd]|\{n\}")
    for one in messages.kept(messages.PO):
        for translation in texts(one.string) if one.id else ():
            assert sorted(place.findall(translation)) == sorted(place.findall(texts(one.id)[-1])), one.id


def test_every_product_has_a_chinese_name() -> None:
    """Every product has Chinese texts."""
    chinese = re.compile(r"[\u4e00-\u9fff]")
    assert all(chinese.search(item.name_zh) and chinese.search(item.description_zh) for item in ASSORTMENT)


@pytest.mark.usefixtures("transactional_db")
def test_the_browser_asks_and_the_visitor_decides(client: Client) -> None:
    """Accept-Language chooses the language until the visitor uses the switch in the header."""
    assert '<html lang="en">' in client.get("/").content.decode()
    page = client.get("/", headers=CHINESE).content.decode()
    assert '<html lang="zh-hans">' in page
    assert "茶，与泡茶之器" in page
    answer = client.post("/language/", {"language": "en", "next": "/cart/"}, headers=CHINESE)
    assert answer.headers["Location"] == "/cart/"
    assert answer.cookies["django_language"]["httponly"]
    assert "Your cart" in client.get("/cart/", headers=CHINESE).content.decode()
    client.post("/language/", {"language": "zh-hans", "next": "https://elsewhere.example/"})
    assert "您的购物车" in client.get("/cart/").content.decode()


def test_an_order_in_chinese(buyer: User, cup: Product) -> None:
    """Names, amounts, moments, states and refusals are Chinese; a product without a Chinese name keeps its own."""
    Product.objects.filter(pk=cup.pk).update(name_zh="茶杯", price=1234)
    cup.refresh_from_db()
    client = Client(headers=CHINESE)
    client.force_login(buyer)
    order = order_of(buyer, cup)
    page = client.get(f"/orders/{order.public_id}/").content.decode()
    assert "等待付款" in page
    assert "茶杯" in page
    assert "¥1,234.00" in page
    assert re.search(r"\d{4}年\d+月\d+日 \d\d:\d\d UTC", page)
    make_overdue(order)
    assert "已取消，库存已恢复" in client.get(f"/orders/{order.public_id}/").content.decode()
    assert "逾期未付" in client.get("/orders/").content.decode()
    refused = client.post("/orders/place/", {"quantity-CUP": "99", "price-CUP": "1234.00"})
    assert "库存不足" in refused.content.decode()
    wrong = client.post("/sign-up/", {"email": "mei@example", "password": "mei1"}).content.decode()
    assert "密码至少 8 个字符。" in wrong
    assert "characters" not in wrong
    Product.objects.update(name_zh="")
    assert ">Cup</a>" in client.get("/").content.decode()
