"""One value, one encoding; one purpose, one hash."""

from __future__ import annotations

import hashlib
import math
import struct
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from phalanx.canonical import MAX_JSON_BYTES, decode, digest, encode, message, model_digest
from phalanx.errors import NotCanonical

# RFC 8785, appendix B: the bits of a float64 and its text.
NUMBERS = {
    "0000000000000000": "0",
    "8000000000000000": "0",
    "0000000000000001": "5e-324",
    "8000000000000001": "-5e-324",
    "7fefffffffffffff": "1.7976931348623157e+308",
    "ffefffffffffffff": "-1.7976931348623157e+308",
    "4340000000000000": "9007199254740992",
    "c340000000000000": "-9007199254740992",
    "4430000000000000": "295147905179352830000",
    "44b52d02c7e14af5": "9.999999999999997e+22",
    "44b52d02c7e14af6": "1e+23",
    "44b52d02c7e14af7": "1.0000000000000001e+23",
    "444b1ae4d6e2ef4e": "999999999999999700000",
    "444b1ae4d6e2ef4f": "999999999999999900000",
    "444b1ae4d6e2ef50": "1e+21",
    "3eb0c6f7a0b5ed8c": "9.999999999999997e-7",
    "3eb0c6f7a0b5ed8d": "0.000001",
    "41b3de4355555553": "333333333.3333332",
    "41b3de4355555554": "333333333.33333325",
    "41b3de4355555555": "333333333.3333333",
    "41b3de4355555556": "333333333.3333334",
    "41b3de4355555557": "333333333.33333343",
    "becbf647612f3696": "-0.0000033333333333333333",
    "43143ff3c1cb0959": "1424953923781206.2",
}
_finite = st.floats(allow_nan=False, allow_infinity=False)
_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
_json = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | _finite | _text,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_text, inner, max_size=4),
    max_leaves=15,
)


def float_of(bits: str) -> float:
    return float(struct.unpack(">d", bytes.fromhex(bits))[0])


@pytest.mark.parametrize(("bits", "text"), NUMBERS.items())
def test_numbers_are_written_as_in_appendix_b_of_rfc_8785(bits: str, text: str) -> None:
    assert encode(float_of(bits)) == text.encode()


@pytest.mark.parametrize("bits", ["7fffffffffffffff", "7ff0000000000000", "fff0000000000000"])
def test_nan_and_infinity_have_no_encoding(bits: str) -> None:
    with pytest.raises(ValueError, match="canonical JSON"):
        encode({"claim": float_of(bits)})


def test_the_sample_of_rfc_8785_section_3_2_2() -> None:
    value = {
        "numbers": [333333333.33333329, 1e30, 4.50, 2e-3, 0.000000000000000000000000001],
        "string": "\u20ac$\u000f\u000aA'\u0042\u0022\u005c\\\"/",
        "literals": [None, True, False],
    }
    expected = (
        '{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],'
        '"string":"€$\\u000f\\nA\'B\\"\\\\\\\\\\"/"}'
    )
    assert encode(value) == expected.encode()


def test_keys_are_sorted_as_utf_16_as_in_rfc_8785_section_3_2_3() -> None:
    """U+FB33 comes after the emoji, whose first UTF-16 unit is a surrogate: sorting by code point would turn them."""
    order = ["\r", "1", "\u0080", "\u00f6", "\u20ac", "\U0001f600", "\ufb33"]
    assert sorted(order) != order
    assert list(decode(encode(dict.fromkeys(sorted(order), 1)))) == order


def javascript(value: float) -> str:
    """ECMA-262 Number::toString by its four cases, from the shortest digits."""
    sign, digits, exponent = Decimal(repr(value)).normalize().as_tuple()
    assert isinstance(exponent, int)
    text, k = "".join(map(str, digits)), len(digits)
    n = exponent + k
    if value == 0:
        return "0"
    if k <= n <= 21:
        text += "0" * (n - k)
    elif 0 < n <= 21:
        text = f"{text[:n]}.{text[n:]}"
    elif -6 < n <= 0:
        text = f"0.{'0' * -n}{text}"
    else:
        text = f"{text[0]}{'.' * (k > 1)}{text[1:]}e{n - 1:+d}"
    return "-" * sign + text


@given(value=_finite)
def test_numbers_are_written_as_javascript_writes_them(value: float) -> None:
    assert encode(value) == javascript(value).encode()


