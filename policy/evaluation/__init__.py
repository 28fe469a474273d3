"""What ``lunar eval`` does: ``suites`` are the fixed worlds, ``trials`` runs a policy in one and records what happened,
``metrics`` are pure functions of that record, ``cycle`` averages it over a hop; ``report`` and ``pictures`` show it."""
