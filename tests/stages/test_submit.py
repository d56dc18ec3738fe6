"""The submit stage: the real Kaggle client as a subprocess, against a site on loopback."""

import base64
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from faults import machine
from foldline.cli import main
from foldline.core.competition import load_competition
from foldline.core.errors import FoldlineError
from foldline.core.paths import Layout
from foldline.core.records.entry import Entry, Kaggle
from foldline.core.tables import remove_orphans, sha256_file
from foldline.sources.kaggle import pauses, wait_for
from foldline.stages.submit import ledger, submit
from foldline.submission import leaderboard
from foldline.submission.leaderboard import kaggle_slug
from old_records import old
from sources.kaggle_site import Site, running_site
from sources.trees import plant, zipped

FACTS = """
source: {kind: kaggle, name: cats}
task: binary
metric: auc
train: {file: train.csv, row_id: id, image: "{id}.png", target: label}
test: {file: sample.csv, row_id: id, image: "{id}.png"}
submission: {sample: sample.csv}
"""
SUBMISSION = "id,label\n001,0.25\n002,0.75\n"
SCORED = {"status": "COMPLETE", "publicScore": "0.91", "privateScore": ""}


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    files: dict[str, str | bytes] = {
        "configs/toy/competition.yaml": FACTS,
        "input/toy/sample.csv": "id,label\n001,0\n002,0\n",
        "folds/toy.json": json.dumps(old("folds", outputs=["0", "1"])),
        "submissions/toy/best.csv": SUBMISSION,
    }
    layout = Layout(plant(tmp_path / "project", files))
    entry = {
        "schema": 1,
        "comp": "toy",
        "run": "best",
        "name": "best",
        "file": "best.csv",
        "sha256": sha256_file(layout.submission("toy", "best")),
        "time": "2026-11-01T12:00:00+00:00",
        "metric": "auc",
        "cv": {"pooled": 0.93, "mean": 0.92, "std": 0.01},
        "folds_sha256": "f" * 64,
        "members": [],
        "message": None,
        "kaggle": None,
        "public": None,
        "private": None,
    }
    plant(layout.root, {"submissions/toy/best.json": json.dumps(entry)})
    return layout


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    (tmp_path / "home").mkdir()
    with running_site(tmp_path / "home", monkeypatch) as site:
        yield site


def read_entry(layout: Layout) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(layout.submission("toy", "best").with_suffix(".json").read_text())
    return content


def send(layout: Layout, *, yes: bool = True, wait_seconds: float = 120.0) -> Entry:
    return submit(layout, "toy", "best", "first try", yes=yes, wait_seconds=wait_seconds, poll_seconds=0.01)


def test_the_file_is_sent_and_its_score_comes_into_the_ledger(layout: Layout, site: Site) -> None:
    site.answers = [{}, SCORED]
    send(layout)
    entry = read_entry(layout)
    assert site.uploaded.decode() == SUBMISSION
    assert site.file_name == "best.csv"
    assert site.submissions[0]["description"].startswith("first try [best ")
    assert entry["kaggle"] == {"ref": "100", "status": "complete"}
    assert (entry["public"], entry["private"], entry["message"]) == (0.91, None, "first try")
    assert entry["cv"]["pooled"] == 0.93


def test_a_message_may_begin_with_a_dash(layout: Layout, site: Site) -> None:
    site.answers = [SCORED]
    submit(layout, "toy", "best", "-f is no option", yes=True, poll_seconds=0.01)
    assert site.submissions[0]["description"].startswith("-f is no option [best ")


def test_a_single_fold_has_no_deviation(layout: Layout, site: Site) -> None:
    path = layout.submission("toy", "best").with_suffix(".json")
    path.write_text(json.dumps(read_entry(layout) | {"cv": {"pooled": 0.5, "mean": 0.5, "std": None}}))
    site.answers = [SCORED]
    assert submit(layout, "toy", "best", "", yes=True, poll_seconds=0.01).message == "best CV auc 0.50000"


def test_the_same_file_costs_one_slot_only(layout: Layout, site: Site) -> None:
    site.answers = [SCORED]
    send(layout)
    with pytest.raises(FoldlineError, match=r"sent before: public score 0\.91"):
        send(layout)
    assert site.calls.count("CreateSubmission") == 1


def test_waiting_can_be_broken_off_and_goes_on(layout: Layout, site: Site) -> None:
    with pytest.raises(FoldlineError, match="no score after 0 s") as caught:
        send(layout, wait_seconds=0)
    assert "goes on waiting" in caught.value.next
    assert read_entry(layout)["kaggle"]["status"] == "pending"
    site.answers = [SCORED]
    assert send(layout).public == 0.91
    assert site.calls.count("CreateSubmission") == 1


