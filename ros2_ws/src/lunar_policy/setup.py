from setuptools import setup

setup(
    name="lunar_policy",
    version="0.1.0",
    packages=["lunar_policy"],
    data_files=[
        ("share/ament_index/resource_index/packages", ["resource/lunar_policy"]),
        ("share/lunar_policy", ["package.xml"]),
    ],
    install_requires=["setuptools"],
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
