"""What a trained network looks like inside. `probes` first; it measures once, after training."""
