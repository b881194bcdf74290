"""The report's figures: their lines, bars and points are the material's numbers, and nothing is cut or unlabelled."""

from __future__ import annotations

import io
import math
from dataclasses import replace
from itertools import combinations, pairwise
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
import pytest
from made_report import by_query, made_material
from matplotlib.axes import Axes
from matplotlib.backend_bases import RendererBase
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.container import BarContainer
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.text import Annotation, Text
from scipy import stats

from hardneg.report.claims.concentration import concentration
from hardneg.report.claims.looks import of_two, with_start
from hardneg.report.claims.signs import sign_test
from hardneg.report.figures.style import COLOURS, STYLE, line_styles
from hardneg.report.items import ITEMS
from hardneg.report.material import Errors, Material, Movement
from hardneg.report.text import measures_text

DRAWN = (
    *("effectiveness", "figure5", "seeds", "losses", "figure3", "figure4a", "figure4b", "figure6", "negatives_by_rank"),
)


@pytest.fixture(scope="module")
def material() -> Material:
    return made_material()


def draw(name: str, material: Material) -> Figure:
    figure = ITEMS[name](material).figure
    assert figure is not None
    return figure()


def here(name: str, material: Material) -> str:
    return ITEMS[name](material).here


def bars_of(panel: Axes) -> list[Rectangle]:
    return [bar for bar in panel.patches if isinstance(bar, Rectangle)]


def lines(panel: Axes) -> dict[str, tuple[list[float], list[float]]]:
    """Labelled lines: x and y."""
    return {
        str(line.get_label()): (np.asarray(line.get_xdata()).tolist(), np.asarray(line.get_ydata()).tolist())
        for line in panel.get_lines()
        if not str(line.get_label()).startswith("_")
    }


def renamed(material: Material, old: str, new: str) -> Material:
    """A system under another name, everywhere in what the figures show."""
    assert material.errors is not None
    assert material.negatives is not None
    frames: dict[str, Any] = {
        field: getattr(material, field).replace({"system": {old: new}})
        for field in ("systems", "measures", "per_query", "trajectory", "ablation", "seeds", "losses")
    }
    frames["systems"] = frames["systems"].replace({"starts_from": {old: new}})
    frames["ablation"] = frames["ablation"].replace({"base": {old: new}})
    rows = material.errors.rows.replace({"system": {old: new}})
    by_rank = material.negatives.by_rank.replace({"system": {old: new}})
    errors, negatives = replace(material.errors, rows=rows), replace(material.negatives, by_rank=by_rank)
    return replace(material, **frames, errors=errors, negatives=negatives)


