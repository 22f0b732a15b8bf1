"""One module for each verb, with the verb's name: its options, one call, and the result shown.

The module has a function of that name too, which `app.py` makes a command of, and `EXAMPLES` for
the end of its help. A module is loaded only when its verb is used.
"""
