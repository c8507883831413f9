"""Small manuscripts that went wrong, each made after a public bug report or an everyday slip, and what must come of each.

``index.json`` says what is wrong (``symptom``) and what must come (``outcome``: ``ok``, ``warn``, ``fail``, ``fail-or-warn``), whose fault
it is, and the file and line that must be named. ``code`` is the code that says what really went wrong.
"""
