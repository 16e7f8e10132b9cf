"""The texts of ENAS: micro, macro, and the two forms of a recurrent cell."""

import pytest

from naslab import genotypes, spaces
from naslab.genotypes import read_darts, read_enas_macro, read_enas_micro, read_enas_rnn, write_enas_rnn


def test_numbers_as_python_and_numpy_print_them():
    """The ENAS authors' logs print a list for each layer."""
    macro, micro = read_enas_macro("0 3 0 5 1 1"), read_enas_micro(genotypes.ENAS_MICRO)
    for text in ("[0]\n[3 0]\n[5 1 1]\n", "[[0], [3, 0], [5, 1, 1]]", "0, 3, 0, 5, 1, 1", "[0 3\n 0 5 1 1]"):
        assert read_enas_macro(text) == macro
    assert read_enas_micro("\n".join(f"[{line}]" for line in genotypes.ENAS_MICRO.splitlines())) == micro
    assert read_enas_rnn(str([int(n) for n in genotypes.ENAS_RNN.split()])) == read_enas_rnn(genotypes.ENAS_RNN)
    for text in ("[0", "0]", "[0]]", "[0,,3 0]", ",0", "[0.5]", "[0-3]", "{0}", "0;3 0"):
        with pytest.raises(ValueError, match="character"):
            read_enas_macro(text)


def test_enas_micro_by_hand():
    space, tokens = read_enas_micro(genotypes.ENAS_MICRO)
    assert space == spaces.enas_micro(5)
    assert space.pairs(tokens)["normal"][0] == ((0, "avg_pool_3x3"), (0, "sep_conv_3x3"))
    assert space.pairs(tokens)["reduce"][2] == ((1, "sep_conv_5x5"), (3, "sep_conv_5x5"))
    assert read_enas_micro(genotypes.ENAS_MICRO.replace("\n", " ")) == (space, tokens)  # as the scripts pass it


def test_enas_macro_by_hand():
    space, tokens = read_enas_macro("0\n3 0\n5 1 1")
    assert space == spaces.MacroSpace(3)
    chosen = {d.name: d.options[t] for d, t in zip(space.decisions, tokens, strict=True)}
    assert [chosen[f"{i}.op"] for i in range(3)] == ["conv_3x3", "sep_conv_5x5", "max_pool_3x3"]
    assert [chosen[k] for k in ("1.skip.0", "2.skip.0", "2.skip.1")] == [0, 1, 1]
    assert read_enas_macro(genotypes.ENAS_MACRO)[0] == spaces.MacroSpace(24)


def test_enas_writes_the_darts_cell():
    """The ENAS authors' language-model code names DARTS's recurrent cell in its own form."""
    enas, tokens = read_enas_rnn("0 2 1 1 1 1 1 3 2 0 5 2 3 0 5 1")
    darts, same = read_darts(genotypes.DARTS_V2_RNN)
    assert enas.pairs(tokens) == darts.pairs(same)


def test_enas_rnn_two_forms_of_one_cell():
    space, tokens = read_enas_rnn(genotypes.ENAS_RNN_OLDER)
    assert space == spaces.enas_rnn(12)
    pairs = [node[0] for node in space.pairs(tokens)["recurrent"]]
    assert pairs[:4] == [(0, "tanh"), (1, "tanh"), (2, "relu"), (3, "relu")]  # "0", "0 0", "1 1", "2 1"
    assert read_enas_rnn(write_enas_rnn(space, tokens)) == (space, tokens)
    eight, published = read_enas_rnn(genotypes.ENAS_RNN)
    assert eight == spaces.enas_rnn(8)
    assert read_enas_rnn(write_enas_rnn(eight, published, older=True)) == (eight, published)


def test_older_form_cannot_name_state_0():
    with pytest.raises(ValueError, match=r"recurrent\.2\.0\.input: got 0"):
        write_enas_rnn(spaces.enas_rnn(2), (0, 0, 0, 1), older=True)
