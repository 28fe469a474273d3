"""Ground: height fields and the generators that make them.

``load_terrain("mare")`` names a preset, ``make_terrain(config, seed)`` gives its height field, ``build_terrain`` also
the craters and rocks on it, and ``make_levels`` all ten difficulties in one stack. One file per layer: slope, fractal,
craters, rocks, dem.
"""
