"""The networks. `descriptions` first: the table of them, without torch; a file builds each.

`roles` says what each parameter is, which is all that freezing goes by.
"""
