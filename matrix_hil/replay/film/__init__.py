"""``lunar film``: a moving picture of a policy or of a HIL log."""