@pytest.mark.parametrize("name", DRAWN)
@pytest.mark.parametrize("system", ["bm25neg", "a_long_name_$of$_the_<warm-up>"])
def test_texts_are_whole_apart_and_large_enough(
    material: Material, name: str, system: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    figure = draw(name, renamed(material, "bm25neg", system))
    really_draw = Text.draw
    texts: list[Text] = []

    def recorded(text: Text, renderer: RendererBase) -> None:
        if text.get_visible() and text.get_text().strip():
            texts.append(text)
        really_draw(text, renderer)

    with matplotlib.rc_context(STYLE):
        figure.savefig(io.BytesIO())
        monkeypatch.setattr(Text, "draw", recorded)
        figure.savefig(io.BytesIO())
    width, height = figure.bbox.size
    boxes = {text: text.get_window_extent() for text in dict.fromkeys(texts)}
    for text, box in boxes.items():
        assert box.x0 > -1 and box.y0 > -1 and box.x1 < width + 1 and box.y1 < height + 1, text.get_text()
        assert float(text.get_fontsize()) >= 7
        assert "mathdefault" not in text.get_text()
    level = [text for text in boxes if text.get_rotation() == 0]
    assert len(level) >= 4
    for one, two in combinations(level, 2):
        assert not boxes[one].overlaps(boxes[two]), (one.get_text(), two.get_text())
    assert 7 <= figure.get_figwidth() * 2.54 <= 9


@pytest.mark.parametrize("name", DRAWN)
def test_axes_are_named(material: Material, name: str) -> None:
    *panels, last = draw(name, material).axes
    assert all(panel.get_ylabel() for panel in panels)
    assert last.get_ylabel() or next(label.get_text() for label in last.get_yticklabels()) in set(
        material.systems["system"]
    )
    assert last.get_xlabel() or last.get_ylabel() == "training step"


@pytest.mark.parametrize("name", DRAWN)
def test_the_same_numbers_give_the_same_bytes(material: Material, name: str) -> None:
    def svg() -> bytes:
        drawing = io.BytesIO()
        with matplotlib.rc_context(STYLE):
            draw(name, material).savefig(drawing, format="svg", metadata={"Date": None})
        return drawing.getvalue()

    assert svg() == svg()


def test_no_two_systems_of_the_paper_have_the_same_line(material: Material) -> None:
    styles = [(style["color"], str(style["linestyle"])) for style in line_styles(material).values()]
    assert len(set(styles)) == len(styles) == len(material.systems)
    assert len(set(COLOURS.values())) == len(COLOURS)


def test_effectiveness_bars_are_means_with_t_intervals(material: Material) -> None:
    panel = draw("effectiveness", material).axes[0]
    values = material.per_query.query("split == 'test' and measure == 'MRR@10'")
    names = [label.get_text() for label in panel.get_yticklabels()]
    assert names == list(material.systems["system"])
    drawn = {}
    for bars in panel.containers:
        if isinstance(bars, BarContainer) and bars.errorbar is not None:
            segments = bars.errorbar.lines[2][0].get_segments()
            for bar, segment in zip(bars, segments, strict=True):
                drawn[names[round(bar.get_y() + bar.get_height() / 2)]] = (bar.get_width(), *np.asarray(segment)[:, 0])
    assert set(drawn) == set(names)
    for system, found in drawn.items():
        own = values.loc[values["system"] == system, "value"]
        low, high = stats.t.interval(0.95, len(own) - 1, own.mean(), stats.sem(own))
        assert found == pytest.approx((own.mean(), low, high))
    best = max(drawn, key=lambda system: drawn[system][0])
    reaching = sum(drawn[system][2] >= drawn[best][1] for system in drawn if system != best)
    assert f"the intervals of {reaching} of the 14 other systems" in here("effectiveness", material)


def test_figure3_is_the_spread_of_errors(material: Material) -> None:
    assert material.errors is not None
    rows = material.errors.rows
    histogram, shares, apart = draw("figure3", material).axes
    drawn = lines(shares)
    widths = [line.get_linewidth() for line in shares.get_lines() if str(line.get_label()) in drawn]
    assert widths == sorted(widths, reverse=True) and len(set(widths)) == len(widths), "each shows under the next"
    away = [np.asarray(line.get_ydata()) for line in apart.get_lines() if len(np.asarray(line.get_xdata())) > 2]
    assert len(away) == len(drawn)
    assert np.abs(np.sum(away, axis=0)).max() < 1e-9 and np.abs(away).max() > 1, "around their mean"
    for own, (_, held) in zip(away, drawn.values(), strict=True):
        assert own[0] == pytest.approx(held[0] - np.mean([share[0] for _, share in drawn.values()]))
    table = ITEMS["figure3"](material).table
    assert table is not None
    for system in rows["system"].unique():
        errors = sorted(rows.loc[rows["system"] == system].groupby("query")["errors"].sum(), reverse=True)
        places, held = drawn[system]
        assert places[-1] == held[-1] == 100
        for place, share in zip(places, held, strict=True):
            assert share == pytest.approx(100 * sum(errors[: round(place * len(errors) / 100)]) / sum(errors))
        own = table.set_index("system").loc[system].tolist()
        difficult = [count for count in errors if count > 1000]
        hardest = errors[: round(0.05 * len(errors))]
        expected = [len(difficult) / len(errors), sum(difficult) / sum(errors), sum(hardest) / sum(errors)]
        assert own == pytest.approx([100 * value for value in expected])
    random = rows.loc[rows["system"] == "rand"].groupby("query")["errors"].sum()
    counted = [(bar.get_x(), bar.get_x() + bar.get_width(), bar.get_height()) for bar in bars_of(histogram)]
    assert sum(count for *_, count in counted) == len(random)
    for low, high, count in counted[:-1]:
        assert count == sum(low <= value < high for value in random)
    assert "rand" in histogram.get_xlabel()


def test_training_curves_have_a_panel_each_with_its_own_scale(material: Material) -> None:
    rows = material.losses
    assert rows is not None
    panels = draw("losses", material).axes
    assert [panel.get_title(loc="left") for panel in panels] == list(rows["system"].unique())
    for panel in panels:
        own = rows[rows["system"] == panel.get_title(loc="left")]
        (line,) = panel.get_lines()
        assert np.asarray(line.get_xdata()).tolist() == own["step"].tolist()
        assert np.asarray(line.get_ydata()).tolist() == own["loss"].tolist()
    assert f"inbatch {1:.3g} to {0.5**3.8:.3g}; rand {2:.3g} to" in here("losses", material)


def spread(material: Material, **errors: list[int]) -> Material:
    """These systems alone, with the errors of each query."""
    frames = [
        pd.DataFrame({"system": name, "query": range(len(own)), "passage": 0, "errors": own, "top_k": 0})
        for name, own in errors.items()
    ]
    return replace(material, errors=Errors(200, 1000, pd.concat(frames, ignore_index=True)))


def test_figure3_compares_the_hardest_queries_of_random_and_hard_negatives(material: Material) -> None:
    generator = np.random.default_rng(3)
    even, uneven = generator.integers(50, 60, 200).tolist(), generator.integers(50, 60, 200).tolist()
    uneven[:20] = [3000] * 20
    said = here("figure3", spread(material, rand=uneven, bm25neg=even, star=even))
    assert said.startswith("It shows here: the hardest 5% of queries hold ")
    assert "of the errors of rand, trained with random negatives, and " in said
    assert "those of star, trained with hard ones (difference +" in said
    # The share may be large with random negatives and yet larger with hard ones: then it is no effect of theirs.
    said = here("figure3", spread(material, rand=uneven, bm25neg=[100_000] * 10 + [1] * 190))
    assert said.startswith("It does not show here: the hardest 5% of queries hold 43.0%")
    assert "100.0% of those of bm25neg" in said
    said = here("figure3", spread(material, rand=uneven, bm25neg=uneven))
    assert said.startswith("It does not show here: ")
    assert "(difference +0.0 points, interval +0.0 to +0.0)" in said
    said = here("figure3", spread(material, rand=uneven, bm25neg=even, star=uneven))
    assert said.startswith("It shows in part: ")
    assert "those of star" in said.split("It does not show: ")[1]
    assert "would be refuted if a few queries hold as large a share of the errors with hard negatives" in said
    alone = spread(material, star=even)
    assert here("figure3", alone).startswith("Cannot be checked here: no system is trained with random negatives")
    assert len(draw("figure3", alone).axes) == 1
    alone = spread(material, rand=uneven, adore_rand=even)
    assert here("figure3", alone).startswith("Cannot be checked here: none to compare with has hard negatives")


def test_concentration_is_the_share_of_the_hardest_and_a_bootstrap_over_queries() -> None:
    generator = np.random.default_rng(0)
    errors = pd.DataFrame({"a": generator.integers(0, 900, 60) ** 2, "b": generator.integers(0, 900, 60)})

    def share(values: list[int]) -> float:
        return 100 * sum(sorted(values, reverse=True)[:3]) / sum(values)

    (found,) = concentration(errors, "a", ["b"])
    assert (found.share, found.other) == pytest.approx((share(errors["a"].tolist()), share(errors["b"].tolist())))
    again = np.random.default_rng(1)
    drawn = [errors.iloc[again.integers(0, 60, 60)] for _ in range(1000)]
    differences = [share(rows["a"].tolist()) - share(rows["b"].tolist()) for rows in drawn]
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(differences, [0.025, 0.975])), abs=1)
    assert concentration(errors, "a", []) == []
    two = concentration(errors.assign(c=errors["b"]), "a", ["b", "c"])
    assert two[0].low < found.low < found.high < two[0].high  # 95% over both


