from setuptools import setup

NODES = ("twin", "driver", "sync", "virtual_rig", "recorder", "replay")

setup(
    name="matrix_bridge",
    version="0.1.0",
    packages=["matrix_bridge"],
    data_files=[
        ("share/ament_index/resource_index/packages", ["resource/matrix_bridge"]),
        ("share/matrix_bridge", ["package.xml"]),
    ],
    install_requires=["setuptools"],
    zip_safe=False,
    entry_points={"console_scripts": [f"{n}_node = matrix_bridge.{n}_node:main" for n in NODES]},
)
