"""From a log to one HTML page: ``measure`` takes the figures, ``scene`` draws the 3-D replay, ``plots`` the curves,
``page`` puts them together. Nothing here reaches outside the file it makes."""
