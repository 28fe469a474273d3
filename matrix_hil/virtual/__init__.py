"""The rig without hardware: emulated machines on pseudo-terminals, the physics that joins them, a stand-in for Unreal.

``PlatformEmulator(PlatformConfig(), seed).port`` is a machine to drive; ``Lockstep`` joins it to its driver in
simulated time; ``VirtualMachines`` is all five over one physics.
"""
