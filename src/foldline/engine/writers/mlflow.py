"""MLflow: a run for each fold in the experiment of the competition's name.

MLFLOW_TRACKING_URI says where; without it `mlflow.db` in the project's folder, which `mlflow ui` reads there.
MLFLOW_EXPERIMENT_NAME names another experiment. https://mlflow.org/docs/latest/
"""

import os
import re
import time
from collections.abc import Mapping, Sequence
from typing import Any

from foldline.engine.writers.writer import EPOCH, NONE, STEP_LOSS, Ended, Point, Writer

ENDS = {"finished": "FINISHED", "stopped": "KILLED", "failed": "FAILED"}
AT_ONCE = 900  # numbers of one request, of which MLflow takes 1,000
PARAMS_AT_ONCE = 100
OF = "foldline.id"  # the tag by which a training finds its run again


class Mlflow(Writer):
    """A run of MLflow, whose store says itself how far it has come."""

    package, extra = "mlflow", "mlflow"

    def open(self, sent: int) -> int:  # noqa: ARG002, D102
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")  # of 7, which take minutes
        from mlflow import MlflowClient
        from mlflow.entities import Param

        of = self.of
        self.uri = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{of.root.resolve() / 'mlflow.db'}"
        self.client: Any = MlflowClient(self.uri)
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or of.comp
        experiment = self.client.get_experiment_by_name(name)
        number = experiment.experiment_id if experiment else self.client.create_experiment(name)
        found = self.client.search_runs([number], f"tags.`{OF}` = '{of.id}'", max_results=1)
        if found:
            self.id = found[0].info.run_id
            self.client.update_run(self.id, status="RUNNING")
            return self._last_step()
        self.id = self.client.create_run(number, tags={OF: of.id, **of.tags}, run_name=of.name).info.run_id
        settings = [Param(_plain(key), str(value)[:500]) for key, value in of.config.items()]
        for at in range(0, len(settings), PARAMS_AT_ONCE):
            self.client.log_batch(self.id, params=settings[at : at + PARAMS_AT_ONCE])
        return NONE

    def _last_step(self) -> int:
        """A request is written whole or not at all, so the last step of these two numbers is that of all."""
        histories = [self.client.get_metric_history(self.id, key) for key in (STEP_LOSS, EPOCH)]
        return max((metric.step for history in histories for metric in history), default=NONE)

    def add(self, points: Sequence[Point]) -> None:  # noqa: D102
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        batch: list[Any] = []
        for point in points:
            if len(batch) + len(point.numbers) > AT_ONCE:
                self.client.log_batch(self.id, metrics=batch)
                batch = []
            batch += [Metric(_plain(key), value, now, point.step) for key, value in point.numbers.items()]
        self.client.log_batch(self.id, metrics=batch)

    def summary(self, numbers: Mapping[str, float]) -> None:  # noqa: D102
        self.add([Point(0, numbers)])

    def close(self, ended: Ended) -> None:  # noqa: D102
        self.client.set_terminated(self.id, ENDS[ended])

    @property
    def where(self) -> str:  # noqa: D102
        return f"mlflow ui --backend-store-uri {self.uri}" if self.uri.startswith("sqlite:") else self.uri


def _plain(key: str) -> str:
    """A name that MLflow takes; a class may have any.

    >>> _plain("epoch/accuracy_a+b")
    'epoch/accuracy_a_b'
    """
    return re.sub(r"[^\w\-. /]", "_", key)
