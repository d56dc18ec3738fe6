"""The datasets and notebooks of the loopback site: what it answers to the client's calls about them."""

from dataclasses import dataclass, field
from typing import Any

Answer = tuple[int, Any]
ABSENT: Answer = (403, {"code": 403, "message": "Permission 'datasets.get' was denied"})


@dataclass
class Dataset:
    """Its versions, each a list of the tokens of its files; `statuses`: the answers from now on, the last one stays."""

    versions: list[list[str]] = field(default_factory=list)
    statuses: list[str] = field(default_factory=lambda: ["READY"])


@dataclass
class Run:
    """A version of a notebook: what was sent, and what becomes of it."""

    asked: dict[str, Any]
    statuses: list[str] = field(default_factory=lambda: ["QUEUED", "RUNNING", "COMPLETE"])
    reason: str = ""


class Notebooks:
    """What the site has. Set the fields before a call."""

    def __init__(self) -> None:
        self.datasets: dict[str, Dataset] = {}
        self.kernels: dict[str, list[Run]] = {}
        self.blobs: dict[str, bytes] = {}  # what was uploaded, by its token, which is its name
        self.output: dict[str, bytes] = {}  # the files that each run leaves
        self.log = "[]"
        self.dataset_statuses = ["BLOBS_RECEIVED", "READY"]  # of a dataset that is made
        self.run_statuses = ["QUEUED", "RUNNING", "COMPLETE"]
        self.reason = ""  # why a run failed
        self.kernel_error = ""  # what a push is refused with, in an answer of success
        self.invalid_sources: list[str] = []

    def answer(self, method: str, asked: dict[str, Any]) -> Answer | None:
        """Status and content for a call; None: it is about something else."""
        function = getattr(self, f"_{method}", None)
        return None if function is None else function(asked)

    def _StartBlobUpload(self, asked: dict[str, Any]) -> Answer:
        return 200, {"token": asked["name"], "createUrl": f"http://localhost/blobs/{asked['name']}"}

    def _GetDatasetStatus(self, asked: dict[str, Any]) -> Answer:
        dataset = self.datasets.get(f"{asked['ownerSlug']}/{asked['datasetSlug']}")
        return ABSENT if dataset is None else (200, {"status": _next(dataset.statuses)})

    def _GetDataset(self, asked: dict[str, Any]) -> Answer:
        dataset = self.datasets[f"{asked['ownerSlug']}/{asked['datasetSlug']}"]
        return 200, {"currentVersionNumber": len(dataset.versions)}

    def _CreateDataset(self, asked: dict[str, Any]) -> Answer:
        ref = f"{asked['ownerSlug']}/{asked['slug']}"
        if ref in self.datasets:
            return 200, {"status": "error", "error": "The requested slug is already in use by a dataset."}
        self.datasets[ref] = Dataset(statuses=list(self.dataset_statuses))
        return self._add(ref, asked["files"])

    def _CreateDatasetVersion(self, asked: dict[str, Any]) -> Answer:
        ref = f"{asked['ownerSlug']}/{asked['datasetSlug']}"
        self.datasets[ref].statuses = list(self.dataset_statuses)
        return self._add(ref, asked["body"]["files"])

    def _add(self, ref: str, files: list[dict[str, Any]]) -> Answer:
        self.datasets[ref].versions.append([file["token"] for file in files])
        return 200, {"status": "ok", "ref": ref, "url": f"https://www.kaggle.com/datasets/{ref}"}

    def _SaveKernel(self, asked: dict[str, Any]) -> Answer:
        if self.kernel_error:
            return 200, {"error": self.kernel_error}
        runs = self.kernels.setdefault(asked["slug"], [])
        runs.append(Run(asked, list(self.run_statuses), self.reason))
        url = f"https://www.kaggle.com/code/{asked['slug']}"
        return 200, {"versionNumber": len(runs), "url": url, "invalidDatasetSources": self.invalid_sources}

    def _run(self, asked: dict[str, Any]) -> Run | None:
        number, runs = (
            int(asked["versionLabel"].removeprefix("v")),
            self.kernels.get(f"{asked['userName']}/{asked['kernelSlug']}", []),
        )
        return runs[number - 1] if 0 < number <= len(runs) else None

    def _GetKernelSessionStatus(self, asked: dict[str, Any]) -> Answer:
        run = self._run(asked)
        if run is None:
            return 404, {"code": 404, "message": "Not found"}
        return 200, {"status": _next(run.statuses), "failureMessage": run.reason}

    def _ListKernelSessionOutput(self, asked: dict[str, Any]) -> Answer:
        files = [{"url": f"http://localhost/output/{name}", "fileName": name} for name in self.output]
        return 200, {"files": files, "log": self.log, "nextPageToken": ""}


def _next(statuses: list[str]) -> str:
    return statuses.pop(0) if len(statuses) > 1 else statuses[0]
