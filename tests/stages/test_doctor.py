"""The doctor: what is wrong is named with its remedy, no secret is shown, a program gets one JSON value."""

import json
from pathlib import Path

import pytest

from foldline.cli import main
from foldline.stages import doctor


def test_a_sound_machine_needs_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["doctor", "--offline", "--json", "--root", str(tmp_path)])
    told = json.loads(capsys.readouterr().out)
    names = {one["what"] for one in told["findings"]}
    assert {"foldline", "Python", "torch", "timm", "CUDA", "CPU", "cores", "disk of oof/", "browser"} <= names
    assert code == (0 if told["ready"] else 1)
    assert told["ready"] == (not any(one["mend"] for one in told["findings"]))


def test_an_old_package_and_a_full_disk_are_to_be_mended(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = doctor._version
    monkeypatch.setattr(doctor, "requires", lambda name: ["timm>=99", "numpy>=2.0", 'gradio>=99; extra == "app"'])
    monkeypatch.setattr(doctor, "_version", lambda name: "missing" if name == "numpy" else real(name))
    monkeypatch.setattr(doctor, "LEAST_DISK", 1e9)
    assert main(["doctor", "--offline", "--root", str(tmp_path)]) == 1
    said = capsys.readouterr().out
    assert "mend timm: pip install 'timm>=99'" in said
    assert "mend numpy: pip install 'numpy>=2.0'" in said
    assert "mend disk of input/: free some space" in said
    assert "gradio" not in said.split("mend timm", 1)[1]


def test_where_the_token_lies_is_said_and_never_what_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("KAGGLE_API_TOKEN", "KAGGLE_USERNAME", "KAGGLE_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("KAGGLE_CONFIG_DIR", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "none"))
    assert doctor._kaggle()[0].found.startswith("none")
    path = tmp_path / "kaggle.json"
    path.write_text('{"username": "me", "key": "s3cret"}')
    path.chmod(0o644)
    (found,) = doctor._kaggle()
    assert str(path) in found.found
    assert "chmod 600" in found.mend
    assert "s3cret" not in str(found)
    path.chmod(0o600)
    assert doctor._kaggle()[0].mend == ""
    monkeypatch.setenv("KAGGLE_API_TOKEN", "s3cret")
    assert doctor._kaggle() == [doctor.Finding("Kaggle token", "in the environment")]


def test_a_site_that_is_not_there_is_no_reason_to_mend(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(address: tuple[str, int], timeout: float) -> None:
        raise OSError(111, "Connection refused")

    monkeypatch.setattr("socket.create_connection", refuse)
    found = doctor._network()
    assert len(found) == 3
    assert all("cannot be reached" in one.found and not one.mend for one in found)
