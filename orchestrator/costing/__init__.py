"""What a trial costs, in closed form, and what the store's history says of its time."""