def test_figure4_is_the_trajectory(material: Material) -> None:
    rows = material.trajectory
    assert rows is not None
    overlap, rank = draw("figure4a", material).axes
    for panel, name, scale in ((overlap, "overlap@200", 100), (rank, "best static rank", 1)):
        own = rows[rows["name"] == name]
        assert lines(panel) == {"static_bm25neg": (own["step"].tolist(), (scale * own["value"]).tolist())}
    effect, seen = draw("figure4b", material).axes
    assert {label.partition(" (")[0] for label in lines(seen)} == set(rows["system"])
    for label, drawn in lines(seen).items():
        own = rows[(rows["name"] == "MRR@10, training queries") & (rows["system"] == label.partition(" (")[0])]
        assert drawn == (own["step"].tolist(), own["value"].tolist())
    families = {"adore": "ADORE", "live": "dynamic", "random": "random", "static": "static hard"}
    for label, (steps, values) in lines(effect).items():
        system, _, kind = label.partition(" (")
        own = rows[(rows["name"] == "MRR@10") & (rows["system"] == system)]
        assert (steps, values) == (own["step"].tolist(), own["value"].tolist())
        assert kind == f"{families[system.split('_')[0]]})"
    assert len(lines(effect)) == 4


def test_figure4_says_whether_the_paper_s_claims_show(material: Material) -> None:
    assert material.trajectory is not None
    assert here("figure4b", material).startswith("It shows here: ")
    # Time runs backwards: what rose falls. Static lists are below the others as often as before.
    reverse = material.trajectory.assign(step=300 - material.trajectory["step"]).sort_values("step", kind="stable")
    said = here("figure4b", replace(material, trajectory=reverse, trajectory_queries=by_query(reverse)))
    assert said.startswith("It shows in part: static_bm25neg (static hard) is below adore_bm25neg (ADORE) in ")
    lost = said.split("It does not show: ")[1]
    assert "adore_bm25neg (ADORE) goes from 0.4478 to 0.3900, above its start in 2 of 12 evaluations (0 " in lost
    assert "random_bm25neg (random) goes from 0.3765 to 0.3900, below its start in " in lost
    # The same means over queries that differ too much among themselves to tell.
    wide = by_query(material.trajectory, spread=4.0)
    assert here("figure4b", replace(material, trajectory_queries=wide)).startswith("It does not show here: ")
    without = material.trajectory[material.trajectory["name"] == "MRR@10"]
    unknown = replace(material, trajectory=without)
    assert here("figure4a", unknown).startswith("Cannot be checked here: no tracked system trains on static lists")
    assert "nothing was measured" in [text.get_text() for text in draw("figure4a", unknown).axes[0].texts]


