"""Robots: one folder each, with the MJCF ``<name>.xml`` and ``facts.py``, which holds what the MJCF does not say."""
