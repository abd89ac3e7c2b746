"""Text in columns."""

from geir._util.columns import align_columns


def test_cells_are_below_each_other_with_two_spaces_between_columns():
    rows = [("name", "number"), ("a", "10"), ("longer", "7")]
    assert align_columns(rows, right=[1]) == ["name    number", "a           10", "longer       7"]


def test_a_rule_is_as_wide_as_each_column_and_lines_have_no_trailing_spaces():
    assert align_columns([("a", "b"), ("wide", "")], rule=True) == ["a     b", "----  -", "wide"]
