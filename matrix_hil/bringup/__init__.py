"""Which ROS 2 processes make up a deployment, and a runner for where ROS 2 launch is not installed."""
