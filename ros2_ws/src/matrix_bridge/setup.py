import shutil
import sys

from setuptools import setup

NODES = ("twin", "driver", "sync", "virtual_rig", "recorder", "replay")

setup(
    name="matrix_bridge",
    version="0.2.0",
    packages=["matrix_bridge"],
    data_files=[
        ("share/ament_index/resource_index/packages", ["resource/matrix_bridge"]),
        ("share/matrix_bridge", ["package.xml"]),
    ],
    install_requires=["setuptools"],
    # Nodes start with the Python of the environment that was active at the build, whichever Python runs colcon.
    options={"build_scripts": {"executable": shutil.which("python3") or sys.executable}},
    zip_safe=False,
    entry_points={"console_scripts": [f"{n}_node = matrix_bridge.{n}_node:main" for n in NODES]},
)
