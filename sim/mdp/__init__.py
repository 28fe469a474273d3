"""Terms: what a robot sees, is rewarded for, is reset by. Pure batched functions of ``State``, one file per kind."""
