"""Pages of measurements: a section is written anew, and what stands beside it is kept."""

from __future__ import annotations

from benchmarks.seeds import placed


def test_a_section_takes_the_place_of_its_old_one_and_leaves_the_others() -> None:
    first = placed("# Title\n\nText.\n", "## one\n\n### scores\n\n1\n")
    both = placed(first, "## two\n\n2\n")
    again = placed(both, "## one\n\n### scores\n\n3\n")
    assert first == "# Title\n\nText.\n\n## one\n\n### scores\n\n1\n"
    assert both == first + "\n## two\n\n2\n"
    assert again == both.replace("\n1\n", "\n3\n")
