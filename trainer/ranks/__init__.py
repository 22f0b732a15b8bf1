"""One trial trained by several processes of a node: a leader, which writes, and its followers."""
