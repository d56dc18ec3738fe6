"""Puts `configs/` into the package that is built, as `foldline/configs`: facts and runs that come with foldline."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

HERE = Path(__file__).parent


class Build(build_py):
    """An editable install reads the clone's own folder, so nothing is copied for it."""

    def run(self) -> None:
        """Builds, then copies."""
        super().run()
        if not self.editable_mode:
            place = Path(self.build_lib) / "foldline" / "configs"
            shutil.rmtree(place, ignore_errors=True)
            shutil.copytree(HERE / "configs", place, ignore=shutil.ignore_patterns("__pycache__"))


setup(cmdclass={"build_py": Build})
