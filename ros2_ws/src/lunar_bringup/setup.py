from glob import glob

from setuptools import setup

setup(
    name="lunar_bringup",
    version="0.2.0",
    packages=["lunar_bringup"],
    data_files=[
        ("share/ament_index/resource_index/packages", ["resource/lunar_bringup"]),
        ("share/lunar_bringup", ["package.xml", "tables.yaml"]),
        ("share/lunar_bringup/launch", glob("launch/*.launch.py")),
        ("share/lunar_bringup/config", glob("config/*.yaml")),
        ("share/lunar_bringup/config/sros2", glob("config/sros2/*.xml")),
        ("share/lunar_bringup/layouts", glob("layouts/*")),
    ],
    install_requires=["setuptools"],
    zip_safe=False,
)
