"""Published texts round trip exactly; mutilated ones raise `ValueError` and nothing else."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from naslab import spaces
from naslab.genotypes import (
    read_darts,
    read_enas_macro,
    read_enas_micro,
    read_enas_rnn,
    read_nas_bench_201,
    write_darts,
    write_enas_macro,
    write_enas_micro,
    write_enas_rnn,
    write_nas_bench_201,
)

from .forms import BEST_201, FEW, FORMS, V2, every_form


@every_form
def test_published_text_round_trips(read, write, text):
    space, tokens = read(text)
    assert write(space, tokens) == text
    assert space.check(tokens) == tokens


@pytest.mark.parametrize(
    ("space", "read", "write"),
    [
        (spaces.darts_conv(), read_darts, write_darts),
        (spaces.darts_conv(2), read_darts, write_darts),
        (spaces.darts_rnn(), read_darts, write_darts),
        (spaces.darts_rnn(1), read_darts, write_darts),
        (spaces.enas_micro(), read_enas_micro, write_enas_micro),
        (spaces.enas_micro(1), read_enas_micro, write_enas_micro),
        (spaces.MacroSpace(), read_enas_macro, write_enas_macro),
        (spaces.MacroSpace(1), read_enas_macro, write_enas_macro),
        (spaces.enas_rnn(), read_enas_rnn, write_enas_rnn),
        (spaces.nas_bench_201(), read_nas_bench_201, write_nas_bench_201),
    ],
)
def test_tokens_round_trip(space, read, write):
    generator = torch.Generator().manual_seed(0)
    for tokens in [space.sample(generator) for _ in range(25)]:
        assert read(write(space, tokens)) == (space, tokens)


@every_form
def test_white_space_has_no_meaning(read, write, text):
    spaced = text.replace(" ", "\n\t ").replace(",", " , ").replace("|", " | ").replace("[", "[ ")
    assert read(f"\n {spaced} ") == read(text)


# Bad input


ONE_NODE = "reduce=[('max_pool_3x3', 0), ('max_pool_3x3', 1)], reduce_concat=[2])"


@pytest.mark.parametrize(
    ("read", "text", "message"),
    [
        (read_darts, "", r"character 0: got the end"),
        (read_darts, "  Genotip()", r"character 2: got 'Genotip\(\)'"),
        (read_darts, V2[:-1], rf"character {len(V2) - 1}: got the end, expected '\)'"),
        (read_darts, V2 + " x", rf"character {len(V2) + 1}: got 'x', expected the end"),
        (read_darts, "__import__('os')", r"character 0"),
        (read_darts, V2.replace("dil_conv_3x3", "dil_conv_7x7"), r"normal\.5.*dil_conv_7x7"),
        (read_darts, V2.replace("dil_conv_3x3", "none"), r"normal\.5.*none"),
        (read_darts, V2.replace("_3x3', 2)]", "_3x3', 7)]"), r"normal\.5\.1\.input: token 7"),
        (
            read_darts,
            V2.replace("_3x3', 2)]", "_3x3', 0)]"),
            r"normal\.5\.1\.input: token 0 is taken by normal\.5\.0",
        ),
        (read_darts, V2.replace("_3x3', 2)]", "_3x3', -1)]"), rf"character {V2.index('2)]')}: got '-1\)"),
        (read_darts, V2.replace(", ('dil_conv_3x3', 2)]", "]"), r"character 16: normal has 7 pairs"),
        (read_darts, V2.replace("('skip_connect', 0), ('dil_conv_3x3', 2)]", "]"), r"reduce has 4 nodes, normal has 3"),
        (read_darts, V2.replace("[2, 3, 4, 5], r", "[2, 3, 4, 5, 6], r"), r"normal_concat is \[2, 3, 4, 5, 6\]"),
        (read_darts, V2.replace("5])", "6])"), r"character 4\d\d: reduce_concat is \[2, 3, 4, 6\]"),
        (read_darts, V2.replace("[2, 3, 4, 5]", "range(0, 999999999)"), r"normal_concat is range\(0, 999999999\)"),
        (read_darts, "Genotype(normal=[], normal_concat=[])", r"text: got the cells \('normal',\)"),
        (read_darts, "Genotype(recurrent=[], concat=[])", r"character 19: recurrent has 0 pairs"),
        (read_darts, V2.replace("reduce", "normal"), r"text: got the cell normal twice"),
        (read_darts, V2.split("reduce=")[0] + ONE_NODE, r"character \d+: reduce has 1 nodes, normal has 4"),
        (read_darts, V2.replace("reduce=", "reuse="), r"expected 'reuse_concat='"),
        (read_darts, V2.replace("reduce", "reuse"), r"text: got the cells \('normal', 'reuse'\)"),
        (read_enas_micro, "0 2 x", r"character 4: got 'x'"),
        (read_enas_micro, "", r"got 0 numbers"),
        (read_enas_micro, "0 1 0 1 0 1 0", r"got 7 numbers"),
        (read_enas_micro, "0 1 0 1 0 1 2 1", r"reduce\.2\.1\.input: token 2"),
        (read_enas_macro, "0 1", r"got 2 numbers"),
        (read_enas_macro, "0 1 2", r"1\.skip\.0: token 2"),
        (read_enas_macro, "", r"got 0 numbers"),
        (read_enas_rnn, "", r"no numbers"),
        (read_enas_rnn, "0 4", r"recurrent\.1\.0\.op: token 4"),
        (read_enas_rnn, "4", r"recurrent\.1\.0\.op: token 4"),
        (read_enas_rnn, "0 1 0", r"recurrent\.2\.0\.input: token 2"),
        (read_enas_rnn, "1.5 2", r"character 0: got '1.5 2'"),
        (read_nas_bench_201, BEST_201[:-1], r"character 94: got the end"),
        (read_nas_bench_201, BEST_201.replace("1x1~2", "1x1~1"), r"character 93: got '1\|', expected input 2"),
        (read_nas_bench_201, BEST_201.replace("skip_connect", "skip"), r"cell\.3.*skip"),
        (read_nas_bench_201, None, r"text: got NoneType"),
    ],
)
def test_errors_point_at_the_place(read, text, message):
    with pytest.raises(ValueError, match=message):
        read(text)


def only_value_error(read, write, text):
    try:
        space, tokens = read(text)
    except ValueError as error:
        assert str(error)
        return
    assert space.check(tokens) == tokens
    if write is not None:
        assert read(write(space, tokens)) == (space, tokens)


@every_form
@FEW
@given(data=st.data())
def test_mutations_raise_only_value_error(read, write, text, data):
    alphabet = st.sampled_from([*"()[]{}=,'\"|+~ \n\\0123456789-._eE", "sep_conv_3x3", "range(", "9" * 30, "٣", "None"])
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(text)))
        stop = data.draw(st.integers(start, min(len(text), start + 12)))
        text = text[:start] + "".join(data.draw(st.lists(alphabet, max_size=3))) + text[stop:]
    only_value_error(read, None if "rnn" in read.__name__ else write, text)


@every_form
@FEW
@given(bad=st.text() | st.text("0123456789 \n", max_size=40) | st.none() | st.integers() | st.binary())
def test_garbage_raises_only_value_error(read, write, text, bad):
    only_value_error(read, None if "rnn" in read.__name__ else write, bad)


@pytest.mark.parametrize("text", ["(" * 100_000, "Genotype(" + "[" * 100_000, "9" * 100_000, "|" * 100_000, "\0"])
def test_nesting_and_length_are_harmless(text):
    for read, _, _ in FORMS.values():
        with pytest.raises(ValueError, match=r"character \d|text: got"):
            read(text)


@pytest.mark.parametrize(
    "write", [write_darts, write_enas_micro, write_enas_macro, write_enas_rnn, write_nas_bench_201]
)
def test_writers_refuse_other_spaces_and_bad_tokens(write):
    other = spaces.CellSpace(("a",), nodes=1, inputs=1, ops=("x",), fan_in=1)
    others = (spaces.TreeSpace(), spaces.MacroSpace(2, ops=("conv_3x3",)), None)
    for space in others if write is write_darts else (other, *others):
        with pytest.raises(ValueError, match="space: got"):
            write(space, (0, 0))
    own = {
        write_darts: spaces.darts_conv(),
        write_enas_micro: spaces.enas_micro(),
        write_enas_macro: spaces.MacroSpace(),
        write_enas_rnn: spaces.enas_rnn(),
        write_nas_bench_201: spaces.nas_bench_201(),
    }[write]
    with pytest.raises(ValueError):
        write(own, (9,) * len(own.decisions))
