"""Weights from a hub that is away: one message that says what to do, at once."""

from pathlib import Path

import pytest
from huggingface_hub import constants

from foldline.core.errors import FoldlineError
from foldline.core.paths import Layout
from foldline.core.run import Model
from foldline.models.architecture import Architecture
from foldline.models.backbone import build_pretrained

RESNET = Architecture(name="resnet18", outputs=2, channels=3, height=32, width=32)


@pytest.mark.parametrize("offline", [False, True])
def test_a_hub_that_is_away_is_one_message(
    offline: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", offline)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("time.sleep", lambda seconds: pytest.fail("waits to ask again"))
    model = Model.model_validate({"name": "resnet18", "weights": "hub"})
    with pytest.raises(FoldlineError, match="HF_HUB_OFFLINE is set" if offline else "cannot be reached") as caught:
        build_pretrained(RESNET, model, Layout(tmp_path))
    assert str(tmp_path) in caught.value.what
    assert "https://huggingface.co/timm/resnet18" in caught.value.where
    assert "model.weights.options.file=PATH" in caught.value.next
    assert "".join(capfd.readouterr()) == ""
    assert offline == constants.HF_HUB_OFFLINE
