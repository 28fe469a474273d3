"""Puts the files that lie beside the packages into a wheel, below sim/data, where sim/files.py finds them."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

BESIDE = ("configs", "ros2_ws/src/matrix_msgs/msg", "ros2_ws/src/lunar_bringup/tables.yaml")


class BuildWithFiles(build_py):
    """An editable installation reads them from the checkout."""

    def run(self) -> None:
        """Build, then copy them."""
        super().run()
        if self.editable_mode:
            return
        data = Path(self.build_lib, "sim", "data")
        shutil.rmtree(data, ignore_errors=True)
        for path in BESIDE:
            (data / path).parent.mkdir(parents=True, exist_ok=True)
            (shutil.copytree if Path(path).is_dir() else shutil.copy)(path, data / path)


setup(cmdclass={"build_py": BuildWithFiles})
