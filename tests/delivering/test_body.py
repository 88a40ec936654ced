"""The body of a delivery: JSON for any key, byte for byte as a receiver on Node writes it again."""

import json
import os
import shutil
import subprocess
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lapse import ConfigError
from lapse.delivering import Body
from lapse.watch.options import DEFAULTS

STRINGIFY = """
const bodies = JSON.parse(require("fs").readFileSync(0, "utf8"));
process.stdout.write(JSON.stringify(bodies.map((body) => JSON.stringify(JSON.parse(body)))));
"""

TEXT = st.text(max_size=20)
NUMBER = st.integers(-(2**53) + 1, 2**53 - 1) | st.floats(-1e9, 1e9).map(lambda number: round(number, 4) + 0.0)
DOCUMENT = st.recursive(
    st.none() | st.booleans() | NUMBER | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT | st.from_regex("[0-9]{1,11}"), inner, max_size=5),
    max_leaves=10,
)
KEY = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)


def node() -> str:
    """Return the path of Node. Skip where there is none; in CI, fail."""
    found = shutil.which("node") or shutil.which("nodejs")
    if found is None:
        if os.environ.get("CI"):
            pytest.fail("no Node: install it")
        pytest.skip("no Node")
    return found


def test_b11_the_body_is_compact() -> None:
    """A receiver verified the signature over `JSON.stringify(req.body)`, and the body had blanks after separators."""
    assert Body(DEFAULTS.body).of("1001") == '{"order_id":"1001"}'
    assert Body('{"id": "{key}", "list": [1, null]}').of("订单") == '{"id":"订单","list":[1,null]}'


@given(st.lists(st.tuples(DOCUMENT, KEY), min_size=20, max_size=60))
@settings(max_examples=10, deadline=None)
def test_b11_the_body_is_what_node_writes_again(documents: list[tuple[Any, str]]) -> None:
    """Receivers on Node parse the body and write it again before they verify: both are the same bytes."""
    bodies = []
    for document, key in documents:
        with suppress(ConfigError):  # a number such as 0.00001, which it writes as 1e-5
            bodies.append(Body(json.dumps({"order": "{key}", "more": document})).of(key))
    done = subprocess.run(
        [node(), "-e", STRINGIFY], input=json.dumps(bodies), capture_output=True, text=True, check=True, timeout=60
    )
    assert json.loads(done.stdout) == bodies


def test_the_body_is_json_whatever_the_key() -> None:
    """Quotes, backslashes, line ends and braces in a key stay in its string; other parts of the template stay."""
    body = Body('{"order_id": "{key}", "list": [1, null, "order {key}"], "from": "redis"}')
    for key in ('"', "\\", "\n", "{key}", "a'b", "订单", "\u2028", "\x01"):
        assert json.loads(body.of(key)) == {"order_id": key, "list": [1, None, f"order {key}"], "from": "redis"}


def test_a_lone_surrogate_in_the_template_is_escaped() -> None:
    """It is no Unicode, so it could not be sent; JSON.stringify escapes it."""
    assert Body('{"id": "{key}", "x": "\\ud83d"}').of("1") == '{"id":"1","x":"\\ud83d"}'


@pytest.mark.parametrize("template", ["", "order_id={key}", '{"order_id": {key}}', '{"order_id": "1"}', '{"{key}": 1}'])
def test_templates_that_are_refused(template: str) -> None:
    """What is no JSON, or has no place for the key, is refused before anything is sent."""
    with pytest.raises(ConfigError, match="template"):
        Body(template)


@pytest.mark.parametrize(
    "number", ["12345678901234567890", "9007199254740993", "1e400", "1e-7", "1e21", "NaN", "-Infinity"]
)
def test_numbers_that_javascript_changes_are_refused(number: str) -> None:
    """A receiver on Node would write them in another way, so no signature would match."""
    with pytest.raises(ConfigError, match="template"):
        Body('{"order_id": "{key}", "n": ' + number + "}")
    assert Body('{"order_id": "{key}", "n": [1.0, -0.0, 2.50]}').of("1") == '{"order_id":"1","n":[1,0,2.5]}'
