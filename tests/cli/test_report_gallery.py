from dataclasses import replace

import numpy as np

from facewright.cli.report import Gallery, Report, Shown, render


def test_pictures_stand_with_their_captions(report: Report) -> None:
    shown = (
        Shown(np.full((32, 64, 3), 90, np.uint8), "a woman & a man <ride>", "encoder 0.52"),
        Shown(np.full((32, 32, 3), 40, np.uint8), "on a beach"),
    )
    before = render(report)
    page = render(replace(report, galleries=(Gallery("ann and bob", shown, "as <asked>"),)))
    assert '<div class="gallery">' not in before
    assert "<h2>ann and bob</h2>" in page
    assert "a woman &amp; a man &lt;ride&gt; <small>encoder 0.52</small>" in page
    assert '<p class="about">as &lt;asked&gt;</p>' in page
    assert page.count("<img") == before.count("<img") + 2
