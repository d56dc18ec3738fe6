"""The commit that a project stands at."""

import subprocess
from pathlib import Path
from shutil import which

import pytest

from foldline.core.git import commit_of


@pytest.mark.skipif(not which("git"), reason="no git here")
def test_commit_and_whether_files_were_changed(tmp_path: Path) -> None:
    def git(*words: str) -> None:
        who = ["-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
        subprocess.run(["git", "-C", str(tmp_path), *who, *words], check=True, capture_output=True)

    assert commit_of(tmp_path / "gone") == ""
    git("init")
    assert commit_of(tmp_path) == ""
    (tmp_path / "a.txt").write_text("1")
    git("add", "a.txt")
    git("commit", "-m", "one")
    clean = commit_of(tmp_path)
    assert len(clean) == 40
    (tmp_path / "new.txt").write_text("untracked files are no change")
    assert commit_of(tmp_path) == clean
    (tmp_path / "a.txt").write_text("2")
    assert commit_of(tmp_path) == f"{clean} dirty"


def test_without_git_there_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert commit_of(Path(__file__).parent) == ""
