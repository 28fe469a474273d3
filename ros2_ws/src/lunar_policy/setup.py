import shutil
import sys

from setuptools import setup

setup(
    name="lunar_policy",
    version="0.2.0",
    packages=["lunar_policy"],
    data_files=[
        ("share/ament_index/resource_index/packages", ["resource/lunar_policy"]),
        ("share/lunar_policy", ["package.xml"]),
    ],
    install_requires=["setuptools"],
    # Nodes start with the Python of the environment that was active at the build, whichever Python runs colcon.
    options={"build_scripts": {"executable": shutil.which("python3") or sys.executable}},
    zip_safe=False,
    entry_points={
        "console_scripts": [
            "policy_node = lunar_policy.policy_node:main",
            "sim_robot = lunar_policy.sim_robot:main",
            "unitree_adapter = lunar_policy.unitree_adapter:main",
            "sim_go2 = lunar_policy.sim_go2:main",
        ]
    },
)
