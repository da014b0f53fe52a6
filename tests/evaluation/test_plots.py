import io
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from PIL import Image

from facewright.errors import DataError, InputError
from facewright.evaluation import error_rates
from facewright.evaluation.plots import cmc_plot, det_plot, roc_plot, score_histograms, similarity_histograms

RNG = np.random.default_rng(0)
GENUINE, IMPOSTOR = RNG.normal(0.5, 0.15, 400), RNG.normal(0.0, 0.15, 20_000)
CURVES = {"generated": error_rates(GENUINE, IMPOSTOR), "real": error_rates(GENUINE + 0.1, IMPOSTOR)}


def test_plots_are_png_pictures() -> None:
    for picture in (
        score_histograms(GENUINE, IMPOSTOR, threshold=0.25, picture="png"),
        roc_plot(CURVES, picture="png"),
        det_plot(CURVES, picture="png"),
    ):
        with Image.open(io.BytesIO(picture)) as opened:
            assert opened.format == "PNG"
            assert opened.width > opened.height > 400
            assert np.asarray(opened.convert("L")).std() > 10  # something is drawn


def test_plots_are_small_svg_documents() -> None:
    for picture in (score_histograms(GENUINE, IMPOSTOR), roc_plot(CURVES), det_plot(CURVES)):
        assert ElementTree.fromstring(picture).tag == "{http://www.w3.org/2000/svg}svg"
        assert len(picture) < 120_000


def test_identical_or_perfect_scores_can_be_drawn() -> None:
    one = np.array([0.5])
    assert score_histograms(one, one, picture="png").startswith(b"\x89PNG")
    perfect = {"perfect": error_rates(one, np.array([0.1, 0.2]))}
    assert roc_plot(perfect, picture="png").startswith(b"\x89PNG")
    assert det_plot(perfect, picture="png").startswith(b"\x89PNG")


def test_unusable_input_is_refused() -> None:
    with pytest.raises(DataError, match="not finite"):
        score_histograms(GENUINE, np.array([np.nan]))
    with pytest.raises(InputError, match="at least one curve"):
        roc_plot({})
    with pytest.raises(InputError, match="at least one curve"):
        det_plot({})
    with pytest.raises(InputError, match="png or svg"):
        score_histograms(GENUINE, IMPOSTOR, picture="pdf")  # type: ignore[arg-type]


def test_cmc_names_rank_one() -> None:
    picture = cmc_plot({"ours": np.array([0.5, 0.75, 1.0]), "one rank": np.array([0.25])})
    assert b"<svg" in picture
    with Image.open(io.BytesIO(cmc_plot({"ours": np.array([0.5, 0.75])}, picture="png"))) as opened:
        assert np.asarray(opened.convert("L")).std() > 10
    with pytest.raises(InputError, match="at least one curve"):
        cmc_plot({})


def test_histograms_of_several_groups() -> None:
    groups = {"generated": GENUINE, "held-out people": IMPOSTOR}
    assert len(similarity_histograms(groups, title="Nearest", threshold=0.4)) < 200_000
    assert similarity_histograms({"all equal": np.ones(5)}, title="Nearest")
    with pytest.raises(InputError, match="finite similarities"):
        similarity_histograms({"empty": np.array([])}, title="Nearest")
