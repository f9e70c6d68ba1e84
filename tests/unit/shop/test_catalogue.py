"""What is on sale, at which price, and for how long."""

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from domain.catalogue import (
    LARGEST_KEPT_IMAGE,
    MOST_TAGS,
    PRODUCTS,
    ChangeImage,
    ChangeSku,
    DescribeProduct,
    DiscontinueProduct,
    Image,
    NotForSale,
    ProductCommand,
    ProductDescribed,
    ProductDiscontinued,
    ProductImageChanged,
    ProductRepriced,
    ProductSkuChanged,
    RepriceProduct,
)
from domain.kernel.decider import Claim
from domain.kernel.refusals import AlreadyExists, DoesNotExist, InvalidValue, Refusal
from domain.money import InvalidAmount, Money, UnknownCurrency
from tests.support.builders import PRODUCT_ID, add_product, euros, product_added
from tests.support.spec import Spec

products = Spec(PRODUCTS)
ADDED = product_added()
PICTURE = Image(digest="5f" * 32, content_type="image/png", size=67)
DISCONTINUED = ProductDiscontinued(product_id=PRODUCT_ID)


def described(**changes: Any) -> ProductDescribed:
    said: dict[str, Any] = {
        "product_id": PRODUCT_ID,
        "name": ADDED.name,
        "description": ADDED.description,
        "category": ADDED.category,
        "tags": ADDED.tags,
        "tax_rate": ADDED.tax_rate,
    }
    return ProductDescribed(**said | changes)


def test_an_added_product_is_told_with_all_that_readers_need() -> None:
    products.when(add_product()).then(ADDED)


def test_a_product_is_added_once() -> None:
    products.given(ADDED).when(add_product()).then_refused(AlreadyExists)


def test_a_sku_is_claimed_in_its_normal_form() -> None:
    products.when(add_product(sku=" Tea-1")).then_claims(Claim(scope="sku", key="tea-1", pointer="/sku"))


@pytest.mark.parametrize("sku", ["X\u200d", "X\ufe0f", "X\U000e0100", "\u200dX", "می\u200cخ", "\u0300", "X\u3164"])
def test_no_two_skus_look_the_same_because_something_hides_in_one(sku: str) -> None:
    products.when(add_product(sku=sku)).then_refused(InvalidValue, pointer="/sku")
    products.given(ADDED).when(ChangeSku(sku=sku)).then_refused(InvalidValue, pointer="/sku")


def test_names_have_no_blanks_around_them() -> None:
    padded = {"sku": " TEA-1\u00a0", "name": "\tTea pot ", "category": " kitchen ", "tags": ("tea ", " new", "tea")}
    products.when(add_product(**padded)).then(ADDED)
    told = products.given(ADDED)
    told.when(ChangeSku(sku=" TEA-1 ")).then_nothing()
    told.when(DescribeProduct(name=" Tea pot ", category=" kitchen", tags=("tea", "new "))).then_nothing()
    told.when(ChangeSku(sku=" POT-7 ")).then(ProductSkuChanged(product_id=PRODUCT_ID, sku="POT-7", sku_key="pot-7"))


def test_what_was_named_by_older_rules_is_changed_as_any_other() -> None:
    old: dict[str, Any] = {"name": " Pot\u200d", "category": "\u0300", "tags": (" tea ", "\ufe0f")}
    told = products.given(replace(ADDED, **old, sku=" X\ufe0f", sku_key="x\ufe0f"))
    told.when(DescribeProduct(description="Blue.")).then(described(**old, description="Blue."))
    told.when(DescribeProduct(**old)).then_nothing()
    told.when(ChangeSku(sku=" X\ufe0f")).then_nothing()
    told.when(DescribeProduct(name="Pot\u200d")).then_refused(InvalidValue, pointer="/name")
    told.when(DescribeProduct(tags=(*old["tags"], "new"))).then_refused(InvalidValue, pointer="/tags/1")


def test_a_new_sku_frees_the_old_one() -> None:
    products.given(ADDED).when(ChangeSku(sku="POT-7")).then_claims(
        Claim(scope="sku", key="tea-1", released=True), Claim(scope="sku", key="pot-7", pointer="/sku")
    )


def test_a_sku_freed_later_is_the_one_that_was_taken_last() -> None:
    moved = ProductSkuChanged(product_id=PRODUCT_ID, sku="POT-7", sku_key="pot-7")
    products.given(ADDED, moved).when(ChangeSku(sku="MUG-1")).then_claims(
        Claim(scope="sku", key="pot-7", released=True), Claim(scope="sku", key="mug-1", pointer="/sku")
    )


def test_another_spelling_of_the_same_sku_claims_nothing() -> None:
    respelled = products.given(ADDED).when(ChangeSku(sku="Tea-1"))
    respelled.then(ProductSkuChanged(product_id=PRODUCT_ID, sku="Tea-1", sku_key="tea-1"))
    respelled.then_claims()


def test_a_product_gets_a_new_price() -> None:
    cheaper = ProductRepriced(product_id=PRODUCT_ID, price=euros("17.50"))
    products.given(ADDED).when(RepriceProduct(price=euros("17.50"))).then(cheaper)


def test_what_is_said_keeps_what_is_left_out() -> None:
    products.given(ADDED).when(DescribeProduct(name="Big tea pot")).then(described(name="Big tea pot"))
    products.given(ADDED).when(DescribeProduct(category=None)).then(described(category=None))
    products.given(ADDED).when(DescribeProduct(tags=("tea", "tea"))).then(described(tags=("tea",)))


