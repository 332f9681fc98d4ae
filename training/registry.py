"""The registry of trained models, in MLflow: an SQLite file in the data folder, or a server.

A training is a run (parameters, metrics, the data's card, plots, the model's file) and a version of one registered model. Aliases say which
version is champion and which challenger; a tag of the registered model lists the champions before. Nothing but training and the
commands about models imports this: what serves is on the shelf (`scorers/learned/shelf.py`).
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ringwatch.errors import BadInput, NotFound, StoreAway
from ringwatch.settings import Settings, quieten_mlflow

NAME = "ringwatch"
"""Of experiment and registered model."""
CHAMPION, CHALLENGER = "champion", "challenger"
MODEL, ABOUT, CARD, PLOTS = "model.safetensors", "about.json", "card.json", "plots"
"""Artifacts of a run; `about.json` is what `models show` tells."""
_CHAMPIONS = "champions_before"
_KNOWN = {"seed", "data", "holdout", "label", "sha256"}


@dataclass(frozen=True, slots=True)
class Version:
    """A trained model in the registry."""

    number: str
    label: str
    """What its trainer called it."""
    aliases: tuple[str, ...]
    created: str
    metrics: dict[str, float]
    """On held-out rows."""
    seed: str
    data: str
    """Hash of the data set's content."""
    holdout: str
    """Which rows were held out: figures of equal ones compare."""
    sha256: str
    """Of the model's file."""
    run: str


class Registry:
    """Raises StoreAway where it cannot be reached, NotFound for a version that is not there."""

    def __init__(self, url: str, artifacts: str | None) -> None:
        """`artifacts`: where files of an embedded registry go; of a server, it decides."""
        quieten_mlflow()
        from mlflow import MlflowClient

        for noisy in ("mlflow", "alembic"):
            logging.getLogger(noisy).setLevel(logging.WARNING)
        self._url = url
        with _translated(url):
            self._client = MlflowClient(tracking_uri=url, registry_uri=url)
            experiment = self._client.get_experiment_by_name(NAME)
            self._experiment = (
                self._client.create_experiment(NAME, artifact_location=artifacts)
                if experiment is None
                else experiment.experiment_id
            )
            if not self._client.search_registered_models(f"name='{NAME}'"):
                self._client.create_registered_model(NAME)

    def register(
        self,
        folder: Path,
        *,
        label: str,
        parameters: Mapping[str, object],
        metrics: Mapping[str, float],
        tags: Mapping[str, str],
    ) -> Version:
        """A run with all files of the folder, `model.safetensors` among them, and a new version. Tags: seed, data, holdout, sha256."""
        with _translated(self._url):
            client = self._client
            run = client.create_run(self._experiment, run_name=label or None).info
            for name, value in parameters.items():
                client.log_param(run.run_id, name, value)
            for name, figure in metrics.items():
                client.log_metric(run.run_id, name, figure)
            client.log_artifacts(run.run_id, str(folder))
            client.set_terminated(run.run_id)
            made = client.create_model_version(
                NAME, source=f"{run.artifact_uri}/{MODEL}", run_id=run.run_id, tags={**tags, "label": label}
            )
        return self.version(str(made.version))

    def versions(self) -> list[Version]:
        """Newest first."""
        with _translated(self._url):
            aliases = self._aliases()
            found = []
            token: str | None = None
            while token is None or token:
                page = self._client.search_model_versions(f"name='{NAME}'", page_token=token)
                found += [self._of(v, aliases) for v in page]
                token = page.token or ""
        return sorted(found, key=lambda v: -int(v.number))

    def version(self, number: str) -> Version:
        """By number, or by alias."""
        with _translated(self._url):
            aliases = self._aliases()
            number = aliases.get(number, number)
            if not number.isdigit():
                raise NotFound(
                    f"no model {number!r} in the registry", hint="`ringwatch models list` names what there is"
                )
            return self._of(self._client.get_model_version(NAME, number), aliases)

    def aliased(self, alias: str) -> Version | None:
        with _translated(self._url):
            number = self._aliases().get(alias)
        return None if number is None else self.version(number)

    def about(self, version: Version) -> dict[str, Any]:
        """What `register` was given as `about.json`."""
        from tempfile import TemporaryDirectory

        with TemporaryDirectory(prefix="ringwatch-") as folder:
            found: dict[str, Any] = json.loads(self.fetch(version, ABOUT, Path(folder)).read_bytes())
        return found

    def fetch(self, version: Version, name: str, folder: Path) -> Path:
        """A file of its run, copied into a folder."""
        with _translated(self._url):
            try:
                return Path(self._client.download_artifacts(version.run, name, str(folder)))
            except OSError as error:
                message = f"{name} of model {version.number} cannot be fetched: {error}"
                raise NotFound(message, hint="restore the registry's artifacts, or train anew") from None

    def alias(self, alias: str, number: str | None) -> None:
        """Give it to a version, or to none."""
        with _translated(self._url):
            if number is not None:
                self._client.set_registered_model_alias(NAME, alias, number)
            elif alias in self._aliases():
                self._client.delete_registered_model_alias(NAME, alias)

    @property
    def champions_before(self) -> list[str]:
        """Version numbers, the latest last."""
        with _translated(self._url):
            tags = self._client.get_registered_model(NAME).tags
        return [str(number) for number in json.loads(tags.get(_CHAMPIONS, "[]"))]

    def remember_champions(self, numbers: list[str]) -> None:
        with _translated(self._url):
            self._client.set_registered_model_tag(NAME, _CHAMPIONS, json.dumps(numbers))

    def _aliases(self) -> dict[str, str]:
        found = self._client.get_registered_model(NAME).aliases
        return {alias: str(number) for alias, number in found.items()}

    def _of(self, found: Any, aliases: dict[str, str]) -> Version:
        number, tags = str(found.version), {name: found.tags.get(name, "") for name in _KNOWN}
        metrics = self._client.get_run(found.run_id).data.metrics
        created = datetime.fromtimestamp(found.creation_timestamp / 1000, UTC).isoformat(timespec="seconds")
        mine = tuple(sorted(alias for alias, of in aliases.items() if of == number))
        return Version(number=number, aliases=mine, created=created, metrics=metrics, run=found.run_id, **tags)


def open_registry(settings: Settings) -> Registry:
    """The server that is set, else the one of the data folder, which is made if it is not there. Needs no lock of the folder."""
    url = settings.mlflow_url
    if url is not None and url.startswith("http"):
        return Registry(url, None)
    folder = settings.data_dir.absolute() / "registry"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(f"{folder} cannot be made: {error.strerror}", hint="choose another --data-dir") from None
    return Registry(url or f"sqlite:///{folder / 'mlflow.sqlite'}", str(folder / "artifacts"))


@contextmanager
def _translated(url: str) -> Iterator[None]:
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except MlflowException as error:
        said = str(error).splitlines()[0]
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            raise NotFound(said, hint="`ringwatch models list` names what there is") from None
        raise StoreAway(
            f"the registry at {url}: {said}", hint="look at RINGWATCH_MLFLOW_URL, and whether it runs"
        ) from None
    except (SQLAlchemyError, OSError) as error:
        raise StoreAway(
            f"the registry at {url}: {error}", hint="look at RINGWATCH_MLFLOW_URL, and whether it runs"
        ) from None
