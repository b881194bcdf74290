"""Pages of measurements: a section is written anew, and what stands beside it is kept."""

from __future__ import annotations

import pandas as pd
import pytest

from benchmarks.paper import LOOKS, over_seeds, over_training
from benchmarks.seeds import placed


def test_a_section_takes_the_place_of_its_old_one_and_leaves_the_others() -> None:
    first = placed("# Title\n\nText.\n", "## one\n\n### scores\n\n1\n")
    both = placed(first, "## two\n\n2\n")
    again = placed(both, "## one\n\n### scores\n\n3\n")
    assert first == "# Title\n\nText.\n\n## one\n\n### scores\n\n1\n"
    assert both == first + "\n## two\n\n2\n"
    assert again == both.replace("\n1\n", "\n3\n")


def test_tables_of_several_seeds_are_one() -> None:
    one = pd.DataFrame({"system": ["a", "b"], "value": [0.1, 0.4], "marks": ["x", "x"], "steps": [3, pd.NA]})
    two = pd.DataFrame({"system": ["b", "a"], "value": [0.2, 0.3], "marks": ["x", ""], "steps": [pd.NA, 3]})
    found = over_seeds([one, two], [0, 2, 0, 0])
    assert found is not None
    assert list(found["system"]) == ["a", "b"]
    assert list(found["value"]) == ["0.20 ± 0.14", "0.30 ± 0.14"]
    assert list(found["marks"]) == ["x / -", "x"]
    assert found["steps"].iloc[0] == "3"


def test_tables_of_other_rows_are_not() -> None:
    one, two = (pd.DataFrame({"system": [name], "value": [1.0]}) for name in "ab")
    assert over_seeds([one, two], [0, 1]) is None


@pytest.mark.parametrize("steps", [2, 6, LOOKS, 40])
def test_a_training_is_shown_from_its_first_step_to_its_last(steps: int) -> None:
    """Each step once, however few there are."""
    values = [("a", 20 * step, "MRR@10", 0.1) for step in range(steps)]
    seeds = [pd.DataFrame(values, columns=["system", "step", "name", "value"])] * 2
    title, name, table = over_training(seeds)
    shown = [int(cell.removeprefix("step ")) for cell in table.splitlines()[0].strip("| ").split(" | ")[1:]]
    assert (title, name) == ("## Over training", "### MRR@10")
    assert shown == sorted(set(shown)) and len(shown) == min(steps, LOOKS)
    assert (shown[0], shown[-1]) == (0, 20 * (steps - 1))
