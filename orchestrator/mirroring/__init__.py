"""The forwarder: when and what to send to the tracker, exactly once."""
