from glob import glob

from setuptools import setup

setup(
    name="lunar_description",
    version="0.2.0",
    packages=["lunar_description"],
    data_files=[
        ("share/ament_index/resource_index/packages", ["resource/lunar_description"]),
        ("share/lunar_description", ["package.xml"]),
        ("share/lunar_description/urdf", glob("urdf/*.urdf")),
        ("share/lunar_description/rviz", glob("rviz/*.rviz")),
    ],
    install_requires=["setuptools"],
    zip_safe=False,
)
