"""Which policy, on which computer, with which gait, where: a traverse on one battery. ``table`` tries every gait on
many grounds, ``estimate`` makes falls per metre of that, ``make`` chooses by ``assign``, ``plan`` is the file, ``run``
sees it through, and ``pilot`` follows it with one robot.
"""
