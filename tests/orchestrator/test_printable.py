import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.printable import printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("γ 0.5 ± 0.1\n\tμ  ✓ 日本語", "γ 0.5 ± 0.1\n\tμ  ✓ 日本語"),
        ("\x1b]0;title\x07", "\\x1b]0;title\\x07"),
        ("\x1b]8;;http://x\x1b\\link", "\\x1b]8;;http://x\\x1b\\link"),
        ("\x9b2J", "\\x9b2J"),
        ("good\rbad", "good\\rbad"),
        ("row\r\nrow\r\n", "row\r\nrow\r\n"),
        ("a\u202eb\u2066c", "a\\u202eb\\u2066c"),
        ("in\u200bvis\ufeffible\U000e0041", "in\\u200bvis\\ufeffible\\U000e0041"),
        ("\udcc3", "\\udcc3"),
    ],
)
def test_what_shows_nothing_by_itself_is_spelled_out(text, shown):
    assert printable(text) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred\x1b[0m", "\x1b[31mred\x1b[0m"),
        ("\x1b[1;31mred", "\x1b[1;31mred\x1b[0m"),
        ("\x1b[31m\x1b[2Jred\x1b[m", "\x1b[31m\\x1b[2Jred\x1b[m"),
        ("\x1b[31mred\x1b[m\x1b]0;title\x07", "\x1b[31mred\x1b[m\\x1b]0;title\\x07"),
    ],
)
def test_colours_stay_where_they_may_and_end_with_the_text(text, shown):
    assert printable(text, colours=True) == shown


@given(st.text(st.characters(codec=None, exclude_categories=())))
def test_nothing_else_is_left_and_once_is_enough(text):
    shown = printable(text)
    assert all(c.isprintable() for c in re.sub(r"\r?\n|\r\Z|\t", "", shown))
    assert printable(shown) == shown
