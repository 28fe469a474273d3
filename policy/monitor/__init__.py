"""Fit, calibrate and judge the monitor that ``policy.runtime.monitor`` runs beside a policy."""
