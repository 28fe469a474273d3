"""Which policy, on which computer, with which gait, where: a traverse on one battery. ``table`` tries every gait on
many grounds, ``estimate`` makes falls per metre of that, ``assign`` chooses, ``plan`` writes it down, and ``run`` sees
it through.
"""
