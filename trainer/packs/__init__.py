"""Several trials in one program: the forms that a pack takes, and who is trained in which."""