def test_what_is_so_already_changes_nothing() -> None:
    products.given(ADDED).when(RepriceProduct(price=euros("19.9"))).then_nothing()
    products.given(ADDED).when(DescribeProduct()).then_nothing()
    products.given(ADDED).when(DescribeProduct(name="Tea pot", tax_rate=Decimal("0.190"))).then_nothing()
    products.given(ADDED).when(ChangeSku(sku="TEA-1")).then_nothing()
    products.given(ADDED, DISCONTINUED).when(DiscontinueProduct()).then_nothing()


def test_a_picture_is_changed_for_another_one_only() -> None:
    changed = ProductImageChanged(product_id=PRODUCT_ID, image=PICTURE)
    products.given(ADDED).when(ChangeImage(image=PICTURE)).then(changed)
    products.given(ADDED, changed).when(ChangeImage(image=PICTURE)).then_nothing()
    other = replace(PICTURE, digest="ab" * 32)
    products.given(ADDED, changed).when(ChangeImage(image=other)).then(replace(changed, image=other))


@pytest.mark.parametrize(
    ("wrong", "pointer"),
    [
        ({"digest": "5F" * 32}, "/digest"),
        ({"digest": "../" * 21 + "x"}, "/digest"),
        ({"content_type": "image/svg+xml"}, "/content_type"),
        ({"size": 0}, "/size"),
        ({"size": LARGEST_KEPT_IMAGE + 1}, "/size"),
    ],
)
def test_only_a_picture_that_can_be_is_shown(wrong: dict[str, Any], pointer: str) -> None:
    command = ChangeImage(image=replace(PICTURE, **wrong))
    products.given(ADDED).when(command).then_refused(InvalidValue, pointer=pointer)


def test_each_change_is_remembered() -> None:
    state = products.given(
        ADDED,
        ProductRepriced(product_id=PRODUCT_ID, price=euros("5.00")),
        described(name="Old tea pot"),
        DISCONTINUED,
    ).state
    assert state is not None
    assert (state.price, state.name, state.discontinued) == (euros("5.00"), "Old tea pot", True)


@pytest.mark.parametrize(
    "command",
    [RepriceProduct(price=euros("1.00")), DescribeProduct(name="x"), ChangeSku(sku="x"), ChangeImage(image=PICTURE)],
)
def test_a_discontinued_product_cannot_be_changed(command: ProductCommand) -> None:
    products.given(ADDED, DISCONTINUED).when(command).then_refused(NotForSale)


def test_discontinuing_gives_the_sku_back() -> None:
    products.given(ADDED).when(DiscontinueProduct()).then(DISCONTINUED)
    products.given(ADDED).when(DiscontinueProduct()).then_claims(Claim(scope="sku", key=ADDED.sku_key, released=True))


@pytest.mark.parametrize(
    "command", [RepriceProduct(price=euros("1.00")), DescribeProduct(), ChangeSku(sku="x"), DiscontinueProduct()]
)
def test_an_unknown_product_cannot_be_changed(command: ProductCommand) -> None:
    products.when(command).then_refused(DoesNotExist)


@pytest.mark.parametrize(
    ("changes", "refusal", "pointer"),
    [
        ({"sku": ""}, InvalidValue, "/sku"),
        ({"sku": "a\nb"}, InvalidValue, "/sku"),
        ({"sku": "x" * 65}, InvalidValue, "/sku"),
        ({"name": " "}, InvalidValue, "/name"),
        ({"name": "x" * 201}, InvalidValue, "/name"),
        ({"description": "nul \x00"}, InvalidValue, "/description"),
        ({"description": "x" * 10_001}, InvalidValue, "/description"),
        ({"category": ""}, InvalidValue, "/category"),
        ({"tags": ("ok", "")}, InvalidValue, "/tags/1"),
        ({"tags": tuple(map(str, range(MOST_TAGS + 1)))}, InvalidValue, "/tags"),
        ({"tax_rate": Decimal("19")}, InvalidValue, "/tax_rate"),
        ({"tax_rate": Decimal("-0.1")}, InvalidValue, "/tax_rate"),
        ({"tax_rate": Decimal("NaN")}, InvalidValue, "/tax_rate"),
        ({"tax_rate": Decimal("0.0000001")}, InvalidValue, "/tax_rate"),
        ({"price": Money(amount=Decimal("1.999"), currency="EUR")}, InvalidAmount, "/price/amount"),
        ({"price": Money(amount=Decimal("-1.00"), currency="EUR")}, InvalidAmount, "/price/amount"),
        ({"price": Money(amount=Decimal("Infinity"), currency="EUR")}, InvalidAmount, "/price/amount"),
        ({"price": Money(amount=Decimal("1000000000000.00"), currency="EUR")}, InvalidAmount, "/price/amount"),
        ({"price": Money(amount=Decimal("1.00"), currency="EUX")}, UnknownCurrency, "/price/currency"),
    ],
)
def test_a_product_the_shop_cannot_hold_is_refused(
    changes: dict[str, Any], refusal: type[Refusal], pointer: str
) -> None:
    products.when(add_product(**changes)).then_refused(refusal, pointer=pointer)


def test_a_description_may_be_empty_or_many_lines_in_any_script() -> None:
    for said in ("", "one\ntwo", "茶壶 👩‍👩‍👧"):
        products.when(add_product(description=said)).then(product_added(description=said))