def test_a_submission_whose_answer_was_lost_is_found_again(layout: Layout, site: Site) -> None:
    site.lose_answer = True
    with pytest.raises(FoldlineError, match="cannot be reached"):
        send(layout)
    assert read_entry(layout)["kaggle"]["status"] == "uploading"
    site.answers = [SCORED]
    assert send(layout).public == 0.91
    assert site.calls.count("CreateSubmission") == 1


def test_killed_anywhere_one_slot_is_spent(
    layout: Layout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before each change of a file: the same command sends what was not sent, and waits for what was."""
    sent = tmp_path / "sent.jsonl"

    def client(words: list[str], *, page: str) -> str:
        if words[1] == "submit":
            item = {"ref": "7", "description": words[-1], **SCORED}
            with sent.open("a") as handle:
                handle.write(json.dumps(item) + "\n")
        return "[" + ",".join(sent.read_text().splitlines()) + "]" if sent.is_file() else ""

    monkeypatch.setattr(leaderboard, "run_client", client)
    before, kills = read_entry(layout), 0
    for moment in range(1, 100):
        sent.unlink(missing_ok=True)
        layout.submission("toy", "best").with_suffix(".json").write_text(json.dumps(before))
        process = os.fork()
        if process == 0:
            machine.ends_at(moment)(layout.root)
            send(layout)
            os._exit(0)
        if os.waitpid(process, 0)[1] == 0:
            break
        kills += 1
        remove_orphans.cache_clear()  # as each command does
        if (read_entry(layout)["kaggle"] or {}).get("status") == "complete":
            continue
        send(layout)
        assert len(sent.read_text().splitlines()) == 1
        assert (read_entry(layout)["public"], read_entry(layout)["kaggle"]["status"]) == (0.91, "complete")
        assert not list(layout.submission("toy", "best").parent.glob(".*"))
    assert kills >= 9  # three writes, each made, filled, and given its name


def test_another_submission_of_the_account_is_not_taken_for_ours(layout: Layout, site: Site) -> None:
    site.submissions = [
        {"ref": 7, "fileName": "best.csv", "date": "2026-11-01T00:00:00Z", "description": "x", **SCORED}
    ]
    site.answers = [SCORED]
    assert send(layout).kaggle == Kaggle(ref="101", status="complete")


def test_the_gate_stops_a_bad_file_before_anything_is_sent(layout: Layout, site: Site) -> None:
    path = layout.submission("toy", "best")
    path.write_text("id,label\n001,0.25\n02,0.75\n")
    with pytest.raises(FoldlineError, match="changed by hand"):
        send(layout)
    Entry.read(path.with_suffix(".json")).changed(sha256=sha256_file(path)).write(path.with_suffix(".json"))
    with pytest.raises(FoldlineError, match="ids"):
        send(layout)
    assert site.calls == []
    assert read_entry(layout)["kaggle"] is None


def test_without_a_yes_nothing_is_sent(layout: Layout, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(FoldlineError, match="nobody is there") as caught:
        send(layout, yes=False)
    assert "YES=1" in caught.value.next
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda question: "n" if "CV auc 0.93000" in question else "y")
    with pytest.raises(FoldlineError, match="as you said"):
        send(layout, yes=False)
    assert site.calls == []
    monkeypatch.setattr("builtins.input", lambda question: "y")
    site.answers = [SCORED]
    assert send(layout, yes=False).public == 0.91


REFUSALS: dict[str, tuple[str, int, str, str, str]] = {
    "daily limit": (
        "CreateSubmission",
        400,
        "You have exceeded your daily submission limit of 5",
        "daily limit",
        "midnight",
    ),
    "rules": ("StartSubmissionUpload", 403, "Permission 'competitions.participate' was denied", "rules", "cats/rules"),
    "throttled": ("StartSubmissionUpload", 429, "Too many requests", "throttles", "wait"),
    "credentials": ("StartSubmissionUpload", 401, "Unauthenticated", "credentials", "settings/api"),
    "closed": ("StartSubmissionUpload", 404, "Not found", "no such competition", "competitions/cats"),
    "notebooks": (
        "CreateSubmission",
        400,
        "Submission not allowed: This competition only accepts Submissions from Notebooks.",
        "notebooks",
        "cats/code",
    ),
    "ended": ("CreateSubmission", 400, "Submission not allowed: the deadline has passed", "ended", "leaderboard"),
    "phone": ("CreateSubmission", 403, "You must verify your phone number", "verified", "settings"),
    "upload": ("PUT", 500, "broken", "upload failed", "not spent"),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_each_refusal_has_its_own_words_and_can_be_tried_again(case: str, layout: Layout, site: Site) -> None:
    method, status, message, what, following = REFUSALS[case]
    site.errors = {method: (status, message)}
    with pytest.raises(FoldlineError) as caught:
        send(layout)
    assert what in caught.value.what
    assert following in caught.value.next
    site.errors = {}
    site.answers = [{}, SCORED]
    assert send(layout).public == 0.91


def test_no_network(layout: Layout, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    with pytest.raises(FoldlineError, match="cannot be reached"):
        send(layout)


def test_a_file_that_kaggle_cannot_score(layout: Layout, site: Site) -> None:
    site.answers = [{"status": "ERROR"}]
    with pytest.raises(FoldlineError, match="could not score"):
        send(layout)
    assert read_entry(layout)["kaggle"]["status"] == "error"


def test_a_competition_that_is_not_on_kaggle(layout: Layout) -> None:
    path = layout.competition_config("toy")
    path.write_text(path.read_text().replace("kind: kaggle", "kind: folder"))
    with pytest.raises(FoldlineError, match="does not come from a Kaggle competition"):
        send(layout)


def test_a_competition_whose_files_come_from_elsewhere_first(layout: Layout) -> None:
    facts = load_competition(layout, "toy")
    source = facts.source.model_copy(update={"kind": "folder", "name": "raw", "otherwise": facts.source})
    assert kaggle_slug(facts.model_copy(update={"source": source}), "toy") == "cats"


def test_a_submission_that_does_not_exist(layout: Layout) -> None:
    with pytest.raises(FoldlineError) as caught:
        submit(layout, "toy", "none", "", yes=True)
    assert "make ensemble" in caught.value.next


def test_the_ledger_shows_cv_beside_lb(layout: Layout, capsys: pytest.CaptureFixture[str]) -> None:
    second = read_entry(layout) | {"name": "later", "time": "2026-11-02T12:00:00+00:00", "cv": None, "public": 0.5}
    plant(
        layout.root, {"submissions/toy/later.json": json.dumps(second | {"kaggle": {"ref": "1", "status": "complete"}})}
    )
    assert [entry.name for entry in ledger(layout, "toy")] == ["later", "best"]
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split()[3:] == ["later", "auc", "-", "-", "0.50000", "-", "complete"]
    assert lines[2].split()[3:] == ["best", "auc", "0.93000", "0.01000", "-", "-", "not", "sent"]
    assert ledger(layout, "other") == []
    assert len(ledger(layout, None)) == 2


def test_the_command_shows_all_competitions_unless_one_is_named(
    layout: Layout, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["ledger", "--root", str(layout.root)]) == 0
    assert "toy" in capsys.readouterr().out
    assert main(["ledger", "--root", str(layout.root), "--comp", "elpv"]) == 0
    assert "no submissions yet of elpv" in capsys.readouterr().out


def test_the_secret_key_is_in_no_file_and_no_message(
    layout: Layout, site: Site, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """The whole loop with Kaggle, refused and taken, with --debug too: the key is sent, and nowhere else."""
    secret = "a7f3c1d9e5b24860"
    coded = base64.b64encode(f"u:{secret}".encode()).decode()
    monkeypatch.setenv("KAGGLE_KEY", secret)
    plant(layout.root, {"configs/more/competition.yaml": FACTS.replace("name: cats", "name: dogs")})
    site.archive, site.answers = zipped({"train.csv": "id,label\n1,a\n"}), [SCORED]
    command = ["submit", "--root", str(layout.root), "--comp", "toy", "--run", "best", "--message", "m", "--yes"]
    site.errors["StartSubmissionUpload"] = (401, "Unauthenticated")
    with pytest.raises(FoldlineError):
        main([*command, "--debug"])
    site.errors.clear()
    assert main(["download", "--root", str(layout.root), "--comp", "more"]) == 0
    assert main(command) == 0
    assert main(["ledger", "--root", str(layout.root)]) == 0
    assert site.keys == {f"Basic {coded}"}
    said = "".join(capfd.readouterr())
    assert "0.91" in said
    written = {path: path.read_bytes() for path in layout.root.parent.rglob("*") if path.is_file()}
    assert layout.manifest("more") in written
    for word in (secret, coded):
        assert word not in said
        assert not [path for path, content in written.items() if word.encode() in content or word in str(path)]


def test_a_wait_outlives_a_connection_that_breaks_and_not_a_refusal() -> None:
    broken, refused = FoldlineError("Kaggle throttles requests (429)"), FoldlineError("no valid Kaggle credentials")
    cases: list[tuple[list[FoldlineError | str | None], str]] = [
        ([*[broken] * 4, None, "found"], "found"),
        ([*[broken] * 5, "found"], broken.what),
        ([refused, "found"], refused.what),
    ]
    for answers, end in cases:
        left = iter(answers)

        def look(left: Iterator[FoldlineError | str | None] = left) -> str | None:
            answer = next(left)
            if isinstance(answer, FoldlineError):
                raise answer
            return answer

        try:
            found = wait_for(look, 60, 0.0)
        except FoldlineError as error:
            found = error.what
        assert found == end
    assert wait_for(lambda: None, 0, 0.0) is None


def test_pauses_grow_and_end() -> None:
    now = [0.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    waited = list(pauses(300, 5, clock=lambda: now[0], sleep=sleep))
    assert waited[:3] == [0.0, 5.0, 7.5]
    assert max(waited) == 60.0
    assert now[0] == 300
