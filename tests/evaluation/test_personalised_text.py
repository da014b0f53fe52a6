from pathlib import Path

import numpy as np
import pytest
from tests.evaluation.tiny_clip import save_tiny_clip

from facewright.errors import DataError, InputError
from facewright.evaluation.personalised_text import load_clip

pytest.importorskip("transformers", reason="needs the extra personalise")


def test_clip_scores_are_cosines_of_picture_and_text(tmp_path: Path) -> None:
    import torch
    from transformers import AutoTokenizer, CLIPModel

    folder = save_tiny_clip(tmp_path / "tiny")
    scorer = load_clip(folder)
    chance = np.random.default_rng(0)
    images = [chance.integers(0, 256, (32, 32, 3), np.uint8), chance.integers(0, 256, (40, 60, 3), np.uint8)]
    scores = scorer.score(images, ["a photo of a woman", "the beach"])
    assert scorer.name == "clip tiny"
    model, tokenizer = CLIPModel.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    mean = torch.tensor([0.48145466, 0.4578275, 0.40821073])[:, None, None]
    deviation = torch.tensor([0.26862954, 0.26130258, 0.27577711])[:, None, None]
    pixels = (torch.from_numpy(images[0]).permute(2, 0, 1) / 255 - mean) / deviation
    with torch.no_grad():
        seen = model.visual_projection(model.vision_model(pixels[None]).pooler_output)
        tokens = tokenizer("a photo of a woman", return_tensors="pt")
        read = model.text_projection(model.text_model(**tokens).pooler_output)
    assert scores[0] == pytest.approx(float(torch.cosine_similarity(seen, read)), abs=1e-5)
    assert scorer.score([images[1]], ["the beach"])[0] == pytest.approx(scores[1], abs=1e-5)
    assert -1 <= scorer.score([images[0]], ["beach " * 200])[0] <= 1  # type: ignore[operator]


def test_what_is_no_clip_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no CLIP model"):
        load_clip(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(DataError, match="cannot be read as a CLIP model"):
        load_clip(tmp_path)
