"""The mirror in MLflow. `forwarder` first: it says when to send, `desired` what, `mirror` how.

`tracker` is what they ask of MLflow. `audit` proves the mirror equal, and `ui` shows it.
"""