def test_looks_are_paired_t_tests_with_holm_s_correction() -> None:
    generator = np.random.default_rng(0)
    start = generator.normal(0.4, 0.2, 80)
    shifts = {0: 0.0, 10: 0.05, 20: 0.015, 30: -0.05}
    ours = pd.DataFrame({look: start + shift + generator.normal(0, 0.05, 80) for look, shift in shifts.items()})
    p_values = {look: float(stats.ttest_rel(ours[look], ours[0]).pvalue) for look in (10, 20, 30)}
    ordered = sorted(p_values, key=p_values.__getitem__)
    corrected, least = {}, 0.0
    for place, look in enumerate(ordered):
        corrected[look] = least = min(1.0, max(least, p_values[look] * (3 - place)))
    found = with_start(ours)
    higher = [look for look in (10, 20, 30) if ours[look].mean() > ours[0].mean()]
    assert (found.above, found.below, found.looks) == (len(higher), 3 - len(higher), 3)
    assert found.clearly_above == sum(corrected[look] < 0.05 for look in higher)
    assert found.clearly_below == sum(corrected[look] < 0.05 for look in (10, 20, 30) if look not in higher)
    assert corrected[30] < 0.05 and found.ends == -1
    against = of_two(ours.drop(columns=20), ours + 0.01 * generator.normal(1, 0.1, (80, 1)))
    assert (against.looks, against.clearly_below, against.above, against.ends) == (2, 2, 0, -1)
    assert with_start(ours[[0]]).looks == of_two(ours[[0]], ours).looks == 0


