"""ROS 2 nodes that run an exported policy; thin shells around ``policy.runtime``."""
