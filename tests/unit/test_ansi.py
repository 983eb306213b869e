"""Colors of terminals in lines: kept in one form, harmless, and never a way around a mask."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.domain.ansi import MAX_RUNS, mask_colored, parse_runs, strip_colors, write_runs
from workers.domain.masking import MASK, mask_text

ESC = "\x1b"
KNOWN = re.compile(r"\x1b\[(?:0;[0-9;]{1,40})?m")
PIECES = st.lists(
    st.sampled_from(
        [
            ESC,
            "\x9b",
            "[",
            "m",
            ";",
            ":",
            "31",
            "0",
            "38;5;",
            "48;2;1;2;3",
            "]0;title",
            "\x07",
            "\\",
            "a",
            "ß",
            " ",
            "K",
            "2J",
            "\t",
        ]
    )
    | st.text(max_size=3),
    max_size=40,
)


def names(text: str) -> list[tuple[str, list[str]]]:
    return [(run.text, run.style.names) for run in parse_runs(text)]


@pytest.mark.parametrize(
    ("text", "runs"),
    [
        ("plain", [("plain", [])]),
        (f"{ESC}[31mred{ESC}[0m rest", [("red", ["fg-1"]), (" rest", [])]),
        (f"{ESC}[1;4;92mx", [("x", ["fg-10", "bold", "underline"])]),
        (f"{ESC}[1mb{ESC}[22mn", [("b", ["bold"]), ("n", [])]),
        (f"{ESC}[38;5;196mx", [("x", ["fg-9"])]),
        (f"{ESC}[38;2;0;0;250mx{ESC}[39my", [("x", ["fg-4"]), ("y", [])]),
        (f"{ESC}[48:5:2mx{ESC}[mz", [("x", ["bg-2"]), ("z", [])]),
        (f"{ESC}[8mhidden{ESC}[2K{ESC}]0;title\x07!", [("hidden!", [])]),
        (f"{ESC}[38;5mx{ESC}[38;2;1my", [("xy", [])]),
        (f"{ESC}[99999999999999999;31mx", [("x", ["fg-1"])]),
    ],
)
def test_sequences_become_runs_of_known_styles(text: str, runs: list[tuple[str, list[str]]]) -> None:
    assert names(text) == runs


@given(PIECES)
def test_no_other_sequence_is_kept_and_what_is_kept_reads_back(pieces: list[str]) -> None:
    kept = mask_colored("".join(pieces), lambda text: text)
    assert ESC not in KNOWN.sub("", kept)
    assert "\x9b" not in kept
    assert mask_colored(kept, lambda text: text) == kept
    assert write_runs(parse_runs(kept)) == kept


def test_a_color_inside_of_a_secret_does_not_hide_it() -> None:
    shown = mask_colored(f"{ESC}[1mpassword{ESC}[0m={ESC}[32mhunt{ESC}[1mer22{ESC}[0m", mask_text)
    assert "hunt" not in shown
    assert "er22" not in shown
    assert MASK in shown
    assert ESC not in shown


def test_a_line_of_many_colors_is_bounded() -> None:
    runs = parse_runs("".join(f"{ESC}[3{n % 8}m{n} " for n in range(5_000)))
    assert len(runs) <= MAX_RUNS + 1
    assert strip_colors(write_runs(runs)).endswith("4999 ")