@given(value=_json)
@example(1e20)
@example(2.0**53)
@example(-(2.0**60))
def test_what_is_encoded_decodes_to_the_same_value(value: Any) -> None:
    """Also floats between 2**53 and 1e21, which are written without point or exponent."""
    assert decode(encode(value)) == value


@given(data=st.binary(max_size=40) | st.text('{}[]",:0123456789.eE+- untrfals\\/', max_size=20).map(str.encode))
def test_whatever_decodes_is_the_one_encoding_of_its_value(data: bytes) -> None:
    try:
        value = decode(data)
    except NotCanonical:
        return
    assert encode(value) == data


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b" 1",
        b"1\n",
        b'{"a": 1}',
        b'{"b":1,"a":2}',
        b'{"a":1,"a":1}',
        b'{"a":1,"a":2}',
        b'"\\u0041"',
        b'"\\/"',
        b'"\\u000F"',
        b'"\\ud800"',
        b"\xef\xbb\xbf1",
        b'"\xff"',
        b"1.0",
        b"1e0",
        b"1E30",
        b"-0",
        b"-0.0",
        b"0.10",
        b"01",
        b"+1",
        b"NaN",
        b"Infinity",
        b"-Infinity",
        b"1e999",
        b"9007199254740993",
        b"100000000000000000001",
        b"9" * 5000,
        b"-" + b"9" * 400,
        b"[1,]",
        b"{}{}",
        b"[" * 100_000,
        b'{"a":' * 50_000,
    ],
)
def test_another_encoding_of_a_value_is_refused(data: bytes) -> None:
    with pytest.raises(NotCanonical):
        decode(data)


def test_json_past_the_limit_is_refused_before_it_is_parsed() -> None:
    exactly = b'"' + b"a" * (MAX_JSON_BYTES - 2) + b'"'
    assert len(decode(exactly)) == MAX_JSON_BYTES - 2
    with pytest.raises(NotCanonical, match="the limit is 1048576"):
        decode(exactly[:-1] + b'a"')
    with pytest.raises(NotCanonical, match="JSON of 4 bytes, the limit is 3"):
        decode(b"true", limit=3)


@pytest.mark.parametrize(
    "value",
    [math.nan, math.inf, 2**53, -(2**53), b"bytes", {1, 2}, {1: "a"}, {None: 1}, "\ud800", {"\ud800": 1}, object()],
)
def test_what_json_cannot_hold_is_a_programmers_error(value: Any) -> None:
    with pytest.raises(ValueError):
        encode([value])


# ------------------------------------------------------------------------------------------------------------- purposes


def test_a_hash_starts_with_version_and_purpose() -> None:
    assert digest("model", b"abc") == hashlib.sha256(b"phalanx/v1/model\0abc").hexdigest()


_purpose = st.text(st.characters(min_codepoint=1, max_codepoint=127), max_size=12)


@given(purposes=st.tuples(_purpose, _purpose), payloads=st.tuples(st.binary(max_size=12), st.binary(max_size=12)))
@example(("a", "a/b"), (b"b\0c", b"c"))
@example(("", "x"), (b"x\0", b""))
def test_two_purposes_or_two_payloads_never_have_the_same_bytes(
    purposes: tuple[str, str], payloads: tuple[bytes, bytes]
) -> None:
    first, second = zip(purposes, payloads, strict=True)
    assert (message(*first) == message(*second)) == (first == second)
    assert (digest(*first) == digest(*second)) == (first == second)


def test_without_the_zero_byte_two_purposes_could_meet() -> None:
    """The off twin: joined alone, a purpose and its extension run together. So no purpose may hold the zero byte."""
    assert b"order" + b"s/x" == b"orders" + b"/x"
    assert message("order", b"s/x") != message("orders", b"/x")
    with pytest.raises(ValueError, match="zero byte"):
        message("a\0b", b"c")


def test_a_model_is_named_by_its_little_endian_float32_bytes() -> None:
    model = np.array([1.0, -2.5, 0.0], dtype=np.float32)
    name = hashlib.sha256(b"phalanx/v1/model\0" + struct.pack("<3f", 1.0, -2.5, 0.0)).hexdigest()
    assert model_digest(model) == name
    assert model_digest(model.astype(">f4")) == name
    assert model_digest(np.repeat(model, 2)[::2]) == name
    assert model_digest(np.array([1.0, -2.5, -0.0], dtype=np.float32)) != name
