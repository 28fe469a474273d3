"""``lunar play``: one robot with its exported policy, live in a browser."""
