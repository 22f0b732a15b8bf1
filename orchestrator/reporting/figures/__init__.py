"""The report's figures.

`accuracy` chooses those of accuracy, which `lines`, `bars` and `training` draw; `probes` draws what
was measured inside the networks. `panels` decides what shares a panel, `drawing` how all look.
"""
