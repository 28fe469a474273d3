"""The supervisor, last before the wire: state machine, rules, limits of commands, trends over several cycles."""