def followed(material: Material, overlap: list[float], rank: list[float]) -> Material:
    """The overlap and the best static rank of one training, step by step."""
    rows = [("static_bm25neg", step, "overlap@200", value) for step, value in enumerate(overlap)]
    rows += [("static_bm25neg", step, "best static rank", value) for step, value in enumerate(rank)]
    return replace(material, trajectory=pd.DataFrame(rows, columns=["system", "step", "name", "value"]))


def test_figure4a_can_fail(material: Material) -> None:
    steps = 12
    falling, low = [0.8, *[0.5 - 0.01 * n for n in range(steps)]], [1.0, *[50.0] * steps]
    said = here("figure4a", followed(material, falling, low))
    assert said.startswith(
        "It shows here: the overlap of static_bm25neg starts at 80%, is below that in 12 of 12 later "
    )
    assert "ranks beyond 10 in 12 of 12 evaluations after the first, last at 50 (p = .0005)" in said
    said = here("figure4a", followed(material, falling, [1.0] * (steps + 1)))
    assert said.startswith("It shows in part: the overlap")
    assert "ranks beyond 10 in 0 of 12" in said.split("It does not show: ")[1]
    rising = [0.3, *[0.5 + 0.01 * n for n in range(steps)]]
    for same in (rising, [0.7] * (steps + 1), [0.7, *[0.6, 0.8] * (steps // 2)]):
        said = here("figure4a", followed(material, same, [1.0] * (steps + 1)))
        assert said.startswith("It does not show here: the overlap of static_bm25neg starts at ")
        assert "not significant" in said
    late = here("figure4a", followed(material, [0.8, 0.5, 0.4], [1.0, 50.0, 90.0]))  # too few to tell
    assert late.startswith("It does not show here: ")


@pytest.mark.parametrize(("times", "of"), [(0, 0), (0, 5), (3, 5), (5, 5), (9, 12)])
def test_the_sign_test_is_the_binomial_tail(times: int, of: int) -> None:
    tail = sum(math.comb(of, n) for n in range(times, of + 1)) / 2**of
    assert sign_test(times, of) == pytest.approx(tail)


def test_figure5_has_the_base_and_every_variant(material: Material) -> None:
    (panel,) = draw("figure5", material).axes
    values = material.measures.query("split == 'test' and measure == 'MRR@10'").set_index("system")["value"]
    drawn = {
        str(bars.get_label()): [bar.get_height() for bar in bars]
        for bars in panel.containers
        if isinstance(bars, BarContainer)
    }
    assert drawn == {
        "before": [values["bm25neg"], values["star"]],
        "static": [values["static_bm25neg"]],
        "dynamic": [values["live_bm25neg"], values["live_star"]],
        "dynamic + lambda": [values["adore_bm25neg"], values["adore_star"]],
    }
    places = sorted(bar.get_x() for bar in bars_of(panel))
    assert all(later - earlier > bars_of(panel)[0].get_width() for earlier, later in pairwise(places))


def test_figure5_says_whether_each_part_helps(material: Material) -> None:
    def scored(**means: float) -> Material:
        noise = np.random.default_rng(1).normal(0, 0.02, (len(means), 50))
        frames = [
            pd.DataFrame({"query_id": [str(n) for n in range(50)], "value": mean + row - row.mean()}).assign(
                system=system, split="test", measure="MRR@10"
            )
            for (system, mean), row in zip(means.items(), noise, strict=True)
        ]
        per_query = pd.concat(frames, ignore_index=True)
        measures = per_query.groupby(["system", "split", "measure"], sort=False)["value"].mean().reset_index()
        assert material.ablation is not None
        ablation = material.ablation[material.ablation["base"].isin(means)]
        return replace(material, per_query=per_query, measures=measures, ablation=ablation)

    rising = scored(bm25neg=0.3, static_bm25neg=0.2, live_bm25neg=0.4, adore_bm25neg=0.5)
    assert here("figure5", rising).startswith("It shows here: live_bm25neg 0.4000 against bm25neg 0.3000 (p <.0001); ")
    flat = scored(bm25neg=0.3, static_bm25neg=0.2, live_bm25neg=0.4, adore_bm25neg=0.4)
    said = here("figure5", flat)
    assert said.startswith("It shows in part: live_bm25neg 0.4000 against bm25neg 0.3000")
    assert (
        "adore_bm25neg 0.4000 against live_bm25neg 0.4000 (p = 1.0000, not significant)"
        in said.split("It does not show: ")[1]
    )
    falling = scored(bm25neg=0.5, static_bm25neg=0.6, live_bm25neg=0.4, adore_bm25neg=0.3)
    assert here("figure5", falling).startswith("It does not show here: ")
    # The paper's lambda weights add nothing on STAR: there it shows where no gain does.
    said = here("figure5", scored(star=0.3, live_star=0.4, adore_star=0.4))
    assert said.startswith(
        "It shows here: live_star 0.4000 against star 0.3000 (p <.0001); no significant further gain on STAR, "
    )
    said = here("figure5", scored(star=0.3, live_star=0.4, adore_star=0.5))
    assert said.split("It does not show: ")[1].startswith(
        "a significant further gain on STAR, adore_star 0.5000 against live_star 0.4000"
    )


def test_figure6_is_the_path_and_the_passages(material: Material) -> None:
    assert material.movement is not None
    panel, scale = draw("figure6", material).axes
    rows = material.movement.rows
    path = rows[rows["kind"] == "query"]
    (graded,) = [found for found in panel.collections if isinstance(found, LineCollection)]
    points = path[["x", "y"]].to_numpy()
    assert np.array_equal(
        np.stack([np.asarray(part) for part in graded.get_segments()]), np.stack([points[:-1], points[1:]], 1)
    )
    assert np.asarray(graded.get_array()).tolist() == path["step"].tolist()[1:]
    clouds = [found for found in panel.collections if isinstance(found, PathCollection)]
    for kind, label in (
        ("near_before", "ranked best before"),
        ("near_after", "ranked best after"),
        ("relevant", "relevant"),
    ):
        (own,) = [found for found in clouds if found.get_label() == label]
        assert np.array_equal(np.asarray(own.get_offsets()), rows[rows["kind"] == kind][["x", "y"]].to_numpy())
    (arrow,) = [found for found in panel.texts if isinstance(found, Annotation)]
    assert (arrow.xy, arrow.get_position()) == (tuple(points[-1]), tuple(points[-2]))
    assert scale.get_ylabel() == "training step"
    legend = [text.get_text() for text in draw("figure6", material).legends[0].get_texts()]
    assert {"query before (rank 37)", "query after (rank 2)"} <= set(legend)


def test_figure6_says_whether_the_rank_rises(material: Material) -> None:
    assert here("figure6", material).startswith("It shows here: its first relevant passage moves from rank 37 to 2.")
    assert material.movement is not None
    still: Movement = replace(material.movement, rank_after=37)
    assert here("figure6", replace(material, movement=still)).startswith("It does not show here: ")


def test_the_same_means_are_in_the_terminal_s_table(material: Material) -> None:
    """The bars and `measures.txt` are made from two tables, which must agree."""
    panel = draw("effectiveness", material).axes[0]
    names = [label.get_text() for label in panel.get_yticklabels()]
    shown = {
        line.split()[0]: line.split()[1].rstrip("*")
        for line in measures_text(material.measures, "test").splitlines()[1:]
    }
    widths = {names[round(bar.get_y() + bar.get_height() / 2)]: bar.get_width() for bar in bars_of(panel)}
    assert {name: f"{width:.4f}" for name, width in widths.items()} == shown
