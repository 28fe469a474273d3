"""What people operate a rig with: ``lunar hil``, its live page, panel, gauges and keyboard, and calibration."""
